package tracker

import (
	"context"
	"time"

	"github.com/darter-p2p/darter/p2p"
)

// A task lives at one of the schedulers that answer, the one to which it falls by its
// rendezvous hash: every node that is given the same addresses finds the same one.
// When a scheduler goes, its tasks move to others; when it comes, its own move to it.

// usable reports whether tasks may live at a scheduler: it answers, or was not tried
// yet, so that tasks do not move about while a node starts.
func (s *scheduler) usable() bool { return s.link != nil || !s.tried }

// homeLocked returns the scheduler at which a task lives, or nil.
func (c *Client) homeLocked(task p2p.TaskID) *scheduler { return c.homeWithoutLocked(task, nil) }

// homeWithoutLocked returns the scheduler at which a task would live if one did not
// answer.
func (c *Client) homeWithoutLocked(task p2p.TaskID, without *scheduler) *scheduler {
	var home *scheduler
	var most uint64
	for _, s := range c.schedulers {
		if s == without || !s.usable() {
			continue
		}
		if w := p2p.Weight(task, s.addr); home == nil || w > most {
			home, most = s, w
		}
	}
	return home
}

// home reports whether a task lives at s.
func (s *scheduler) home(task p2p.TaskID) bool {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	return s.c.homeLocked(task) == s
}

// ofTag returns what decides where a tag's scheduler is.
func ofTag(o p2p.Origin) p2p.TaskID { return p2p.TaskOfURL(string(o), "", "") }

// announced lists the holdings that live at s.
func (s *scheduler) announced() []p2p.Holding {
	all := s.c.holdings()
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	var mine []p2p.Holding
	for _, h := range all {
		if s.c.homeLocked(h.Task) == s {
			mine = append(mine, h)
		}
	}
	return mine
}

// moveAway announces what lived at s, which has just gone, where it lives now.
func (c *Client) moveAway(s *scheduler) {
	all := c.holdings()
	c.mu.Lock()
	defer c.mu.Unlock()
	moved := map[*scheduler][]p2p.Holding{}
	for _, h := range all {
		to := c.homeLocked(h.Task)
		if to != nil && to.link != nil && p2p.Weight(h.Task, s.addr) > p2p.Weight(h.Task, to.addr) {
			moved[to] = append(moved[to], h)
		}
	}
	for to, holdings := range moved {
		for _, part := range parts(holdings) {
			part.GetAnnounce().Last = false // it says nothing of what is held beside this
			to.link.say(part)
		}
	}
}

// moveIn leaves the schedulers at which what now lives at s, which has just come, lived
// before. It does so when the other nodes have moved, too: who leaves earlier is taken
// from neighbours that still listen there.
func (c *Client) moveIn(ctx context.Context, s *scheduler) {
	wait := time.NewTimer(2 * c.cfg.MaxWait)
	defer wait.Stop()
	select {
	case <-wait.C:
	case <-ctx.Done():
		return
	}
	all := c.holdings()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, h := range all {
		was := c.homeWithoutLocked(h.Task, s)
		if c.homeLocked(h.Task) == s && was != nil && was.link != nil {
			was.link.say(leave(h.Task))
		}
	}
}

// tellState tells the handler whether a scheduler answers. At the start it waits until
// each was tried.
func (c *Client) tellState() {
	c.said.Lock()
	defer c.said.Unlock()
	c.mu.Lock()
	up, tried := false, true
	for _, s := range c.schedulers {
		up = up || s.link != nil
		tried = tried && s.tried
	}
	c.known = c.known || tried
	now := up && c.known
	changed := now != c.connected
	c.connected = now
	c.mu.Unlock()
	if changed {
		c.handler.Connected(now)
	}
}

// fromOne passes on what a scheduler says of the tasks that live there. What one that a
// task has left says of it would part neighbours who are to stay.
type fromOne struct{ s *scheduler }

var _ Handler = fromOne{}

func (f fromOne) pass(task p2p.TaskID, tell func(Handler)) {
	if !f.s.home(task) {
		return
	}
	c := f.s.c
	c.said.Lock()
	defer c.said.Unlock()
	tell(c.handler)
}

// Connected is said by tellState.
func (f fromOne) Connected(bool) {}

func (f fromOne) Neighbours(task p2p.TaskID, add []p2p.Host, remove []p2p.HostID) {
	f.pass(task, func(h Handler) { h.Neighbours(task, add, remove) })
}

func (f fromOne) Pull(p Pull) { f.pass(p.Task, func(h Handler) { h.Pull(p) }) }

func (f fromOne) Relief(r Relief) { f.pass(r.Task, func(h Handler) { h.Relief(r) }) }

func (f fromOne) TaskGeometry(task p2p.TaskID, size int64) {
	f.pass(task, func(h Handler) { h.TaskGeometry(task, size) })
}

func (f fromOne) TaskFailed(task p2p.TaskID, why p2p.OriginError) {
	f.pass(task, func(h Handler) { h.TaskFailed(task, why) })
}
