package swarm

import (
	"slices"

	"github.com/darter-p2p/darter/p2p"
)

func (e Announce) apply(c *Core) {
	h := c.hosts[e.Host]
	if h == nil {
		return
	}
	for _, holding := range e.Holdings {
		c.announce(h, holding)
	}
	if !e.Last {
		return
	}
	for _, p := range h.sortedPeers() {
		if p.stale {
			c.removePeer(p)
		}
	}
}

func (c *Core) announce(h *host, a p2p.Holding) {
	_, heard := c.tasks[a.Task]
	t := c.task(a.Task)
	if !heard && (a.Active || a.Pulling) {
		t.warm = c.now.Add(c.cfg.Settle)
	}
	c.addOrigin(t, a.Origin)
	if c.condemned(t, h.ID) {
		c.forget(t)
		return
	}
	known := h.peers[t]
	reads := known != nil && t.pull != nil && t.pull.puller == known && !a.Pulling && !a.Complete
	if reads && !known.stale {
		c.hearSize(known, a.Size) // it spoke before it heard that it is the puller
		return
	}
	if known != nil {
		c.retell(known) // it may have come back without its neighbours
	}
	switch {
	case a.Complete:
		c.nowComplete(c.addPeer(t, h, complete), a.Size)
	case a.Active || a.Pulling:
		s := wanting
		if h.Seed && (!a.Active || known != nil && known.state == helping) {
			s = helping
		}
		p := c.addPeer(t, h, s)
		c.hearSize(p, a.Size)
		if reads {
			c.pullerRestarted(t)
		} else if a.Pulling {
			c.agreePuller(p, a)
		}
		c.ensurePull(t)
		c.gather(p, c.neighbours(t)/2)
		c.grow(t)
	default:
		p := c.addPeer(t, h, partial)
		c.hearSize(p, a.Size)
		if reads {
			c.pullerRestarted(t)
		}
		c.ensurePull(t)
	}
	c.forget(t)
}

// agreePuller keeps one puller of those who say that they are.
func (c *Core) agreePuller(p *peer, a p2p.Holding) {
	t := p.task
	switch {
	case t.pull != nil && t.pull.puller == p:
	case t.pull == nil && t.count[complete] == 0:
		c.startPull(t, &pull{
			puller: p, origin: a.Origin, started: a.Size >= 0, since: c.now, tries: 1, tried: []p2p.HostID{p.host.ID},
		})
		t.held = false
		c.widen(p)
	default:
		c.stopPull(p)
	}
}

func (e Join) apply(c *Core) {
	h := c.hosts[e.Host]
	if h == nil {
		return
	}
	t := c.task(e.Task)
	if c.condemned(t, h.ID) {
		c.emit(h, TaskFailed{t.id, p2p.OriginError{Message: "this host sent wrong bytes to others and is kept out of the task"}})
		return
	}
	c.addOrigin(t, e.Origin)
	c.hearKey(t, e.Origin)
	p := c.addPeer(t, h, wanting)
	c.hearSize(p, e.Size)
	c.ensurePull(t)
	if why, failed := c.refusal(t); failed {
		c.emit(h, TaskFailed{Task: t.id, Error: why})
	}
	c.retell(p)
	c.gather(p, c.neighbours(t)/2)
	c.grow(t)
}

func (e Leave) apply(c *Core) {
	if p := c.find(e.Task, e.Host); p != nil {
		c.removePeer(p)
	}
}

func (e Done) apply(c *Core) {
	h := c.hosts[e.Host]
	if h == nil {
		return
	}
	t := c.task(e.Task)
	if !c.condemned(t, h.ID) {
		c.nowComplete(c.addPeer(t, h, complete), -1)
	}
	c.forget(t)
}

// nowComplete takes note of a holder of the whole task, and hands it to those who still take it.
func (c *Core) nowComplete(p *peer, size int64) {
	t := p.task
	if t.pull != nil && t.pull.puller == p {
		c.endPull(t)
	}
	c.setState(p, complete)
	t.held = false
	if tr := t.trouble[p.host.ID]; tr != nil {
		tr.lost = nil
	}
	if size >= 0 {
		p.knows = true
		c.learnSize(t, size, witnessed)
	}
	k := c.neighbours(t)
	if t.count[wanting]+t.count[helping] == 0 || len(p.edges) > 0 {
		return
	}
	g := c.group(p)
	start := c.rng.IntN(len(g.peers))
	for i := 0; i < len(g.peers) && i < 4*k && len(p.edges) < k/2; i++ {
		if q := g.peers[(start+i)%len(g.peers)]; q.takes() && len(q.edges) < k {
			c.link(p, q)
		}
	}
	c.bridge(t)
	if len(p.edges) == 0 {
		c.tear(t)
	}
}

func (e NeighbourLost) apply(c *Core) {
	p := c.find(e.Task, e.Host)
	if p == nil {
		return
	}
	t := p.task
	for _, id := range e.Lost {
		q := c.find(e.Task, id)
		if q == nil || q == p {
			continue
		}
		c.avoid(p, q)
		if slices.Contains(p.edges, q) {
			c.unlink(p, q)
			c.refill(q)
		}
		c.doubt(p, q)
	}
	if p.takes() {
		c.gather(p, c.neighbours(t)/2)
	}
	c.bridge(t)
	c.ensurePull(t)
}

// learnSize takes a task's size and tells it to those who take the task. What a
// holder or the origin says replaces what joiners said.
func (c *Core) learnSize(t *task, size int64, by claim) {
	if size == t.size {
		t.sizeBy = max(t.sizeBy, by)
		return
	}
	if by <= t.sizeBy {
		return
	}
	changed := t.size >= 0
	t.size, t.sizeBy = size, by
	for _, g := range t.groups {
		for _, p := range g.peers {
			if changed {
				p.knows = false
			}
			if p.takes() {
				c.tellSize(p)
			}
		}
	}
}

// hearSize takes what a peer believes the size to be (-1 = nothing) and corrects it.
func (c *Core) hearSize(p *peer, size int64) {
	t := p.task
	if size >= 0 {
		p.knows = true
		c.learnSize(t, size, hearsay)
	}
	p.knows = size >= 0 && size == t.size
	if p.takes() {
		c.tellSize(p)
	}
}

func (c *Core) tellSize(p *peer) {
	if t := p.task; t.size >= 0 && !p.knows {
		p.knows = true
		c.emit(p.host, TaskGeometry{Task: t.id, Size: t.size})
	}
}
