package cluster

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/darter-p2p/darter/fetcher"
	"github.com/darter-p2p/darter/fetcher/source/sourcetest"
	"github.com/darter-p2p/darter/internal/pki"
)

// pulling starts a seed and 8 nodes that read a content from an origin that takes a few
// seconds to give it, calls trouble once all have some of it, and waits for those who
// are to get it whole.
func pulling(t *testing.T, trouble func(c *Cluster, seed *Node, nodes []*Node) (whole []*Node)) {
	t.Helper()
	c := New(t)
	v := c.Put("app", 24<<20)
	c.Origin.Fail(v.Origin, sourcetest.Failure{Delay: 2 * time.Millisecond, Chunk: 32 << 10})
	seed := c.Start(pki.Seed, "seed", Options{})
	nodes := c.startNodes(8, Options{Fetch: asConfigured})
	done := map[*Node]chan error{}
	for _, n := range nodes {
		ctx, die := context.WithCancel(patience(t))
		ended := make(chan error, 1)
		go func() { ended <- read(ctx, n, v, fetcher.All) }()
		stop := n.Stop
		n.Stop = func() { // its clients die with it
			die()
			stop()
		}
		t.Cleanup(die)
		done[n] = ended
	}
	until(t, "all have some pieces", func() bool {
		for _, n := range nodes {
			if n.held(v) < 3 {
				return false
			}
		}
		return true
	})
	began := time.Now()
	whole := map[*Node]bool{}
	for _, n := range trouble(c, seed, nodes) {
		whole[n] = true
	}
	for _, n := range nodes {
		if err := <-done[n]; err != nil && whole[n] {
			t.Errorf("%s: %v", n.ID, err)
		}
	}
	copies := float64(c.Origin.Served(v.Origin)) / float64(len(v.Data))
	t.Logf("%.1f s after the trouble; the origin sent %.2f copies", time.Since(began).Seconds(), copies)
	if copies > 1.2 || time.Since(began) > unbearable {
		t.Error("that is too much")
	}
}

// The scheduler is killed and restarted while a crowd pulls.
func TestSchedulerRestartsUnderPull(t *testing.T) {
	pulling(t, func(c *Cluster, _ *Node, nodes []*Node) []*Node {
		c.StopScheduler()
		c.StartScheduler()
		return nodes
	})
}

// 3 of 8 nodes are killed while a crowd pulls.
func TestNodesKilledUnderPull(t *testing.T) {
	pulling(t, func(_ *Cluster, _ *Node, nodes []*Node) []*Node {
		var wg sync.WaitGroup
		for _, n := range nodes[:3] {
			wg.Go(n.Stop)
		}
		wg.Wait()
		return nodes[3:]
	})
}

// The seed is killed with the scheduler, and only the scheduler is back: a node reads on.
func TestSeedAndSchedulerDie(t *testing.T) {
	pulling(t, func(c *Cluster, seed *Node, nodes []*Node) []*Node {
		c.StopScheduler()
		seed.Stop()
		c.StartScheduler()
		return nodes
	})
}
