package cluster

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/darter-p2p/darter/fetcher"
	"github.com/darter-p2p/darter/fetcher/source/sourcetest"
	"github.com/darter-p2p/darter/internal/pki"
	"github.com/darter-p2p/darter/p2p"
)

// Several seeds share the reading of a content: together they read each byte once, and
// each of them a fair part.
func TestSeedsShareTheOrigin(t *testing.T) {
	for _, seeds := range []int{2, 3} {
		t.Run(fmt.Sprint(seeds), func(t *testing.T) {
			c := New(t)
			c.Core.StripeRun = 1 << 20
			c.StopScheduler()
			c.StartScheduler()
			v := c.Put("app", 24<<20+5)
			c.Origin.Fail(v.Origin, sourcetest.Failure{Delay: 2 * time.Millisecond, Chunk: 64 << 10})
			var all []*Node
			for i := range seeds {
				all = append(all, c.Start(pki.Seed, fmt.Sprintf("seed%d", i), Options{}))
			}
			crowd(t, v, c.Start(pki.Node, "a", Options{}), c.Start(pki.Node, "b", Options{}))
			size := float64(len(v.Data))
			if got := float64(c.Origin.Served(v.Origin)) / size; got > 1.02 {
				t.Errorf("the origin sent %.3f copies", got)
			}
			for _, n := range all {
				s, _ := n.Task(v.Task)
				t.Logf("%s read %.2f of it and sent %.2f copies", n.ID, float64(s.FromOrigin)/size, float64(s.Sent)/size)
				if float64(s.FromOrigin) < size/float64(seeds)/3 {
					t.Errorf("%s read %d bytes of the origin, of %d", n.ID, s.FromOrigin, len(v.Data))
				}
			}
		})
	}
}

func crowd(t *testing.T, v Content, nodes ...*Node) {
	t.Helper()
	ctx := patience(t)
	var wg sync.WaitGroup
	for _, n := range nodes {
		wg.Go(func() {
			if err := read(ctx, n, v, fetcher.All); err != nil {
				t.Errorf("%s: %v", n.ID, err)
			}
		})
	}
	wg.Wait()
}

// A seed dies in the middle of its stripe, the notary or another one: somebody else reads
// the rest, and little of what was read is read again.
func TestSeedDiesMidStripe(t *testing.T) {
	for _, notary := range []bool{false, true} {
		t.Run(fmt.Sprintf("notary=%v", notary), func(t *testing.T) {
			c := New(t)
			c.Core.StripeRun = 1 << 20
			c.StopScheduler()
			c.StartScheduler()
			v := c.Put("app", 24<<20+7)
			c.Origin.Fail(v.Origin, sourcetest.Failure{Delay: 4 * time.Millisecond, Chunk: 64 << 10})
			seeds := []*Node{c.Start(pki.Seed, "seed0", Options{}), c.Start(pki.Seed, "seed1", Options{})}
			n := c.Start(pki.Node, "a", Options{})
			done := make(chan error, 1)
			go func() { done <- read(patience(t), n, v, fetcher.All) }()
			if err := c.Origin.WaitRequests(patience(t), 6); err != nil { // both are at it
				t.Fatal(err)
			}
			heavier := p2p.Weight(v.Task, "seed0") > p2p.Weight(v.Task, "seed1") // is the notary
			victim := seeds[1]
			if heavier == notary {
				victim = seeds[0]
			}
			victim.Stop()
			if err := <-done; err != nil {
				t.Error(err)
			}
			if got := float64(c.Origin.Served(v.Origin)) / float64(len(v.Data)); got > 1.2 {
				t.Errorf("the origin sent %.3f copies", got)
			} else {
				t.Logf("the origin sent %.3f copies", got)
			}
		})
	}
}
