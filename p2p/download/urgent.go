package download

import (
	"math"
	"time"

	"github.com/darter-p2p/darter/p2p"
)

// askUrgent asks for the pieces that a reader is blocked on, of the neighbour with
// the best pace, whatever slots are taken.
func (c *Core) askUrgent(now time.Time) {
	for _, t := range c.order {
		for _, rd := range t.readers {
			if rd.class != p2p.Urgent {
				continue
			}
			for p := rd.pos; p < rd.end && p < rd.pos+2; p++ {
				if !t.open.Has(p) {
					continue
				}
				if best := c.bestHolder(now, t, p, true); best != nil {
					c.ask(now, best, p, false, p2p.Urgent)
				}
			}
		}
	}
}

// askWaiting asks for the next piece of a reader that has waited for it for a while,
// whatever slots are taken: the tasks of an image share the slots, lowest layer first,
// and the readers of the others must not take that for a stall. A seed is asked later: its
// uplink is everybody's, and what it sends a second time somebody else gets later.
func (c *Core) askWaiting(now time.Time) {
	for _, t := range c.order {
		for _, rd := range t.readers {
			if rd.moved.IsZero() {
				rd.moved = now
			}
			waited := now.Sub(rd.moved)
			if rd.class == p2p.Urgent || waited < c.cfg.Patience || !t.open.Has(rd.pos) {
				continue
			}
			if best := c.bestHolder(now, t, rd.pos, waited >= seedPatience*c.cfg.Patience); best != nil {
				rd.moved = now
				c.ask(now, best, rd.pos, false, rd.class)
			}
		}
	}
}

// seedPatience is how many times Config.Patience a reader waits before a seed is asked.
const seedPatience = 4

// bestHolder returns the neighbour, or seed, that would bring a piece first, asked out of
// turn: one more than Depth may be outstanding there.
func (c *Core) bestHolder(now time.Time, t *task, piece p2p.Piece, seeds bool) *peer {
	var best *peer
	least := math.Inf(1)
	for _, p := range t.peers {
		if !p.set.Has(piece) || p.seed && !seeds || now.Before(p.host.busyUntil) || len(p.host.requests) > c.cfg.Depth {
			continue
		}
		cost := float64(p.host.pace.mean) * float64(1+len(p.host.requests))
		if p.host.slow {
			cost += 1
		}
		if p.seed { // its uplink is everybody's
			cost *= 2
		}
		if cost < least {
			best, least = p, cost
		}
	}
	return best
}
