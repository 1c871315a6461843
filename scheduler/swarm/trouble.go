package swarm

import (
	"slices"

	"github.com/darter-p2p/darter/p2p"
)

func (t *task) troubleOf(id p2p.HostID) *trouble {
	if t.trouble == nil {
		t.trouble = make(map[p2p.HostID]*trouble)
	}
	tr := t.trouble[id]
	if tr == nil {
		tr = &trouble{}
		t.trouble[id] = tr
	}
	return tr
}

// condemned reports whether a host is kept out of a task.
func (c *Core) condemned(t *task, id p2p.HostID) bool {
	tr := t.trouble[id]
	return tr != nil && c.now.Before(tr.condemned)
}

// doubt takes note that p cannot reach q. A holder whom two peers, or the only one
// that takes the task, cannot reach no longer counts as one, until it speaks again:
// else its task would wait for it for ever.
func (c *Core) doubt(p, q *peer) {
	if q.state != complete {
		return
	}
	t := q.task
	tr := t.troubleOf(q.host.ID)
	c.watch(t)
	if !slices.Contains(tr.lost, p.host.ID) && len(tr.lost) < 2 {
		tr.lost = append(tr.lost, p.host.ID)
	}
	if len(tr.lost) >= min(2, t.count[wanting]) {
		tr.lost = nil
		c.setState(q, partial)
	}
}

func (e BadPeer) apply(c *Core) {
	reporter := c.find(e.Task, e.Reporter)
	if reporter == nil || e.Host == e.Reporter {
		return
	}
	t := reporter.task
	tr := t.troubleOf(e.Host)
	c.watch(t)
	if !slices.Contains(tr.bad, e.Reporter) && len(tr.bad) < 2 {
		tr.bad = append(tr.bad, e.Reporter)
	}
	trusted := reporter.host.Seed || t.pull != nil && t.pull.puller == reporter
	accused := c.find(e.Task, e.Host)
	if len(tr.bad) >= 2 || trusted {
		tr.bad = nil
		tr.condemned = c.now.Add(c.cfg.Condemn)
		if accused != nil {
			c.removePeer(accused)
		}
		return
	}
	if accused != nil && slices.Contains(reporter.edges, accused) {
		c.avoid(reporter, accused)
		c.unlink(reporter, accused)
		c.refill(accused)
		c.refill(reporter)
	}
}
