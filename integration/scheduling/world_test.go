package scheduling

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/sirupsen/logrus"
	"go.uber.org/goleak"

	"github.com/containerd/log"

	"github.com/darter-p2p/darter/internal/pki"
	"github.com/darter-p2p/darter/p2p"
	"github.com/darter-p2p/darter/p2p/tracker"
	"github.com/darter-p2p/darter/p2p/trust"
	"github.com/darter-p2p/darter/scheduler/rpc"
	"github.com/darter-p2p/darter/scheduler/swarm"
)

func TestMain(m *testing.M) {
	log.L.Logger.SetLevel(logrus.ErrorLevel)
	goleak.VerifyTestMain(m)
}

// patience is how long a test waits for what must come.
const patience = 20 * time.Second

// world is a cluster's CA, a scheduler's address and what runs.
type world struct {
	t     *testing.T
	ca    *pki.CA
	addr  string
	addrs []string // what nodes are given; nil = addr
}

func newWorld(t *testing.T) *world {
	t.Helper()
	ca, err := pki.CreateCA("test", time.Now(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	return &world{t: t, ca: ca}
}

func (w *world) identity(role pki.Role, name string) *pki.Identity {
	w.t.Helper()
	id, err := w.ca.Identity(role, name)
	if err != nil {
		w.t.Fatal(err)
	}
	return id
}

// config has no warm-up: a test's scheduler need not wait for holders.
func config() (rpc.Config, swarm.Config) {
	core := swarm.Default()
	core.Warmup = 0
	return rpc.Default(), core
}

// schedule starts a scheduler at the world's address, or chooses one, and returns
// it with a function that stops it.
func (w *world) schedule(cfg rpc.Config, core swarm.Config) (*rpc.Server, func()) {
	w.t.Helper()
	if w.addr == "" {
		w.addr = "127.0.0.1:0"
	}
	l, err := net.Listen("tcp", w.addr)
	if err != nil {
		w.t.Fatal(err)
	}
	w.addr = l.Addr().String()
	id := w.identity(pki.Scheduler, "sched")
	s, err := rpc.New(cfg, swarm.New(core, rand.New(rand.NewPCG(1, 1))), trust.Tokens{Identity: id}, prometheus.NewRegistry())
	if err != nil {
		w.t.Fatal(err)
	}
	return s, w.run(func(ctx context.Context) error { return s.Serve(ctx, l, id) })
}

// run runs f until the returned function, or the end of the test, stops it.
func (w *world) run(f func(context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Error(err)
		}
	})
	w.t.Cleanup(stop)
	return stop
}

// node is a tracker with a handler that keeps what it was told.
type node struct {
	*tracker.Client
	t    *testing.T
	stop func()

	mu       sync.Mutex
	changed  chan struct{} // closed and replaced at every change
	holdings []p2p.Holding
	up       bool
	ups      int
	known    map[p2p.TaskID]map[p2p.HostID]p2p.Host
	pulls    []tracker.Pull
	sizes    map[p2p.TaskID]int64
	failed   map[p2p.TaskID]p2p.OriginError
}

// node starts a node and returns when it is connected.
func (w *world) node(role pki.Role, name string, holdings ...p2p.Holding) *node {
	w.t.Helper()
	addrs := w.addrs
	if addrs == nil {
		addrs = []string{w.addr}
	}
	n := w.startNode(addrs, role, name, holdings...)
	n.until("is connected", func() bool { return n.up })
	return n
}

// idle starts a node that knows of no scheduler yet.
func (w *world) idle(role pki.Role, name string) *node {
	w.t.Helper()
	return w.startNode(nil, role, name)
}

func (w *world) startNode(addrs []string, role pki.Role, name string, holdings ...p2p.Holding) *node {
	w.t.Helper()
	n := &node{
		t: w.t, changed: make(chan struct{}), holdings: holdings,
		known: map[p2p.TaskID]map[p2p.HostID]p2p.Host{}, sizes: map[p2p.TaskID]int64{}, failed: map[p2p.TaskID]p2p.OriginError{},
	}
	cfg := tracker.Default()
	cfg.Addresses = addrs
	cfg.Host = p2p.Host{ID: p2p.HostID(name), Addr: ":65002", Seed: role == pki.Seed}
	cfg.MaxWait = 300 * time.Millisecond
	c, err := tracker.New(cfg, w.identity(role, name), n.hold, n)
	if err != nil {
		w.t.Fatal(err)
	}
	n.Client = c
	n.stop = w.run(c.Run)
	return n
}

func (n *node) hold() []p2p.Holding {
	n.mu.Lock()
	defer n.mu.Unlock()
	return append([]p2p.Holding(nil), n.holdings...)
}

func (n *node) change(f func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	f()
	close(n.changed)
	n.changed = make(chan struct{})
}

// until waits until ok, which is called with the lock held.
func (n *node) until(what string, ok func() bool) {
	n.t.Helper()
	late := time.After(patience)
	for {
		n.mu.Lock()
		done, changed := ok(), n.changed
		n.mu.Unlock()
		if done {
			return
		}
		select {
		case <-changed:
		case <-late:
			n.t.Fatalf("waited in vain until the node %s; state %+v", what, n.States())
		}
	}
}

// want makes the node a joiner of a task, as a node does: first held, then said.
func (n *node) want(task p2p.TaskID, origin p2p.Origin, size int64) {
	n.change(func() {
		n.holdings = append(n.holdings, p2p.Holding{Task: task, Size: size, Active: true, Origin: origin})
	})
	n.Join(task, origin, size)
}

func (n *node) Connected(up bool) {
	n.change(func() {
		if n.up = up; up {
			n.ups++
		}
	})
}

func (n *node) Neighbours(task p2p.TaskID, add []p2p.Host, remove []p2p.HostID) {
	n.change(func() {
		if n.known[task] == nil {
			n.known[task] = map[p2p.HostID]p2p.Host{}
		}
		for _, id := range remove {
			delete(n.known[task], id)
		}
		for _, h := range add {
			n.known[task][h.ID] = h
		}
	})
}

func (n *node) Pull(p tracker.Pull)                      { n.change(func() { n.pulls = append(n.pulls, p) }) }
func (n *node) TaskGeometry(task p2p.TaskID, size int64) { n.change(func() { n.sizes[task] = size }) }
func (n *node) Relief(tracker.Relief)                    {}

func (n *node) TaskFailed(t p2p.TaskID, why p2p.OriginError) { n.change(func() { n.failed[t] = why }) }

// knows waits until the node has a neighbour.
func (n *node) knows(task p2p.TaskID, id p2p.HostID) p2p.Host {
	n.t.Helper()
	var h p2p.Host
	n.until(fmt.Sprintf("has the neighbour %s", id), func() (ok bool) {
		h, ok = n.known[task][id]
		return ok
	})
	return h
}

func taskOf(name string) p2p.TaskID {
	id, err := p2p.TaskOfDigest(digest.FromString(name))
	if err != nil {
		panic(err)
	}
	return id
}
