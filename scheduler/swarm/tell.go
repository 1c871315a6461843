package swarm

import (
	"slices"
	"time"

	"github.com/darter-p2p/darter/p2p"
)

// talk is what a peer is still to be told, and whom it avoids.
type talk struct {
	add    []*peer
	remove []p2p.HostID
	due    time.Time // when the rest is told, where it is in Core.later
	queued bool      // in Core.soon or Core.later
	avoid  []avoided
}

// avoided is a neighbour that the peer reported lost.
type avoided struct {
	host  p2p.HostID
	until time.Time
}

// maxAvoided bounds how many lost neighbours of a peer are remembered.
const maxAvoided = 32

func (p *peer) talking() *talk {
	if p.talk == nil {
		p.talk = &talk{}
	}
	return p.talk
}

// tellAdd tells p that q is a neighbour, or what is new of it.
func (c *Core) tellAdd(p, q *peer) {
	k := p.talking()
	if !slices.Contains(k.add, q) {
		k.add = append(k.add, q)
	}
	c.queue(p)
}

// tellRemove tells p that a host is no longer a neighbour. A host that p was not
// told of yet may be among the removed; that does no harm.
func (c *Core) tellRemove(p, q *peer) {
	k := p.talking()
	if i := slices.Index(k.add, q); i >= 0 {
		k.add = slices.Delete(k.add, i, i+1)
	}
	if id := q.host.ID; !slices.Contains(k.remove, id) {
		k.remove = append(k.remove, id)
	}
	c.queue(p)
}

// queue sees to it that p is told: at the end of this event if it was told nothing
// lately, else after Config.Batch.
func (c *Core) queue(p *peer) {
	k := p.talk
	if k.queued {
		return
	}
	k.queued = true
	if c.millis()-p.told >= uint32(c.cfg.Batch.Milliseconds()) {
		c.soon = append(c.soon, p)
		return
	}
	k.due = c.now.Add(c.cfg.Batch)
	c.later = append(c.later, p)
}

// flush tells what is due.
func (c *Core) flush() {
	for _, p := range c.soon {
		c.tell(p)
	}
	clear(c.soon)
	c.soon = c.soon[:0]
	for len(c.later) > 0 && !c.later[0].talk.due.After(c.now) {
		c.tell(c.later[0])
		c.later[0] = nil
		c.later = c.later[1:]
	}
}

func (c *Core) tell(p *peer) {
	k := p.talk
	k.queued = false
	if !p.gone() && len(k.add)+len(k.remove) > 0 {
		m := Neighbours{Task: p.task.id, Remove: k.remove}
		if len(k.add) > 0 {
			m.Add = make([]p2p.Host, len(k.add))
			for i, q := range k.add {
				m.Add[i] = q.describe()
			}
		}
		c.emit(p.host, m)
	}
	k.add, k.remove = nil, nil
	p.told = c.millis()
	if len(k.avoid) == 0 {
		p.talk = nil
	}
}

// millis returns the time in milliseconds since long before the core began. It
// wraps around after 49 days: a difference then takes a long silence for a short one,
// and news wait for Config.Batch.
func (c *Core) millis() uint32 { return uint32(c.now.Sub(c.began).Milliseconds()) + 1<<31 }

// describe returns the peer's host as its neighbours in this task see it.
func (p *peer) describe() p2p.Host {
	h := p.host.Host
	h.Seed = p.wide
	return h
}

// retell queues all neighbours of p again, for it has connected or joined anew.
func (c *Core) retell(p *peer) {
	for _, q := range p.edges {
		c.tellAdd(p, q)
	}
}

// avoids reports whether p asked not long ago for somebody else than q.
func (c *Core) avoids(p, q *peer) bool {
	if p.talk == nil {
		return false
	}
	for _, a := range p.talk.avoid {
		if a.host == q.host.ID && c.now.Before(a.until) {
			return true
		}
	}
	return false
}

// avoid remembers that p does not want q for now.
func (c *Core) avoid(p, q *peer) {
	k := p.talking()
	k.avoid = slices.DeleteFunc(k.avoid, func(a avoided) bool {
		return a.host == q.host.ID || !c.now.Before(a.until)
	})
	if len(k.avoid) == maxAvoided {
		k.avoid = slices.Delete(k.avoid, 0, 1)
	}
	k.avoid = append(k.avoid, avoided{q.host.ID, c.now.Add(c.cfg.Avoid)})
}
