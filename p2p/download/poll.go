package download

import (
	"time"

	"github.com/darter-p2p/darter/p2p"
	"github.com/darter-p2p/darter/p2p/picker"
)

// Poll says what to do now. It is called after events, and at least every
// quarter of an expected piece time while requests are outstanding.
func (c *Core) Poll(now time.Time) Output {
	c.findLate(now)
	c.askUrgent(now)
	c.askWaiting(now)
	c.stand(now)
	c.deepen(now)
	c.spread(now)
	out := c.out
	c.out, c.old = Output{Asks: c.old.Asks[:0], Abandon: c.old.Abandon[:0], Finished: c.old.Finished[:0]}, out
	return out
}

// deepen keeps the requests queued at the neighbours that are answering, so that no
// round trip lies between two pieces.
func (c *Core) deepen(now time.Time) {
	streams := 0
	for _, h := range c.busy {
		if h.late || now.Before(h.busyUntil) {
			continue
		}
		if streams++; streams > c.cfg.MaxSlots { // there were more slots
			continue
		}
		for len(h.requests) < c.cfg.Depth && c.askHost(now, h) {
		}
	}
}

// askHost asks h for one more piece of the first task that it can serve.
func (c *Core) askHost(now time.Time, h *host) bool {
	for _, t := range c.order {
		if t.open.Count() == 0 {
			continue
		}
		if p := t.byHost[h.id]; p != nil && !c.passed(now, p) && c.askPeer(now, p) {
			return true
		}
	}
	return false
}

// rotate is by how many pieces more must have come from one neighbour than from another
// that waits to be asked for its stream to end in favour of that one.
const rotate = 4

// passed reports whether p has given its turn: a neighbour that is asked for nothing
// gave several pieces less. A stream that is kept as long as it brings anything would
// leave the slots with uplinks that are full, while those of others idle.
func (c *Core) passed(now time.Time, p *peer) bool {
	for _, q := range p.task.peers {
		if !q.seed && q.host.taken+rotate <= p.host.taken && c.ready(now, q) && picker.Any(p.task.open, q.set) {
			return true
		}
	}
	return false
}

// askPeer asks p for the next piece by the policy. A seed's repeats are for when there
// is nobody else.
func (c *Core) askPeer(now time.Time, p *peer) bool {
	if p.seed {
		return false
	}
	piece, ok := c.pick(p)
	if ok {
		c.ask(now, p, piece, false, p2p.Window)
	}
	return ok
}

// stand keeps requests for fresh pieces at the seeds: a seed that has one answers at
// once, without the round trip of a have and a request, and chooses whom.
func (c *Core) stand(now time.Time) {
	for _, t := range c.order {
		if !t.lacksFresh() {
			continue
		}
		for _, p := range t.peers {
			for c.mayStand(now, p) {
				c.ask(now, p, 0, true, p2p.Window)
			}
		}
	}
}

// mayStand reports whether one more request for fresh pieces may be left at p.
func (c *Core) mayStand(now time.Time, p *peer) bool {
	return c.lacksStanding(p) && !now.Before(p.host.busyUntil)
}

// lacksStanding reports whether p is a seed with fresh pieces and fewer requests for
// them than it might have.
func (c *Core) lacksStanding(p *peer) bool {
	return p.seed && !p.noFresh && len(p.standing) < c.cfg.Depth
}

func (c *Core) pick(p *peer) (p2p.Piece, bool) {
	t := p.task
	if c.rng.IntN(2) == 0 {
		return picker.Rarest(c.rng, t.open, p.set, t.avail)
	}
	return picker.InOrder(t.open, p.set, t.position(c))
}

// position is where the next piece in order is looked for: at one of the readers.
func (t *task) position(c *Core) p2p.Piece {
	if len(t.readers) == 0 {
		return 0
	}
	return t.readers[c.rng.IntN(len(t.readers))].pos
}

// spread opens streams to further neighbours while slots are free: for every task to those
// that are no seeds, and to seeds with what is left.
func (c *Core) spread(now time.Time) {
	for _, t := range c.order {
		for c.room() && t.open.Count() > 0 && c.askNeighbour(now, t) {
			c.spare = time.Time{}
		}
	}
	if !c.room() {
		c.spare = time.Time{}
		return
	}
	if c.spare.IsZero() {
		c.spare = now
	}
	for _, t := range c.order {
		for c.room() && t.open.Count() > 0 && c.askRepeat(now, t) {
		}
	}
}

// room reports whether a stream to one more neighbour may be opened.
func (c *Core) room() bool {
	n := 0
	for _, h := range c.busy {
		if !h.late {
			n++
		}
	}
	return n < c.Slots()
}

// askNeighbour starts a stream for t with a neighbour that holds an open piece.
func (c *Core) askNeighbour(now time.Time, t *task) bool {
	for _, slow := range [...]bool{false, true} {
		if p := c.choose(t, func(p *peer) bool {
			return !p.seed && p.host.slow == slow && c.ready(now, p) && picker.Any(t.open, p.set)
		}); p != nil {
			t.idle = time.Time{}
			return c.askPeer(now, p)
		}
	}
	return false
}

// askRepeat asks a seed for a piece of t that it sent to somebody before, when that has
// been all there is for a while.
func (c *Core) askRepeat(now time.Time, t *task) bool {
	p := c.choose(t, func(p *peer) bool { return p.seed && c.ready(now, p) && picker.Any(t.open, p.set) })
	if p == nil {
		return false
	}
	if t.idle.IsZero() {
		t.idle = now
	}
	mayCome := t.othersLoading() || t.wanted.Full() && !p.noFresh
	since := t.idle
	if c.spare.After(since) {
		since = c.spare
	}
	if mayCome && now.Sub(since) < max(c.cfg.RepeatAfter, 2*c.expect(t)) {
		return false
	}
	piece, ok := c.pick(p)
	if ok {
		c.ask(now, p, piece, false, p2p.Window)
	}
	return ok
}

// othersLoading reports whether a neighbour that is no seed is still incomplete, so
// that what a seed sent to somebody may yet come from there.
func (t *task) othersLoading() bool {
	for _, p := range t.peers {
		if !p.seed && !p.set.Full() {
			return true
		}
	}
	return false
}

// ready reports whether a stream to p's host may be started.
func (c *Core) ready(now time.Time, p *peer) bool {
	return len(p.host.requests) == 0 && !now.Before(p.host.busyUntil)
}

// choose returns, of the peers that pass, the one to be preferred (before); a random one
// where that says nothing, nil if none passes.
func (c *Core) choose(t *task, pass func(*peer) bool) *peer {
	n := len(t.peers)
	if n == 0 {
		return nil
	}
	var best *peer
	start := c.rng.IntN(n)
	for k := range n {
		p := t.peers[(start+k)%n]
		if (best == nil || p.before(best)) && pass(p) {
			best = p
		}
	}
	return best
}

// before reports whether a stream from p is to be preferred to one from q: if less came
// from there, so that all uplinks do the same work; else if it holds less, for what it
// has others will bring as well, while its uplink idles; else if it said later that it
// has a slot, for what was said long ago is no longer true.
func (p *peer) before(q *peer) bool {
	if p.host.taken != q.host.taken {
		return p.host.taken < q.host.taken
	}
	if a, b := p.set.Count(), q.set.Count(); a != b {
		return a < b
	}
	return p.host.freed > q.host.freed
}

func (c *Core) ask(now time.Time, p *peer, piece p2p.Piece, seedChooses bool, class p2p.Class) {
	c.next++
	r := &request{
		Ask:  Ask{ID: c.next, Host: p.host.id, Task: p.task.id, Piece: piece, Any: seedChooses, Class: class},
		peer: p, known: !seedChooses, first: len(p.host.requests) == 0, since: now,
	}
	c.reqs[r.ID] = r
	c.out.Asks = append(c.out.Asks, r.Ask)
	if seedChooses {
		p.standing = append(p.standing, r)
		return
	}
	if len(p.host.requests) == 0 {
		c.busy = append(c.busy, p.host)
	}
	p.host.requests = append(p.host.requests, r)
	p.task.open.Remove(piece)
}

// Hungry reports whether Poll might ask for something: a slot is free or a queue is
// short. It is cheap, and may be wrong only in saying true.
func (c *Core) Hungry() bool {
	for _, h := range c.busy {
		if !h.late && len(h.requests) < c.cfg.Depth {
			return true
		}
	}
	return c.room() || c.shortStand()
}

// shortStand reports whether a seed has fewer standing requests than it might.
func (c *Core) shortStand() bool {
	for _, t := range c.order {
		if !t.lacksFresh() {
			continue
		}
		for _, p := range t.peers {
			if c.lacksStanding(p) {
				return true
			}
		}
	}
	return false
}
