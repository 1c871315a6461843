package cluster

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/darter-p2p/darter/fetcher"
	"github.com/darter-p2p/darter/internal/config"
	"github.com/darter-p2p/darter/internal/pki"
	"github.com/darter-p2p/darter/p2p"
	"github.com/darter-p2p/darter/p2p/exchange"
)

// asConfigured takes the waits of a real node, where those of tests are longer.
func asConfigured(f *fetcher.Config) {
	d := fetcher.Default()
	f.FirstByte, f.Stall = d.FirstByte, d.Stall
}

// patiently leaves the swarm so late that a machine short of CPU does not: for tests of what
// the swarm does by itself.
func patiently(f *fetcher.Config) {
	f.FirstByte, f.Stall = config.Duration(unbearable/2), config.Duration(unbearable/2)
}

// mute is a member that says it holds a content whole, takes every request, and sends
// the head of an answer and nothing else.
type mute struct {
	size  int64
	asked atomic.Int64
}

func (*mute) Connected(exchange.Link)           {}
func (*mute) Disconnected(exchange.Link, error) {}

func (m *mute) Received(l exchange.Link, msg exchange.Message) error {
	if b, ok := msg.(exchange.Bitmap); ok {
		g := p2p.GeometryFor(m.size)
		all := p2p.NewPieceSet(g.Pieces())
		all.Fill()
		l.Send(exchange.Bitmap{Task: b.Task, Geometry: g, Have: all})
	}
	return nil
}

func (m *mute) Serve(_ p2p.HostID, r exchange.Request) exchange.Answer {
	m.asked.Add(1)
	g := p2p.GeometryFor(m.size)
	return exchange.Answer{
		Status: exchange.StatusOK, Piece: r.First, Reader: bytes.NewReader(make([]byte, g.Length(r.First))), Length: g.Length(r.First),
		Pace: func(ctx context.Context, _ int) error { <-ctx.Done(); return ctx.Err() },
		Done: func(int64, error) {},
	}
}

// A peer that takes requests and never sends holds nobody up for long: with a seed
// beside it, and where it is the only one that says it has the content.
func TestPeerNeverSends(t *testing.T) {
	for name, seeds := range map[string]int{"with a seed": 1, "alone": 0} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := New(t)
			v := c.Put("app", 8<<20)
			for i := range seeds {
				c.Start(pki.Seed, fmt.Sprint("seed", i), Options{})
			}
			m := &mute{size: int64(len(v.Data))}
			c.join(t, c.identity(pki.Node, "mute"), m, p2p.Holding{Task: v.Task, Size: m.size, Complete: seeds == 0, Active: seeds > 0, Origin: v.Origin})
			n := c.Start(pki.Node, "a", Options{Fetch: asConfigured})
			began := time.Now()
			if err := read(patience(t), n, v, fetcher.All); err != nil {
				t.Fatal(err)
			}
			took, sent := time.Since(began), float64(c.Origin.Served(v.Origin))/float64(len(v.Data))
			t.Logf("%.1f s; the mute peer was asked %d times; the origin sent %.2f copies", took.Seconds(), m.asked.Load(), sent)
			if took > unbearable || sent > 1.2 {
				t.Error("that is too much")
			}
		})
	}
}

// oneWay is a transport that does not reach some addresses: what is sent there is lost.
type oneWay struct {
	exchange.TCP
	mu   sync.Mutex
	lost map[string]bool
}

func (o *oneWay) Dial(ctx context.Context, addr string) (net.Conn, error) {
	o.mu.Lock()
	lost := o.lost[addr]
	o.mu.Unlock()
	if lost {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return o.TCP.Dial(ctx, addr)
}

// Half of the peers cannot reach the other half, which reaches them: all get the content,
// and the origin sends it once.
func TestHalfUnreachableOneWay(t *testing.T) {
	c := New(t)
	v := c.Put("app", 16<<20)
	c.Start(pki.Seed, "seed", Options{})
	walled := &oneWay{lost: map[string]bool{}}
	var nodes []*Node
	for i := range 8 {
		o := Options{Fetch: patiently}
		if i%2 == 0 {
			o.Transport = walled
		}
		n := c.Start(pki.Node, fmt.Sprint("n", i), o)
		nodes = append(nodes, n)
		if i%2 == 1 {
			walled.mu.Lock()
			walled.lost[n.Addr] = true
			walled.mu.Unlock()
		}
	}
	var wg sync.WaitGroup
	for _, n := range nodes {
		wg.Go(func() {
			began := time.Now()
			if err := read(patience(t), n, v, fetcher.All); err != nil {
				t.Errorf("%s: %v", n.ID, err)
			}
			if took := time.Since(began); took > unbearable {
				t.Errorf("%s: %v", n.ID, took)
			}
		})
	}
	wg.Wait()
	sent := float64(c.Origin.Served(v.Origin)) / float64(len(v.Data))
	t.Logf("the origin sent %.2f copies", sent)
	if sent > 1.2 {
		t.Error("that is too much")
	}
}
