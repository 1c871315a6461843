package swarm

import (
	"slices"
	"time"

	"github.com/darter-p2p/darter/p2p"
)

// A peer whose reader waits for pieces that nobody sends may read a few of them from the
// origin, beside the puller: never worse than direct. One peer of a task does so at a
// time, and all of them together no more than a share of the task, so that a crowd that
// starves does not fall upon the origin. A peer that read its run while the puller
// brought nothing of it takes the puller's place.

// Starved says that a reader of a host waits for pieces that do not come.
type Starved struct {
	Task   p2p.TaskID
	Host   p2p.HostID
	First  p2p.Piece // that he waits for
	Urgent bool      // he is blocked on it alone
	Slow   bool      // pieces come, but a small part of what the origin is known to give
}

// Relieved says that a host has ended its Relief.
type Relieved struct {
	Task   p2p.TaskID
	Host   p2p.HostID
	Pieces int  // that it read
	Alone  bool // all that it was to read, and no neighbour had one meanwhile
}

// Relief lets a host read a run of pieces from the origin, beside whoever reads the task.
type Relief struct {
	Task         p2p.TaskID
	Origin       p2p.Origin
	Size         int64 // bytes; -1 = not known
	Token        bool  // the host is no seed: it needs a signed token
	First, Count p2p.Piece
	Beside       bool // it goes on whatever neighbours hold
}

func (Relief) isMessage() {}

// relief is what starving peers of a task were let do.
type relief struct {
	peer     *peer     // who reads now, nil = nobody
	until    time.Time // it is waited for
	spent    int       // pieces read by all so far
	starving []cry     // hosts, the latest last
}

// cry is a host's word that it starves.
type cry struct {
	host p2p.HostID
	at   time.Time
}

func (e Starved) apply(c *Core) {
	p := c.find(e.Task, e.Host)
	if p == nil || p.state != wanting {
		return
	}
	t := p.task
	c.ensurePull(t)
	if e.Slow {
		c.mayRead(p, e.First)
		return
	}
	if t.held || t.pull != nil && (t.pull.puller == p || c.now.Before(t.pull.since.Add(c.grace(t)))) {
		return
	}
	if t.relief == nil {
		t.relief = &relief{}
	}
	r := t.relief
	r.cry(e.Host, c.now, c.cfg.ReliefLife)
	if r.peer != nil && !r.peer.gone() && c.now.Before(r.until) {
		return
	}
	from, ok := c.reliefOrigin(t)
	count := min(c.cfg.ReliefRun, c.reliefLeft(t))
	if e.Urgent {
		count = min(count, 1)
	}
	if !ok || count <= 0 {
		return
	}
	r.peer, r.until = p, c.now.Add(c.cfg.ReliefLife)
	c.emit(p.host, Relief{
		Task: t.id, Origin: from, Size: t.size, Token: !p.host.Seed, First: e.First, Count: p2p.Piece(count),
	})
}

// grace is how long a puller is trusted to get on by itself. It sees to an origin that
// does not begin to answer, and one piece is there whole or not at all. Where few take part
// and no seed reads, links are the likelier trouble, and there is no crowd.
func (c *Core) grace(t *task) time.Duration {
	if t.pull.started && t.size >= 0 && p2p.GeometryFor(t.size).Pieces() > 1 {
		if t.count[wanting] <= few && !t.pull.puller.host.Seed {
			return c.cfg.ReliefAfter / 5
		}
		return c.cfg.ReliefAfter
	}
	return max(c.cfg.ReliefAfter, c.cfg.ReliefStart)
}

// few is the peers that take a task of which none is a crowd.
const few = 3

// cry takes note of a starving host, and forgets those that have been silent for so long.
func (r *relief) cry(id p2p.HostID, now time.Time, memory time.Duration) {
	r.starving = slices.DeleteFunc(r.starving, func(s cry) bool { return s.host == id || now.Sub(s.at) > memory })
	const most = 8 // more than decide
	if len(r.starving) < most {
		r.starving = append(r.starving, cry{id, now})
	}
}

// reliefOrigin returns the origin that the task is read from, or can be.
func (c *Core) reliefOrigin(t *task) (p2p.Origin, bool) {
	if t.pull != nil {
		_, paused := c.paused(&origin{name: t.pull.origin})
		return t.pull.origin, !paused
	}
	for i := range t.origins {
		o := &t.origins[i]
		if _, paused := c.paused(o); !paused && !o.failed(c.now) {
			return o.name, true
		}
	}
	return "", false
}

// reliefLeft returns how many pieces may still be read in relief: one run in any case.
func (c *Core) reliefLeft(t *task) int {
	most := c.cfg.ReliefRun
	if t.size >= 0 {
		most = max(most, p2p.GeometryFor(t.size).Pieces()/c.cfg.ReliefShare)
	}
	return most - t.relief.spent
}

func (e Relieved) apply(c *Core) {
	p := c.find(e.Task, e.Host)
	if p == nil || p.task.readBeside(p) || p.task.relief == nil || p.task.relief.peer != p {
		return
	}
	t := p.task
	t.relief.peer = nil
	t.relief.spent += e.Pieces
	others := t.count[wanting]
	if t.pull != nil && t.pull.puller.state == wanting {
		others--
	}
	if e.Alone && p.state == wanting && len(t.relief.starving) >= min(2, others) {
		c.takeOver(t, p)
	}
}

// takeOver makes a peer the puller in the place of one that brings nothing.
func (c *Core) takeOver(t *task, p *peer) {
	if t.pull == nil || t.pull.puller == p || t.pull.tries >= c.cfg.PullTries {
		return
	}
	c.stopPull(t.pull.puller)
	was := c.endPull(t)
	c.startPull(t, &pull{
		puller: p, origin: was.origin, started: true, since: c.now, tries: was.tries + 1, tried: append(was.tried, p.host.ID),
	})
	c.share(t, t.pull, was)
	c.emit(p.host, Pull{
		Task: t.id, Origin: was.origin, Size: t.size, Token: !p.host.Seed, Stripe: c.stripeOf(t.pull, p),
	})
	c.widen(p)
	c.gatherWide(p)
	t.relief = nil
}
