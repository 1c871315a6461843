package cluster

import (
	"testing"

	"github.com/darter-p2p/darter/internal/config"
	"github.com/darter-p2p/darter/internal/pki"
	"github.com/darter-p2p/darter/p2p/limit"
	"github.com/darter-p2p/darter/p2p/node"
)

// A seed that lives and sends, but slower than the origin gives, is left for the origin,
// by leave of the scheduler; the next content is read there at once.
func TestSlowNeighbour(t *testing.T) {
	t.Parallel()
	c := New(t)
	c.Start(pki.Seed, "seed", Options{Config: func(n *node.Config) {
		n.Limits = limit.New(limit.Config{Upload: config.Rate(8 * limit.MinRate)})
	}})
	n := c.Start(pki.Node, "n", Options{Config: func(n *node.Config) { n.SlowRate = node.Default().SlowRate }})
	for _, size := range []int{24 << 20, 16 << 20} {
		v := c.Put("app", size)
		_, took := c.crowd(t, v, []*Node{n})
		s, _ := n.Task(v.Task)
		t.Logf("%v: %d of %d bytes from the origin", took, s.FromOrigin, size)
		if s.FromOrigin < int64(size)/2 {
			t.Error("it stayed with a seed that sends 1 MiB/s")
		}
	}
}
