package swarm

import "github.com/darter-p2p/darter/p2p"

// watch has a task looked after by sweep.
func (c *Core) watch(t *task) {
	if t.watched {
		return
	}
	t.watched = true
	if len(c.watched) == 0 {
		c.sweepAt = c.now.Add(sweepEvery)
	}
	c.watched = append(c.watched, t)
}

// sweep looks after the watched tasks once a second.
func (c *Core) sweep() {
	if len(c.watched) == 0 || c.now.Before(c.sweepAt) {
		return
	}
	c.sweepAt = c.now.Add(sweepEvery)
	due := c.watched
	c.watched = nil
	for _, t := range due {
		t.watched = false
		c.look(t)
	}
}

// look does what time has made due in a task, and watches on if something still waits.
func (c *Core) look(t *task) {
	if c.tasks[t.id] != t {
		return
	}
	if t.held {
		c.ensurePull(t)
		if why, failed := c.refusal(t); failed {
			c.tellFailed(t, why)
		}
	}
	if p := t.pull; p != nil && !p.started && !c.now.Before(p.since.Add(c.cfg.PullStart)) {
		silent := p.puller
		c.stopPull(silent)
		c.pullLost(t, p2p.OriginError{
			Puller: p.puller.host.ID, Message: "no answer of the origin in " + c.cfg.PullStart.String(),
		})
		c.dismiss(silent)
	}
	if t.grown {
		t.grown = false
		c.fillUp(t)
	}
	if t.torn {
		t.torn = false
		t.torn = !c.heal(t)
	}
	for id, tr := range t.trouble { // in any order: entries do not depend on each other
		if !c.now.Before(tr.condemned) && t.members() == 0 || len(tr.bad)+len(tr.lost) == 0 && !c.condemned(t, id) {
			delete(t.trouble, id)
		}
	}
	refused := false
	for i := range t.origins {
		refused = refused || t.origins[i].failed(c.now)
	}
	if t.held || t.torn || t.pull != nil || len(t.trouble) > 0 || refused {
		c.watch(t)
	}
	c.forget(t)
}
