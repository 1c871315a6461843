package download

import (
	"math/rand/v2"
	"slices"
	"time"

	"github.com/darter-p2p/darter/p2p"
)

// RequestID names a request of this host; unique for the life of a Core.
type RequestID uint32

// Ask is one request to send to a neighbour.
type Ask struct {
	ID    RequestID
	Host  p2p.HostID
	Task  p2p.TaskID
	Piece p2p.Piece // ignored with Any
	Any   bool      // let the seed choose the piece
	Class p2p.Class
}

// Output is what the shell must do. Its slices are reused by the next call of Poll.
type Output struct {
	Asks     []Ask
	Abandon  []p2p.HostID // drop the data streams to these hosts; everything asked there has failed
	Finished []p2p.TaskID // every piece is held
}

// Core is the state of all downloads of one host. The zero Core is not usable; it is
// not safe for concurrent use. Every method that says what happened may be followed
// by Poll, which says what to do about it.
type Core struct {
	cfg   Config
	rng   *rand.Rand
	tasks map[p2p.TaskID]*task
	order []*task // that lack pieces, as added: the layers of an image, lowest first
	hosts map[p2p.HostID]*host
	reqs  map[RequestID]*request
	busy  []*host // hosts with requests outstanding
	next  RequestID
	pace  pace
	// handoff is from a request to a neighbour that was sending nothing to this host to the
	// beginning of its answer, between is from piece to piece; seconds.
	handoff, between mean
	last             time.Time // a piece came, and others have been on their way since; zero = not so
	frees            uint64    // calls of Free
	spare            time.Time // since when a slot has been free that no neighbour but a seed could fill; zero = not now
	out              Output
	old              Output // the last Output, whose slices the next one takes
	waste            int64
}

// host is what is known of a neighbour across tasks.
type host struct {
	id        p2p.HostID
	requests  []*request // in the order asked; the first is being answered
	busyUntil time.Time
	freed     uint64 // Core.frees when it last said that it has a slot; 0 = it was busy since, or never was
	late      bool   // its answer is overdue: it does not count as a stream, and others come first
	slow      bool   // was late before, and has not made up for it
	pace      pace
	peers     int // tasks it is a neighbour in
	taken     int // pieces that came from there, of tasks under way
}

// request is a piece asked of a neighbour and not answered yet.
type request struct {
	Ask
	peer  *peer
	known bool      // which piece it is: always, but for Any before its answer begins
	first bool      // nothing else was asked of the host
	since time.Time // when it became the first in line at its host
}

// pace is a running mean of seconds per byte.
type pace struct{ mean mean }

func (p *pace) add(d time.Duration, bytes int64) {
	if bytes <= 0 {
		return
	}
	p.mean.add(d.Seconds() / float64(bytes))
}

func (p *pace) expect(bytes int64) time.Duration {
	return time.Duration(float64(p.mean) * float64(bytes) * float64(time.Second))
}

// New returns an empty Core. The same rng state and the same calls give the same outputs.
func New(cfg Config, rng *rand.Rand) *Core {
	return &Core{
		cfg: cfg, rng: rng,
		tasks: map[p2p.TaskID]*task{}, hosts: map[p2p.HostID]*host{}, reqs: map[RequestID]*request{},
	}
}

// Wasted returns the bytes that arrived a second time, since New.
func (c *Core) Wasted() int64 { return c.waste }

// Bitmap says that a host is a neighbour in a task and what it holds there. seed: it
// reads the origin for this task. It replaces an earlier bitmap of that host.
func (c *Core) Bitmap(id p2p.TaskID, from p2p.HostID, seed bool, set *p2p.PieceSet) {
	t := c.tasks[id]
	if t == nil || set.Len() != t.geometry.Pieces() {
		return
	}
	p := t.byHost[from]
	if p == nil {
		p = &peer{task: t, host: c.host(from)}
		p.host.peers++
		t.peers = append(t.peers, p)
		t.byHost[from] = p
	} else {
		t.avail.Add(p.set, -p.weight())
	}
	p.set, p.seed, p.noFresh = set, seed, false
	t.avail.Add(set, p.weight())
}

// Have says that a neighbour holds these pieces, too.
func (c *Core) Have(id p2p.TaskID, from p2p.HostID, pieces ...p2p.Piece) {
	t := c.tasks[id]
	if t == nil {
		return
	}
	p := t.byHost[from]
	if p == nil {
		return
	}
	for _, piece := range pieces {
		if !p.set.Add(piece) {
			continue
		}
		p.noFresh = false
		if !p.seed {
			t.avail[piece]++
		} else if len(p.standing) > 0 { // it sends this to somebody now
			t.idle = time.Time{}
		}
	}
}

// NeighbourGone says that a host is no longer a neighbour in a task: it left, or it
// is banned. What was asked of it there has failed.
func (c *Core) NeighbourGone(id p2p.TaskID, from p2p.HostID) {
	t := c.tasks[id]
	if t == nil {
		return
	}
	p := t.byHost[from]
	if p == nil {
		return
	}
	for _, r := range slices.Clone(p.host.requests) {
		if r.peer == p {
			c.finish(r)
		}
	}
	c.finishStanding(p)
	p.host.taken -= p.taken
	t.avail.Add(p.set, -p.weight())
	t.peers = slices.DeleteFunc(t.peers, func(q *peer) bool { return q == p })
	delete(t.byHost, from)
	if p.host.peers--; p.host.peers == 0 && len(p.host.requests) == 0 {
		delete(c.hosts, from)
	}
}

// HostGone says that a host cannot be reached.
func (c *Core) HostGone(from p2p.HostID) {
	for id, t := range c.tasks { // in any order: tasks do not depend on each other
		if t.byHost[from] != nil {
			c.NeighbourGone(id, from)
		}
	}
}

// Free says that a host which was busy is not any more.
func (c *Core) Free(from p2p.HostID) {
	if h := c.hosts[from]; h != nil {
		h.busyUntil = time.Time{}
		c.frees++
		h.freed = c.frees
	}
}

// Began says that the answer to a request has begun, and for which piece.
func (c *Core) Began(now time.Time, id RequestID, piece p2p.Piece) {
	r := c.reqs[id]
	if r == nil {
		return
	}
	if r.known {
		if r.first {
			c.handoff.add(now.Sub(r.since).Seconds())
		}
		return
	}
	h := r.peer.host
	r.peer.unstand(r)
	if len(h.requests) == 0 {
		c.busy = append(c.busy, h)
	}
	h.requests = slices.Insert(h.requests, 0, r)
	r.known, r.Piece, r.since = true, piece, now
	r.peer.task.open.Remove(piece)
}

// Arrived says that a request's piece is verified and stored. The time it took is
// from when it was first in line.
func (c *Core) Arrived(now time.Time, id RequestID) {
	r := c.reqs[id]
	if r == nil {
		return
	}
	t, h, bytes := r.peer.task, r.peer.host, r.peer.task.geometry.Length(r.Piece)
	took := now.Sub(r.since)
	c.pace.add(took, bytes)
	c.came(now)
	if !t.finished {
		r.peer.taken++
		h.taken++
	}
	h.pace.add(took, bytes)
	if !h.late {
		h.slow = false
	}
	h.late = false
	if !t.hold(r.Piece) {
		c.waste += bytes
	}
	c.finish(r)
	c.advance(now, h)
	if len(c.busy) == 0 {
		c.last = time.Time{}
	}
	c.finishTask(t)
}

// Refusal is why a request brought no piece.
type Refusal uint8

const (
	// Busy: the host has no upload slot now.
	Busy Refusal = iota
	// NotHeld: the host does not hold the piece after all.
	NotHeld
	// NoFresh: a seed has no piece left that nobody was sent before.
	NoFresh
	// Broken: the answer did not come or did not verify; the host may be asked again.
	Broken
)

// Refused says that a request brought no piece.
func (c *Core) Refused(now time.Time, id RequestID, why Refusal) {
	r := c.reqs[id]
	if r == nil {
		return
	}
	h := r.peer.host
	switch why {
	case Busy:
		h.freed = 0
		h.busyUntil = now.Add(c.busyFor(r.peer.task))
	case NotHeld:
		r.peer.noFresh = r.peer.noFresh || !r.known
		if r.known && r.peer.set.Remove(r.Piece) && !r.peer.seed {
			r.peer.task.avail[r.Piece]--
		}
	case NoFresh:
		r.peer.noFresh = true
	case Broken:
		h.busyUntil = now.Add(c.busyFor(r.peer.task))
	}
	c.finish(r)
	c.advance(now, h)
}

// Active reports whether a task lacks something or is waited for: while not, nothing is
// asked for and nothing can be late.
func (c *Core) Active() bool { return len(c.order)+len(c.reqs) > 0 }

// Outstanding returns the number of requests that are not answered yet.
func (c *Core) Outstanding() int { return len(c.reqs) }

// finish forgets a request, and opens its piece again unless it is held or asked elsewhere.
func (c *Core) finish(r *request) {
	delete(c.reqs, r.ID)
	if !r.known {
		r.peer.unstand(r)
		return
	}
	h, t := r.peer.host, r.peer.task
	h.requests = slices.DeleteFunc(h.requests, func(q *request) bool { return q == r })
	if len(h.requests) == 0 {
		h.late = false
		c.busy = slices.DeleteFunc(c.busy, func(b *host) bool { return b == h })
	}
	t.reopen(r.Piece, c.asked(t, r.Piece))
}

// finishStanding forgets what stands at a seed.
func (c *Core) finishStanding(p *peer) {
	for len(p.standing) > 0 {
		c.finish(p.standing[0])
	}
}

// asked reports whether a piece is on its way from a host that is not late.
func (c *Core) asked(t *task, piece p2p.Piece) bool {
	for _, h := range c.busy {
		if h.late {
			continue
		}
		for _, r := range h.requests {
			if r.peer.task == t && r.Piece == piece {
				return true
			}
		}
	}
	return false
}

// advance starts the clock of the request that is now first in line at h.
func (c *Core) advance(now time.Time, h *host) {
	if len(h.requests) > 0 {
		h.requests[0].since = now
	}
}

func (c *Core) host(id p2p.HostID) *host {
	h := c.hosts[id]
	if h == nil {
		h = &host{id: id}
		c.hosts[id] = h
	}
	return h
}

// A neighbour that answered busy says when it is free: trying before that costs a
// round trip, and this wait is only for when its word is lost.
const (
	busyPieces = 4
	busyLeast  = 10 * time.Millisecond
	busyFirst  = 100 * time.Millisecond // before the first piece has come
)

// busyFor returns how long a neighbour that answered busy is left alone.
func (c *Core) busyFor(t *task) time.Duration {
	d := busyPieces * c.expect(t)
	if d == 0 {
		d = busyFirst
	}
	return min(max(d, busyLeast), c.cfg.BusyFor)
}

// expect returns the usual time of one piece of t, 0 before the first has come.
func (c *Core) expect(t *task) time.Duration { return c.pace.expect(t.geometry.PieceLength) }
