package download

import (
	"time"
)

// findLate takes the slot of a neighbour that is overdue away from it, and opens the
// pieces it owes for others to bring. When they came, the neighbour is left alone for a
// while; a seed is not, for what stands there would be lost, and its next pieces nobody
// else has.
func (c *Core) findLate(now time.Time) {
	for i := 0; i < len(c.busy); i++ {
		h := c.busy[i]
		r := h.requests[0]
		took := now.Sub(r.since)
		if took > c.cfg.StallAfter {
			c.abandon(now, h, 10*c.cfg.BusyFor)
			i--
			continue
		}
		if h.late && !c.stands(h) && c.held(h) {
			c.abandon(now, h, c.cfg.BusyFor)
			i--
			continue
		}
		if !h.late && took > c.lateAfter(r) {
			h.late, h.slow = true, true
			for _, q := range h.requests {
				q.peer.task.reopen(q.Piece, false)
			}
		}
	}
}

// held reports whether everything asked of h came from elsewhere meanwhile.
func (c *Core) held(h *host) bool {
	for _, r := range h.requests {
		if !r.peer.task.have.Has(r.Piece) {
			return false
		}
	}
	return true
}

func (c *Core) lateAfter(r *request) time.Duration {
	t := r.peer.task
	expected := c.expect(t)
	if expected == 0 {
		return c.cfg.StallAfter
	}
	factor := c.cfg.LateFactor
	if t.have.Len()-t.have.Count() <= c.cfg.Endgame {
		factor /= 3
	}
	return max(c.cfg.LateMin, time.Duration(factor*float64(expected)))
}

// stands reports whether requests for fresh pieces stand at h.
func (c *Core) stands(h *host) bool {
	for _, t := range c.order {
		if p := t.byHost[h.id]; p != nil && len(p.standing) > 0 {
			return true
		}
	}
	return false
}

// abandon drops everything asked of h, and leaves it alone for a while.
func (c *Core) abandon(now time.Time, h *host, while time.Duration) {
	h.busyUntil = now.Add(while)
	for len(h.requests) > 0 {
		c.finish(h.requests[len(h.requests)-1])
	}
	for _, t := range c.tasks { // in any order: tasks do not depend on each other
		if p := t.byHost[h.id]; p != nil {
			c.finishStanding(p)
		}
	}
	c.out.Abandon = append(c.out.Abandon, h.id)
}
