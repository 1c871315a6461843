package cluster

import (
	"context"
	"fmt"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/darter-p2p/darter/fetcher"
	"github.com/darter-p2p/darter/fetcher/source"
	"github.com/darter-p2p/darter/fetcher/source/sourcetest"
	"github.com/darter-p2p/darter/internal/pki"
	"github.com/darter-p2p/darter/p2p"
	"github.com/darter-p2p/darter/p2p/exchange"
	"github.com/darter-p2p/darter/p2p/node"
	"github.com/darter-p2p/darter/scheduler/swarm"
)

// frozen is a host that answers nothing.
type frozen struct{}

func (frozen) Connected(exchange.Link)                        {}
func (frozen) Disconnected(exchange.Link, error)              {}
func (frozen) Received(exchange.Link, exchange.Message) error { return nil }
func (frozen) Serve(p2p.HostID, exchange.Request) exchange.Answer {
	return exchange.Answer{Status: exchange.StatusBusy}
}

// crowd has nodes read a content, each as it is configured, and returns how many copies
// the origin sent and how long the last node took.
func (c *Cluster) crowd(t *testing.T, v Content, nodes []*Node) (copies float64, took time.Duration) {
	t.Helper()
	before, began := c.Origin.Served(v.Origin), time.Now()
	var wg sync.WaitGroup
	for _, n := range nodes {
		wg.Go(func() {
			if err := read(patience(t), n, v, fetcher.All); err != nil {
				t.Errorf("%s: %v", n.ID, err)
			}
		})
	}
	wg.Wait()
	took = time.Since(began)
	copies = float64(c.Origin.Served(v.Origin)-before) / float64(len(v.Data))
	t.Logf("%.1f s, the origin sent %.2f copies", took.Seconds(), copies)
	for _, n := range nodes {
		s, _ := n.Task(v.Task)
		t.Logf("%s: from peers %d, seed %d, origin %d KiB", n.ID, s.FromPeers>>10, s.FromSeed>>10, s.FromOrigin>>10)
	}
	return copies, took
}

func (c *Cluster) startNodes(count int, o Options) (nodes []*Node) {
	for i := range count {
		nodes = append(nodes, c.Start(pki.Node, fmt.Sprint("n", i), o))
	}
	return nodes
}

// A seed that is told to read the origin and does not is replaced by a node, under a
// token: soon, and without the others going to the origin, too.
func TestFrozenSeed(t *testing.T) {
	c := New(t)
	v := c.Put("app", 16<<20)
	c.join(t, c.identity(pki.Seed, "seed"), frozen{}, p2p.Holding{Task: c.Put("other", 1).Task, Size: 1, Complete: true})
	copies, took := c.crowd(t, v, c.startNodes(4, Options{Fetch: patiently}))
	if copies > 1.2 || took > unbearable {
		t.Error("that is too much")
	}
}

// hanging is a source whose bodies hang after their first MiB.
type hanging struct{ source.Source }

// Open implements source.Source.
func (h hanging) Open(ctx context.Context, r source.Request) (*source.Response, error) {
	resp, err := h.Source.Open(ctx, r)
	if err == nil {
		resp.Body = &hangingBody{ReadCloser: resp.Body, ctx: ctx, left: 1 << 20}
	}
	return resp, err
}

type hangingBody struct {
	io.ReadCloser
	ctx  context.Context
	left int
}

// Read implements io.Reader.
func (b *hangingBody) Read(p []byte) (int, error) {
	if b.left == 0 {
		<-b.ctx.Done()
		return 0, b.ctx.Err()
	}
	n, err := b.ReadCloser.Read(p[:min(len(p), b.left)])
	b.left -= n
	return n, err
}

// A seed whose way to the registry is bad holds up nobody: a node whose reader starves
// reads some pieces under a token, and then all that the swarm lacks.
func TestSeedsOriginHangs(t *testing.T) {
	c := New(t)
	v := c.Put("app", 32<<20)
	c.Registries = func(name string) source.Source {
		if name == "seed" {
			return hanging{c.Origin}
		}
		return c.Origin
	}
	c.Start(pki.Seed, "seed", Options{})
	copies, took := c.crowd(t, v, c.startNodes(4, Options{Fetch: asConfigured}))
	if copies > 1.2 || took > unbearable {
		t.Error("that is too much")
	}
}

// A crowd that starts with the scheduler finds it in its warm-up, as configured, and the
// origin sends the content once.
func TestFirstSecond(t *testing.T) {
	c := New(t)
	v := c.Put("app", 16<<20)
	c.StopScheduler()
	c.Core = swarm.Default()
	began := time.Now()
	c.StartScheduler()
	c.Start(pki.Seed, "seed", Options{})
	nodes := c.startNodes(8, Options{Fetch: asConfigured})
	time.Sleep(time.Until(began.Add(time.Second))) // the scheduler has been there for a second
	copies, took := c.crowd(t, v, nodes)
	if copies > 1.02 || took > unbearable {
		t.Error("that is too much")
	}
}

// Without a scheduler and without the seed, readers help themselves as soon as they
// starve, and need not wait for a stall.
func TestNobodyLeft(t *testing.T) {
	c := New(t)
	v := c.Put("app", 16<<20)
	c.Origin.Fail(v.Origin, sourcetest.Failure{Delay: 4 * time.Millisecond, Chunk: 32 << 10})
	seed := c.Start(pki.Seed, "seed", Options{})
	soon := func(n *node.Config) { n.SchedulerWait = time.Second }
	n := c.Start(pki.Node, "n", Options{Config: soon}) // whose fetcher waits for a minute
	done := make(chan error, 1)
	go func() { done <- read(patience(t), n, v, fetcher.All) }()
	until(t, "it has some pieces", func() bool { return n.held(v) > 3 })
	began := time.Now()
	c.StopScheduler()
	seed.Stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
	took := time.Since(began)
	t.Logf("%.1f s", took.Seconds())
	if took > unbearable*3/4 {
		t.Error("that is too late")
	}
}
