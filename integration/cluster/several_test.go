package cluster

import (
	"sync"
	"testing"
	"time"

	"github.com/darter-p2p/darter/fetcher"
	"github.com/darter-p2p/darter/fetcher/source/sourcetest"
	"github.com/darter-p2p/darter/internal/pki"
)

// With two schedulers each content lives at one. Downloads go on when one dies under
// them, what is new finds its way, and the origin sends every byte once.
func TestSeveralSchedulers(t *testing.T) {
	c := New(t)
	c.AddScheduler()
	var contents []Content
	for i := range 6 { // all at one scheduler in 1 run of 32: ports are chosen anew
		v := c.Put("app", 4<<20+i+1)
		c.Origin.Fail(v.Origin, sourcetest.Failure{Delay: time.Millisecond, Chunk: 16 << 10})
		contents = append(contents, v)
	}
	c.Start(pki.Seed, "seed", Options{})
	nodes := []*Node{c.Start(pki.Node, "a", Options{}), c.Start(pki.Node, "b", Options{})}
	ctx := patience(t)
	all := func(nodes ...*Node) (ended *sync.WaitGroup) {
		ended = &sync.WaitGroup{}
		for _, n := range nodes {
			for i, v := range contents {
				ended.Go(func() {
					if err := read(ctx, n, v, fetcher.All); err != nil {
						t.Errorf("%s, content %d: %v", n.ID, i, err)
					}
				})
			}
		}
		return ended
	}
	reading := all(nodes...)
	for _, v := range contents { // every download is under way
		body, err := nodes[0].Fetcher.Open(ctx, v.Ask("app"), fetcher.Range{Length: 1})
		if err != nil {
			t.Fatal(err)
		}
		_ = body.Close()
	}
	c.StopScheduler()
	reading.Wait()
	contents = append(contents, c.Put("app", 2<<20+3))
	all(nodes...).Wait()
	c.StartScheduler() // what lived there comes back
	all(c.Start(pki.Node, "c", Options{})).Wait()
	for i, v := range contents {
		if got := c.Origin.Served(v.Origin); got != int64(len(v.Data)) {
			t.Errorf("the origin sent %d bytes of content %d, which has %d", got, i, len(v.Data))
		}
	}
}
