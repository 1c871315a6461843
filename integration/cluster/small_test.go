package cluster

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/darter-p2p/darter/fetcher"
	"github.com/darter-p2p/darter/internal/pki"
	"github.com/darter-p2p/darter/p2p"
	"github.com/darter-p2p/darter/p2p/node"
	"github.com/darter-p2p/darter/p2p/store"
)

// Thousands of contents of one piece, which eight nodes want at once, each in an order of
// its own: the origin is asked once for each, whoever comes first. With
// DARTER_STRESS=1 there are 2,000, else an eighth of that.
func TestManySmall(t *testing.T) {
	const nodes, size, readers = 8, 20 << 10, 4
	count := 250
	if os.Getenv("DARTER_STRESS") != "" {
		count = 2000
	}
	c := New(t)
	contents := make([]Content, count)
	for i := range contents {
		contents[i] = c.Put("app", size+i) // other sizes are other bytes
	}
	// All hosts share this process's files: what is done rests soon.
	opt := Options{Config: func(c *node.Config) { c.IdleAfter = time.Second }}
	c.Start(pki.Seed, "seed", opt)
	crowd := make([]*Node, nodes)
	for i := range crowd {
		crowd[i] = c.Start(pki.Node, fmt.Sprintf("node%d", i), opt)
	}
	ctx := patience(t)
	if err := read(ctx, crowd[0], c.Put("app", 1), fetcher.All); err != nil { // the scheduler's warm-up is over
		t.Fatal(err)
	}
	before := len(c.Origin.Requests())
	took := make([][]time.Duration, nodes)
	var wg sync.WaitGroup
	begin := time.Now()
	for i, n := range crowd {
		took[i] = make([]time.Duration, count)
		next := make(chan int, count)
		for _, k := range rand.New(rand.NewPCG(1, uint64(i))).Perm(count) {
			next <- k
		}
		close(next)
		for range readers {
			wg.Go(func() {
				for k := range next {
					at := time.Now()
					if err := read(ctx, n, contents[k], fetcher.All); err != nil {
						t.Errorf("%s, content %d: %v", n.ID, k, err)
					}
					took[i][k] = time.Since(at)
				}
			})
		}
	}
	wg.Wait()
	total := time.Since(begin)
	asked := map[p2p.Origin]int{}
	for _, r := range c.Origin.Requests()[before:] {
		asked[r.Origin]++
	}
	for i, v := range contents {
		if asked[v.Origin] != 1 || c.Origin.Served(v.Origin) != int64(len(v.Data)) {
			t.Errorf("content %d: the origin was asked %d times and sent %d bytes of %d", i, asked[v.Origin], c.Origin.Served(v.Origin), len(v.Data))
		}
	}
	all := slices.Concat(took...)
	slices.Sort(all)
	at := func(p float64) time.Duration { return all[int(p*float64(len(all)-1))].Round(100 * time.Microsecond) }
	t.Logf("%d nodes, %d contents of 20 KiB, %d at a time: %v in all; each took %v in the middle, p99 %v, at most %v",
		nodes, count, nodes*readers, total.Round(time.Millisecond), at(0.5), at(0.99), at(1))
}

// What every neighbour holds whole rests after a while: no host keeps its files open, be
// it the first that had it or the last.
func TestContentsRest(t *testing.T) {
	c := New(t)
	opt := Options{Config: func(c *node.Config) { c.IdleAfter = 100 * time.Millisecond }}
	hosts := []*Node{c.Start(pki.Seed, "seed", opt), c.Start(pki.Node, "a", opt), c.Start(pki.Node, "b", opt), c.Start(pki.Node, "c", opt)}
	ctx := patience(t)
	for i := range 8 {
		v := c.Put("app", 1<<20+i<<18)
		var wg sync.WaitGroup
		for _, n := range hosts[1:] {
			wg.Go(func() {
				if err := read(ctx, n, v, fetcher.All); err != nil {
					t.Errorf("%s: %v", n.ID, err)
				}
			})
		}
		wg.Wait()
	}
	for _, n := range hosts {
		until(t, fmt.Sprintf("all of %s rests", n.ID), func() bool {
			return !slices.ContainsFunc(n.Store.List(), func(i store.Info) bool { return i.Open > 0 })
		})
	}
}
