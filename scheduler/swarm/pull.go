package swarm

import (
	"slices"
	"time"

	"github.com/darter-p2p/darter/p2p"
)

// pull is the one reading of a task from an origin.
type pull struct {
	puller  *peer
	origin  p2p.Origin
	started bool         // the origin's first bytes are there
	since   time.Time    // when the puller was told
	tries   int          // pullers of this origin so far
	tried   []p2p.HostID // hosts that failed with it, and the puller
	keyed   bool         // somebody with a credential has come since it began
	of      int          // stripes; 0 = the puller reads all
	stripes []*peer      // who reads each of them; nil = not decided yet
}

// origin is a place that a joiner named, and what it said when it refused.
type origin struct {
	name  p2p.Origin
	err   p2p.OriginError
	until time.Time // the refusal stands; zero = it never refused
}

func (o *origin) failed(now time.Time) bool { return now.Before(o.until) }

// maxOrigins bounds how many origins of a task are remembered.
const maxOrigins = 4

// addOrigin remembers where a task can be read. Where there are too many, one that
// refused makes room.
func (c *Core) addOrigin(t *task, name p2p.Origin) {
	if name == "" || slices.ContainsFunc(t.origins, func(o origin) bool { return o.name == name }) {
		return
	}
	if len(t.origins) == maxOrigins {
		i := slices.IndexFunc(t.origins, func(o origin) bool { return o.failed(c.now) })
		if i < 0 {
			return
		}
		t.origins = slices.Delete(t.origins, i, i+1)
	}
	t.origins = append(t.origins, origin{name: name})
}

// ensurePull has the task read from an origin if somebody wants it, nobody holds
// it whole and nobody reads it.
func (c *Core) ensurePull(t *task) {
	t.held = false
	if t.pull != nil || t.count[wanting] == 0 || t.count[complete] > 0 {
		return
	}
	warm := c.warm
	if t.warm.After(warm) {
		warm = t.warm
	}
	if c.now.Before(warm) {
		c.hold(t, warm)
		return
	}
	var soon time.Time
	for i := range t.origins {
		o := &t.origins[i]
		if until, is := c.paused(o); is && !o.failed(c.now) {
			soon = until
			continue
		}
		if !o.failed(c.now) && c.pullFrom(t, o.name, 0, nil, nil) {
			return
		}
	}
	if !soon.IsZero() {
		c.hold(t, soon)
	}
}

// hold has a pull wait until a time.
func (c *Core) hold(t *task, until time.Time) {
	t.held = true
	c.watch(t)
	if until.Before(c.sweepAt) {
		c.sweepAt = until
	}
}

// pullFrom tells the best host that did not try yet to read an origin, and reports
// whether there is one. It goes on with what was, nil = nothing.
func (c *Core) pullFrom(t *task, from p2p.Origin, tries int, tried []p2p.HostID, was *pull) bool {
	h := c.choosePuller(t, tried)
	if h == nil {
		return false
	}
	s := helping
	if p := h.peers[t]; p != nil && p.state == wanting {
		s = wanting
	}
	p := c.addPeer(t, h, s)
	c.startPull(t, &pull{
		puller: p, origin: from, since: c.now, tries: tries + 1, tried: append(tried, h.ID), keyed: tries > 0 && was != nil && was.keyed,
	})
	c.share(t, t.pull, was)
	c.emit(h, Pull{Task: t.id, Origin: from, Size: t.size, Token: !h.Seed, Stripe: c.stripeOf(t.pull, p)})
	p.knows = t.size >= 0
	c.widen(p)
	c.gatherWide(p)
	return true
}

func (c *Core) startPull(t *task, p *pull) {
	t.pull = p
	c.pulls++
	c.watch(t)
}

func (c *Core) endPull(t *task) *pull {
	p := t.pull
	t.pull = nil
	c.pulls--
	c.tear(t) // it may have been the only one of its part of the mesh that had pieces
	return p
}

// choosePuller returns the live seed that the task falls to, or the next one that
// did not try, or one of those that want the task, or nil.
func (c *Core) choosePuller(t *task, tried []p2p.HostID) *host {
	fit := func(h *host) bool { return !slices.Contains(tried, h.ID) && !c.condemned(t, h.ID) }
	var best *host
	var most uint64
	for _, h := range c.seeds {
		if w := p2p.Weight(t.id, string(h.ID)); fit(h) && (best == nil || w > most) {
			best, most = h, w
		}
	}
	if best != nil || t.count[wanting] == 0 {
		return best
	}
	for _, g := range t.groups {
		start := c.rng.IntN(len(g.peers))
		for i := range g.peers {
			if p := g.peers[(start+i)%len(g.peers)]; p.state == wanting && fit(p.host) {
				return p.host
			}
		}
	}
	return nil
}

// widen makes p one of those that many peers take a task from.
func (c *Core) widen(p *peer) {
	if p.wide {
		return
	}
	p.wide = true
	p.task.sources = append(p.task.sources, p)
	for _, q := range p.edges {
		c.tellAdd(q, p)
	}
}

// gatherWide links a puller or seed to peers of its zone that take the task, at most SeedDegree.
func (c *Core) gatherWide(p *peer) {
	g := c.group(p)
	start := c.rng.IntN(len(g.peers))
	for i := 0; i < len(g.peers) && len(p.edges) < c.degreeCap(p); i++ {
		if q := g.peers[(start+i)%len(g.peers)]; q.takes() {
			c.link(p, q)
		}
	}
	c.bridge(p.task)
	if len(p.edges) == 0 {
		c.force(p)
	}
	if len(p.edges) == 0 {
		c.tear(p.task) // everybody is full: the next walk finds a way
	}
}

// offerSeed makes a seed that has just come a neighbour in the tasks that fall to
// it and that an acting seed reads. It does not read the origin, too.
func (c *Core) offerSeed(h *host) {
	var acting []*task
	for _, t := range c.watched {
		if t.pull != nil && !t.pull.puller.host.Seed {
			acting = append(acting, t)
		}
	}
	for _, t := range acting {
		if c.choosePuller(t, nil) != h {
			continue
		}
		p := c.addPeer(t, h, helping)
		c.tellSize(p)
		c.gatherWide(p)
	}
}

// pullLost ends a pull whose host is gone, and lets the next host take over.
func (c *Core) pullLost(t *task, why p2p.OriginError) {
	p := c.endPull(t)
	if t.count[wanting] == 0 || t.count[complete] > 0 {
		return
	}
	if p.tries < c.cfg.PullTries && c.pullFrom(t, p.origin, p.tries, p.tried, p) {
		return
	}
	if why.Keyless && p.keyed && c.pullFrom(t, p.origin, 0, nil, p) {
		return
	}
	c.refuse(t, p.origin, why)
}

// hearKey takes note that somebody who wants a task has a credential for an origin: that
// nobody had one holds no longer.
func (c *Core) hearKey(t *task, name p2p.Origin) {
	if _, key := name.Bare(); !key {
		return
	}
	if t.pull != nil && t.pull.origin == name {
		t.pull.keyed = true
	}
	for i := range t.origins {
		if o := &t.origins[i]; o.name == name && o.err.Keyless {
			o.until = time.Time{}
		}
	}
}

// pullerRestarted ends a pull whose host came back without it. The same host may try again.
func (c *Core) pullerRestarted(t *task) {
	id := t.pull.puller.host.ID
	t.pull.tried = slices.DeleteFunc(t.pull.tried, func(x p2p.HostID) bool { return x == id })
	c.pullLost(t, p2p.OriginError{Puller: id, Message: "the host that read it was restarted"})
}

// refuse remembers what an origin said; if no other origin is left, everybody who
// wants the task is told.
func (c *Core) refuse(t *task, name p2p.Origin, why p2p.OriginError) {
	for i := range t.origins {
		if o := &t.origins[i]; o.name == name {
			o.err = why
			o.err.Origin = name
			o.until = c.now.Add(max(c.cfg.FailureMemory, min(why.RetryAfter, c.cfg.MaxRetryAfter)))
		}
	}
	c.slowDown(name, why)
	c.watch(t)
	c.ensurePull(t)
	if t.pull != nil || t.held {
		return
	}
	why.Origin = name
	c.tellFailed(t, why)
}

// tellFailed tells all who want a task that nobody can give it now.
func (c *Core) tellFailed(t *task, why p2p.OriginError) {
	for _, g := range t.groups {
		for _, p := range g.peers {
			if p.state == wanting {
				c.emit(p.host, TaskFailed{Task: t.id, Error: why})
			}
		}
	}
}

// refusal returns why nobody can give a task now, if that is so: nobody holds it,
// nobody reads it, and no origin is left that did not refuse.
func (c *Core) refusal(t *task) (p2p.OriginError, bool) {
	if t.pull != nil || t.count[complete] > 0 || t.held {
		return p2p.OriginError{}, false
	}
	why := p2p.OriginError{Status: 404, Message: "no host holds it and no origin is known"}
	for i := range t.origins {
		if o := &t.origins[i]; o.failed(c.now) {
			why = o.err
			why.RetryAfter = o.until.Sub(c.now)
		}
	}
	return why, true
}

func (e PullStarted) apply(c *Core) {
	p := c.find(e.Task, e.Host)
	if p == nil {
		return
	}
	t := p.task
	if t.pull == nil || t.pull.puller != p {
		c.stopPull(p)
		return
	}
	t.pull.started = true
	if e.Size >= 0 {
		p.knows = true
		c.learnSize(t, e.Size, witnessed)
		c.shareOut(t)
	}
}

// stopPull tells a host that reads the origin unasked to stop.
func (c *Core) stopPull(p *peer) {
	c.emit(p.host, Pull{Task: p.task.id, Size: p.task.size, Stop: true})
}

func (e PullFailed) apply(c *Core) {
	p := c.find(e.Task, e.Host)
	if p == nil || p.task.pull == nil {
		return
	}
	t := p.task
	if t.pull.puller != p {
		c.inherit(t, p)
		return
	}
	started := t.pull.started
	e.Error.Puller = e.Host
	if final(e.Error) {
		was := c.endPull(t)
		c.refuse(t, was.origin, e.Error)
	} else {
		c.pullLost(t, e.Error)
	}
	if !started {
		c.dismiss(p)
	}
}

// dismiss takes a seed that pulls no more, and got nothing that would help, out of a task.
func (c *Core) dismiss(p *peer) {
	if t := p.task; p.state == helping && (t.pull == nil || t.pull.puller != p) {
		c.removePeer(p)
	}
}

// final reports whether asking the origin again through another host is of no use now.
func final(e p2p.OriginError) bool {
	switch e.Status {
	case 401, 403, 404, 410, 429, 451:
		return true
	}
	if e.Status >= 200 && e.Status < 300 { // an answer that contradicts an earlier one, or itself
		return true
	}
	return e.Wrong || e.Status >= 500 && e.RetryAfter > 0
}

func (e PullDone) apply(c *Core) { Done(e).apply(c) }
