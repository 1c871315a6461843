package swarm

import "slices"

// A joiner takes half of k neighbours by two choices among everybody, so that later
// joiners bring the mean to k. Taking all k at once would fill the early peers to
// their cap and leave the late ones to each other, a chain instead of a random graph.
// What the last joiners lack of three quarters of k they get from each other, by fillUp.

// neighbours returns k for a task.
func (c *Core) neighbours(t *task) int {
	if t.large {
		return c.cfg.LargeNeighbours
	}
	return c.cfg.Neighbours
}

// degreeCap returns the most neighbours that a peer may have.
func (c *Core) degreeCap(p *peer) int {
	if p.wide {
		return max(c.cfg.SeedDegree, c.neighbours(p.task)*3/2)
	}
	return c.neighbours(p.task) * 3 / 2
}

// gather gives a peer of the mesh neighbours until it has at least want, as far as there are any.
func (c *Core) gather(p *peer, want int) {
	t := p.task
	c.gatherSources(p)
	c.gatherRack(p)
	if g := c.group(p); len(g.peers)-1 <= want {
		for _, q := range slices.Clone(g.peers) {
			c.link(p, q)
		}
	} else {
		c.gatherRandom(p, g, want)
	}
	c.gatherParts(p)
	c.bridge(t)
	if len(p.edges) == 0 {
		c.force(p)
	}
	if len(p.edges) == 0 {
		c.tear(t) // the next walk finds a way
	}
}

// fillUp links the peers of a task that have less than three quarters of k with each other.
func (c *Core) fillUp(t *task) {
	least := c.neighbours(t) * 3 / 4
	for _, g := range t.groups {
		var poor []*peer
		for _, p := range g.peers {
			if p.takes() && !p.wide && len(p.edges) < least {
				poor = append(poor, p)
			}
		}
		c.rng.Shuffle(len(poor), func(i, j int) { poor[i], poor[j] = poor[j], poor[i] })
		for i, p := range poor {
			for j := 1; j < len(poor) && j <= least && len(p.edges) < least; j++ {
				if q := poor[(i+j)%len(poor)]; len(q.edges) < least {
					c.link(p, q)
				}
			}
		}
	}
}

// maxSources is the number of seeds that a peer is given.
const maxSources = 2

// gatherSources links a peer to the task's seeds and pullers while they have room:
// the one that reads the origin first, then the least loaded.
func (c *Core) gatherSources(p *peer) {
	t := p.task
	have := 0
	for _, q := range p.edges {
		if q.wide {
			have++
		}
	}
	if pl := t.pull; pl != nil && c.near(p, pl.puller) && c.link(p, pl.puller) {
		have++
	}
	for ; have < maxSources; have++ {
		var best *peer
		for _, q := range t.sources {
			if c.near(p, q) && c.fits(p, q) && (best == nil || len(q.edges) < len(best.edges)) {
				best = q
			}
		}
		if best == nil || !c.link(p, best) {
			return
		}
	}
}

// near reports whether p may have q as a neighbour without crossing zones.
func (c *Core) near(p, q *peer) bool { return c.zone(p) == c.zone(q) }

// maxRackScan bounds how many hosts of a rack are looked at for one peer.
const maxRackScan = 256

// gatherRack links a peer to some of its own rack.
func (c *Core) gatherRack(p *peer) {
	r := p.host.rack
	if r == nil || len(r.hosts) < 2 {
		return
	}
	have := sameRack(p)
	start := c.rng.IntN(len(r.hosts))
	for i := 0; i < len(r.hosts) && i < maxRackScan && have < c.cfg.RackNeighbours; i++ {
		q := r.hosts[(start+i)%len(r.hosts)].peers[p.task]
		if q != nil && q.relays() && !q.wide && c.link(p, q) {
			have++
		}
	}
}

func sameRack(p *peer) int {
	n := 0
	for _, q := range p.edges {
		if inRack(p, q) {
			n++
		}
	}
	return n
}

func inRack(p, q *peer) bool { return p.host.rack != nil && p.host.rack == q.host.rack }

// gatherRandom links a peer to random ones of a group until it has want
// neighbours: the less loaded of two at a time. Its own rack leaves room for others at first.
func (c *Core) gatherRandom(p *peer, g *group, want int) {
	rackRoom := want - c.cfg.RackNeighbours - sameRack(p)
	if p.host.rack == nil {
		rackRoom = want
	}
	for tries := 4 * want; tries > 0 && len(p.edges) < want; tries-- {
		if tries == want {
			rackRoom = want // nobody outside has room
		}
		q, other := g.peers[c.rng.IntN(len(g.peers))], g.peers[c.rng.IntN(len(g.peers))]
		if c.load(other) < c.load(q) {
			q = other
		}
		if q.wide || inRack(p, q) && rackRoom <= 0 {
			continue
		}
		if c.link(p, q) && inRack(p, q) {
			rackRoom--
		}
	}
}

// load is a peer's degree in thousandths of its cap.
func (c *Core) load(p *peer) int { return len(p.edges) * 1000 / c.degreeCap(p) }

// maxParts is the number of partial holders that a peer is given.
const maxParts = 2

// gatherParts links a peer to some that hold a part and take nothing. They come on
// top: nothing flows through them.
func (c *Core) gatherParts(p *peer) {
	t := p.task
	if len(t.parts) == 0 || t.count[complete] > 0 {
		return
	}
	start := c.rng.IntN(len(t.parts))
	for i, linked := 0, 0; i < len(t.parts) && i < 4*maxParts && linked < maxParts; i++ {
		if c.link(p, t.parts[(start+i)%len(t.parts)]) {
			linked++
		}
	}
}

// force gives a peer without neighbours one, although all that it may have are full:
// a full one gives up the neighbour that has most.
func (c *Core) force(p *peer) {
	g := c.group(p)
	start := c.rng.IntN(len(g.peers))
	for i := range g.peers {
		q := g.peers[(start+i)%len(g.peers)]
		if q == p || c.avoids(p, q) || c.avoids(q, p) {
			continue
		}
		if c.makeRoom(q); c.link(p, q) {
			return
		}
	}
}

// makeRoom takes an edge from a peer that has as many as it may.
func (c *Core) makeRoom(q *peer) {
	if len(q.edges) < c.degreeCap(q) {
		return
	}
	most := q.edges[0]
	for _, x := range q.edges[1:] {
		if len(x.edges) > len(most.edges) {
			most = x
		}
	}
	c.unlink(q, most)
}

// refill gives a peer that lost neighbours new ones when it has less than half of k.
func (c *Core) refill(p *peer) {
	if !p.takes() {
		return
	}
	if k := c.neighbours(p.task); len(p.edges) < k/2 {
		c.gather(p, k/2)
	}
}

// fits reports whether p and q may become neighbours.
func (c *Core) fits(p, q *peer) bool {
	return p != q && !p.gone() && !q.gone() &&
		(p.takes() || q.takes()) &&
		len(p.edges) < c.degreeCap(p) && len(q.edges) < c.degreeCap(q) &&
		!slices.Contains(p.edges, q) &&
		!c.avoids(p, q) && !c.avoids(q, p)
}

// link makes p and q neighbours and tells both, if it may.
func (c *Core) link(p, q *peer) bool {
	if !c.fits(p, q) {
		return false
	}
	c.attach(p, q)
	c.attach(q, p)
	c.chosen++
	c.tellAdd(p, q)
	c.tellAdd(q, p)
	return true
}

func (c *Core) attach(p, q *peer) {
	if n := len(p.edges); n == cap(p.edges) { // append would double it, and most peers have a few more than sixteen
		p.edges = append(make([]*peer, 0, n+max(4, n/4)), p.edges...)
	}
	p.edges = append(p.edges, q)
	if p.relays() && !c.near(p, q) {
		c.group(p).bridges++
	}
}

// unlink ends an edge and tells both sides.
func (c *Core) unlink(p, q *peer) {
	c.cut(p, q)
	c.tellRemove(p, q)
	c.tellRemove(q, p)
	if p.takes() || q.takes() {
		c.tear(p.task)
	}
}

// cut ends an edge without a word.
func (c *Core) cut(p, q *peer) {
	c.detach(p, q)
	c.detach(q, p)
}

func (c *Core) detach(p, q *peer) {
	i := slices.Index(p.edges, q)
	if i < 0 {
		return
	}
	last := len(p.edges) - 1
	p.edges[i] = p.edges[last]
	p.edges[last] = nil
	p.edges = p.edges[:last]
	if last == 0 {
		p.edges = nil
	}
	if p.relays() && !c.near(p, q) {
		c.group(p).bridges--
	}
}
