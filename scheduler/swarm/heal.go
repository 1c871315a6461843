package swarm

import "slices"

// tear has a task's mesh walked at the next sweep.
func (c *Core) tear(t *task) {
	t.torn = true
	c.watch(t)
}

// grow has those of a task's peers who have few neighbours given more at the next sweep.
func (c *Core) grow(t *task) {
	t.grown = true
	c.watch(t)
}

// heal links what a loss has cut off: every peer that takes a task must reach,
// through others that take it, somebody who holds it or reads it from the origin.
// Losses are mended at once where a peer has few neighbours left; this walk, once a
// second and task, finds what chance has split all the same. It reports whether
// everything is connected now.
func (c *Core) heal(t *task) bool {
	c.epoch++
	var reached []*peer
	visit := func(p *peer) {
		if p.mark != c.epoch {
			p.mark = c.epoch
			reached = append(reached, p)
		}
	}
	seen := 0 // of reached
	walk := func() {
		for ; seen < len(reached); seen++ {
			if p := reached[seen]; p.relays() {
				for _, q := range p.edges {
					visit(q)
				}
			}
		}
	}
	if t.pull != nil {
		visit(t.pull.puller)
	}
	for _, g := range t.groups {
		for _, p := range g.peers {
			if p.state == complete {
				visit(p)
			}
		}
	}
	walk()
	whole := true
	for _, g := range slices.Clone(t.groups) {
		for _, p := range slices.Clone(g.peers) {
			if p.mark == c.epoch || !p.takes() {
				continue
			}
			if len(reached) > 0 && !c.rejoin(p, reached) {
				whole = false
				continue
			}
			visit(p)
			walk()
		}
	}
	return whole
}

// rejoin links a peer to one of those that were reached.
func (c *Core) rejoin(p *peer, reached []*peer) bool {
	start := c.rng.IntN(len(reached))
	for near := range 2 { // own zone first
		for i := range reached {
			if q := reached[(start+i)%len(reached)]; c.near(p, q) == (near == 0) && q.relays() && c.link(p, q) {
				return true
			}
		}
	}
	for i := range reached {
		q := reached[(start+i)%len(reached)]
		if !q.relays() || c.avoids(p, q) || c.avoids(q, p) {
			continue
		}
		c.makeRoom(p)
		c.makeRoom(q)
		return c.link(p, q)
	}
	return false
}
