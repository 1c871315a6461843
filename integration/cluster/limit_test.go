package cluster

import (
	"testing"
	"time"

	"github.com/darter-p2p/darter/fetcher"
	"github.com/darter-p2p/darter/internal/config"
	"github.com/darter-p2p/darter/internal/pki"
	"github.com/darter-p2p/darter/p2p/limit"
	"github.com/darter-p2p/darter/p2p/node"
)

// A limit holds wherever the bytes come from and go to. That a limit is also reached is
// shown in virtual time (p2p/limit, p2p/exchange): here the machine may be slower.
func TestLimits(t *testing.T) {
	const size, rate = 8 << 20, 4 << 20
	with := func(l limit.Config) Options {
		return Options{Config: func(c *node.Config) { c.Limits = limit.New(l) }}
	}
	r := config.Rate(rate * 8)
	alone := with(limit.Config{Download: r})
	alone.Fetch = func(c *fetcher.Config) { c.FirstByte = config.Duration(10 * time.Millisecond) }
	cases := map[string]struct{ seed, node Options }{
		"seed's upload":    {with(limit.Config{Upload: r}), Options{}},
		"seed's download":  {with(limit.Config{Download: r}), Options{}},
		"node's download":  {Options{}, with(limit.Config{Download: r})},
		"reader's own":     {Options{}, alone},
		"one content here": {Options{}, with(limit.Config{Task: r})},
	}
	for name, lim := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := New(t)
			v := c.Put("app", size)
			c.Start(pki.Seed, "seed", lim.seed)
			n := c.Start(pki.Node, "node", lim.node)
			if name == "reader's own" {
				c.StopScheduler() // so that the node reads the origin itself
			}
			start := time.Now()
			if err := read(patience(t), n, v, fetcher.All); err != nil {
				t.Fatal(err)
			}
			const least = size / rate * time.Second * 95 / 100
			if took := time.Since(start); took < least {
				t.Errorf("%d bytes came in %v, at %d bytes/s that takes %v", size, took, rate, least)
			}
		})
	}
}
