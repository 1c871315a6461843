// Package cluster runs a whole cluster in one process, scheduler, seeds and nodes,
// over real sockets on loopback, with an origin in memory that fails on command. Its
// tests are those of the parts together: crowds, deaths, lies and restarts.
package cluster

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/darter-p2p/darter/fetcher"
	"github.com/darter-p2p/darter/fetcher/access"
	"github.com/darter-p2p/darter/fetcher/budget"
	"github.com/darter-p2p/darter/fetcher/httpsource"
	"github.com/darter-p2p/darter/fetcher/registry"
	"github.com/darter-p2p/darter/fetcher/serial"
	"github.com/darter-p2p/darter/fetcher/source"
	"github.com/darter-p2p/darter/fetcher/source/sourcetest"
	"github.com/darter-p2p/darter/fetcher/upstream"
	"github.com/darter-p2p/darter/internal/config"
	"github.com/darter-p2p/darter/internal/pki"
	"github.com/darter-p2p/darter/p2p"
	"github.com/darter-p2p/darter/p2p/exchange"
	"github.com/darter-p2p/darter/p2p/node"
	"github.com/darter-p2p/darter/p2p/store"
	"github.com/darter-p2p/darter/p2p/tracker"
	"github.com/darter-p2p/darter/p2p/trust"
	"github.com/darter-p2p/darter/scheduler/rpc"
	"github.com/darter-p2p/darter/scheduler/swarm"
)

// Cluster is a scheduler, an origin and the nodes that were started.
type Cluster struct {
	t         testing.TB
	ca        *pki.CA
	dir       string
	addr      string             // of the scheduler
	more      []string           // addresses of other schedulers
	stop      func()             // the scheduler
	Origin    *sourcetest.Memory // registries
	urls      *httpsource.Source
	Core      swarm.Config
	Scheduler *rpc.Server // that of StartScheduler
	// Registries makes a node's source of registries; nil = Origin for all.
	Registries func(name string) source.Source
}

// New makes a cluster with a running scheduler and no nodes.
func New(t testing.TB) *Cluster {
	ca, err := pki.CreateCA("test", time.Now(), 24*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	c := &Cluster{t: t, ca: ca, dir: t.TempDir(), Origin: sourcetest.NewMemory(), Core: swarm.Default()}
	c.Core.Warmup = time.Second
	policy, err := upstream.New(upstream.Config{Allow: []string{"127.0.0.0/8", "::1"}}) // where tests have their servers
	if err != nil {
		t.Fatal(err)
	}
	if c.urls, err = httpsource.New(registry.Default().Origin, httpsource.Options{Policy: policy}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.urls.Close() })
	c.StartScheduler()
	return c
}

// origins reads registries from memory, or as the test says, and URLs from where they are.
func (c *Cluster) origins(name string) fetcher.Router {
	r := fetcher.Router{Registry: c.Origin, HTTP: c.urls}
	if c.Registries != nil {
		r.Registry = c.Registries(name)
	}
	return r
}

func (c *Cluster) identity(role pki.Role, name string) *pki.Identity {
	pair, err := c.ca.Issue(pki.Request{Role: role, Name: name}, time.Now())
	if err != nil {
		c.t.Fatal(err)
	}
	id, err := pki.NewIdentity(pair, c.ca.Roots())
	if err != nil {
		c.t.Fatal(err)
	}
	return id
}

// security is an identity as a node and a scheduler need it.
type security struct{ *pki.Identity }

func (s security) Signer(token []byte) (*trust.Signer, error) {
	key, cert := s.Identity.Signer()
	return trust.NewSigner(key, cert, token)
}

func (s security) Token(task p2p.TaskID, host p2p.HostID, expires time.Time) ([]byte, error) {
	return trust.Tokens{Identity: s.Identity}.Token(task, host, expires)
}

// StartScheduler starts the scheduler, at the address it had before if there was one.
func (c *Cluster) StartScheduler() {
	at := "127.0.0.1:0"
	if c.addr != "" {
		at = c.addr
	}
	c.addr, c.stop = c.schedule(at)
}

// AddScheduler starts another scheduler, for nodes that are started later.
func (c *Cluster) AddScheduler() (stop func()) {
	addr, stop := c.schedule("127.0.0.1:0")
	c.more = append(c.more, addr)
	return stop
}

// schedule starts a scheduler.
func (c *Cluster) schedule(at string) (addr string, stop func()) {
	l, err := net.Listen("tcp", at)
	if err != nil {
		c.t.Fatal(err)
	}
	id := c.identity(pki.Scheduler, "scheduler")
	s, err := rpc.New(rpc.Default(), swarm.New(c.Core, rand.New(rand.NewPCG(1, 1))), security{id}, prometheus.NewRegistry())
	if err != nil {
		c.t.Fatal(err)
	}
	if c.Scheduler == nil || at == c.addr {
		c.Scheduler = s
	}
	return l.Addr().String(), c.run(func(ctx context.Context) error { return s.Serve(ctx, l, id) })
}

// StopScheduler stops the scheduler, which forgets everything.
func (c *Cluster) StopScheduler() { c.stop() }

// run runs f until the returned function or the end of the test stops it.
func (c *Cluster) run(f func(context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			c.t.Error(err)
		}
	})
	c.t.Cleanup(stop)
	return stop
}

// Node is a host of the cluster.
type Node struct {
	*node.Node
	ID      p2p.HostID
	Fetcher *fetcher.Local
	Store   *store.Disk
	Rules   *fetcher.Rules // what is blocked
	Addr    string         // of its piece network
	Stop    func()
}

// Options change a node before it starts.
type Options struct {
	Config func(*node.Config)
	Events node.Events
	Fetch  func(*fetcher.Config)
	Access *access.Config
	Store  func(*store.Config)
	Rules  *fetcher.Rules // what is blocked; nil = nothing
	// Handler may change how it answers others; nil = as a node does.
	Handler func(exchange.Handler) exchange.Handler
	// Transport is how it reaches others; nil = TCP.
	Transport exchange.Transport
}

// Start starts a node or a seed; one of a name that was stopped takes its store up again.
func (c *Cluster) Start(role pki.Role, name string, o Options) *Node {
	c.t.Helper()
	n := &Node{ID: p2p.HostID(name)}
	id := c.identity(role, name)
	cfg := node.Default()
	if role == pki.Seed {
		cfg = node.DefaultSeed()
	}
	cfg.SlowRate = 0 // machines of tests are slow
	if o.Config != nil {
		o.Config(&cfg)
	}
	sc := store.Default()
	sc.Root, sc.Floor = filepath.Join(c.dir, name), 0
	if o.Store != nil {
		o.Store(&sc)
	}
	paced := budget.Source{Under: c.origins(name), Book: budget.New()}
	router := c.origins(name)
	segments := serial.New(router.HTTP, role == pki.Seed)
	router.HTTP = segments
	shared := budget.Source{Under: router, Book: paced.Book}
	o.Events.OriginPaused = paced.Book.Note
	if o.Store != nil {
		o.Store(&sc)
	}
	var err error
	if n.Store, err = store.Open(context.Background(), sc); err != nil {
		c.t.Fatal(err)
	}
	if o.Rules == nil {
		o.Rules = &fetcher.Rules{}
	}
	n.Rules = o.Rules
	if n.Node, err = node.New(cfg, n.ID, n.Store, fetcher.Origins{Source: o.Rules.Origins(shared)}, security{id}, o.Events); err != nil {
		c.t.Fatal(err)
	}
	x := exchange.Default()
	x.Listen, x.Identity = "127.0.0.1:0", exchange.Member(id)
	if o.Transport == nil {
		o.Transport = exchange.TCP{}
	}
	var answers exchange.Handler = n.Node
	if o.Handler != nil {
		answers = o.Handler(answers)
	}
	wire, err := exchange.New(x, o.Transport, answers)
	if err != nil {
		c.t.Fatal(err)
	}
	n.Addr = wire.Addr().String()
	tc := tracker.Default()
	tc.MaxWait = 200 * time.Millisecond
	tc.Addresses, tc.Host = append([]string{c.addr}, c.more...), p2p.Host{ID: n.ID, Addr: wire.Addr().String(), Seed: role == pki.Seed}
	tags, _, err := fetcher.OpenTags(filepath.Join(c.dir, name+".tags"), 24*time.Hour)
	if err != nil {
		c.t.Fatal(err)
	}
	tc.Tags = func() []p2p.Tag { return tags.Recent(256) }
	track, err := tracker.New(tc, id, n.Holdings, n.FromScheduler())
	if err != nil {
		c.t.Fatal(err)
	}
	n.Bind(wire, track)
	fc := fetcher.Default()
	const slow = config.Duration(time.Minute) // as machines of tests are
	fc.FirstByte, fc.Stall, fc.Urgent = slow, slow, slow
	if o.Fetch != nil {
		o.Fetch(&fc)
	}
	if n.Fetcher, err = fetcher.New(fc, n.Node, paced, fetcher.Options{Tags: tags, Hearsay: track, Access: o.Access, Limits: cfg.Limits, Rules: o.Rules, Parts: n.Node}); err != nil {
		c.t.Fatal(err)
	}
	stops := []func(){c.run(wire.Run), c.run(n.Run), c.run(track.Run)}
	n.Stop = sync.OnceFunc(func() {
		n.Fetcher.Close()
		segments.Close()
		for i := len(stops) - 1; i >= 0; i-- {
			stops[i]()
		}
		if err := errors.Join(n.Store.Close(), tags.Close()); err != nil {
			c.t.Error(err)
		}
	})
	c.t.Cleanup(n.Stop)
	for late := time.Now().Add(10 * time.Second); !track.States()[0].Connected; time.Sleep(time.Millisecond) {
		if time.Now().After(late) {
			c.t.Fatalf("%s does not reach the scheduler: %v", name, track.States()[0].Err)
		}
	}
	return n
}

// Content is something at the origin.
type Content struct {
	Data   []byte
	Digest digest.Digest
	Task   p2p.TaskID
	Origin p2p.Origin

	auth string // that its readers show; "" = none
}

// Put makes a content of random bytes at the origin.
func (c *Cluster) Put(name string, size int) Content {
	data := make([]byte, size)
	src := rand.NewChaCha8([32]byte{byte(size), 1})
	src.Read(data) //nolint:errcheck // never fails
	v := Content{Data: data, Digest: digest.FromBytes(data)}
	v.Task, _ = p2p.TaskOfDigest(v.Digest)
	v.Origin = registry.Origin("registry.test", name, registry.Blobs, v.Digest.String())
	c.Origin.Put(v.Origin, sourcetest.Content{Data: data})
	return v
}

// Ask is the content as a reader without credentials asks for it.
func (v Content) Ask(name string) fetcher.Content {
	return fetcher.Content{Registry: "registry.test", Repository: name, Kind: fetcher.Blob, Digest: v.Digest}
}

func (v Content) String() string { return fmt.Sprintf("%s (%d bytes)", v.Task.Short(), len(v.Data)) }
