package swarm

import (
	"maps"
	"slices"
	"strings"
)

// Configure replaces the configuration, which must be valid. Meshes follow: who has more
// neighbours than it may gives up those that have most, and what is lacking is given at
// the next sweep. Times count for what begins later; Warmup is over.
type Configure struct{ Config Config }

func (e Configure) apply(c *Core) {
	if c.cfg == e.Config {
		return
	}
	tasks := slices.SortedFunc(maps.Values(c.tasks), func(a, b *task) int {
		if a.seq < b.seq {
			return -1
		}
		return 1
	})
	file := c.refile(tasks, e.Config)
	c.cfg = e.Config
	file()
	for _, t := range tasks {
		t.large = t.members() > c.cfg.LargeSwarm
		c.trim(t)
		c.bridge(t)
		c.grow(t)
	}
}

// refile takes peers out of their zones and hosts out of their racks where these begin
// or end to matter. What it returns files them anew.
func (c *Core) refile(tasks []*task, next Config) (file func()) {
	var peers []*peer
	if (c.cfg.Bridges == 0) != (next.Bridges == 0) {
		for _, t := range tasks {
			for _, g := range t.groups {
				peers = append(peers, g.peers...)
			}
		}
	}
	for _, p := range peers {
		c.takeOut(p)
	}
	var hosts []*host
	if (c.cfg.RackNeighbours == 0) != (next.RackNeighbours == 0) {
		hosts = slices.SortedFunc(maps.Values(c.hosts), func(a, b *host) int { return strings.Compare(string(a.ID), string(b.ID)) })
	}
	for _, h := range hosts {
		c.unsettle(h)
	}
	return func() {
		for _, h := range hosts {
			c.settle(h)
		}
		for _, p := range peers {
			c.putIn(p)
		}
	}
}

// trim takes edges from the peers of a task that have more than they may now.
func (c *Core) trim(t *task) {
	var poor []*peer
	cut := func(p *peer) {
		for len(p.edges) > c.degreeCap(p) {
			was := slices.Clone(p.edges)
			c.makeRoom(p)
			for _, q := range was {
				if !slices.Contains(p.edges, q) {
					poor = append(poor, q)
				}
			}
		}
	}
	for _, g := range t.groups {
		for _, p := range g.peers {
			cut(p)
		}
	}
	for _, p := range t.parts {
		cut(p)
	}
	for _, p := range poor {
		c.refill(p)
	}
}
