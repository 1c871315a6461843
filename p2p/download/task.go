package download

import (
	"slices"
	"time"

	"github.com/darter-p2p/darter/p2p"
	"github.com/darter-p2p/darter/p2p/picker"
)

// ReaderID names a reader of a task; the shell chooses it.
type ReaderID uint64

// task is one download.
type task struct {
	id       p2p.TaskID
	geometry p2p.Geometry
	have     *p2p.PieceSet
	known    *p2p.PieceSet // pieces whose digest is known
	wanted   *p2p.PieceSet
	open     *p2p.PieceSet // wanted, known, not held and not on its way
	avail    picker.Availability
	peers    []*peer // as they came, for choices that chance makes alike in every run
	byHost   map[p2p.HostID]*peer
	readers  []*reader
	finished bool
	idle     time.Time // since when nothing but a repeat of a seed is left to ask for; zero = not so
}

// peer is a neighbour in one task.
type peer struct {
	task    *task
	host    *host
	set     *p2p.PieceSet
	taken   int // pieces that came from there while the task was under way
	seed    bool
	noFresh bool // a seed that said so, and has got nothing new since
	// standing is what a seed was asked for and will answer when it has a fresh piece for
	// this host. It takes no slot before that, and is never late.
	standing []*request
}

// unstand takes a request from the standing ones.
func (p *peer) unstand(r *request) {
	p.standing = slices.DeleteFunc(p.standing, func(q *request) bool { return q == r })
}

// lacksFresh reports whether the task could do with a piece of a seed's choice: all is
// wanted, and something is neither held nor on its way.
func (t *task) lacksFresh() bool {
	return t.wanted.Full() && (t.open.Count() > 0 || !t.known.Full())
}

// weight is what a peer counts for in rarity: a seed holds everything and says nothing.
func (p *peer) weight() int {
	if p.seed {
		return 0
	}
	return 1
}

// reader is a consumer that reads [pos, end) in order.
type reader struct {
	id       ReaderID
	pos, end p2p.Piece
	class    p2p.Class
	moved    time.Time // when pos changed, or what it waits for was asked for out of turn; zero = since the last Poll
}

// Add begins a task that holds the pieces of have already; nothing is wanted yet.
func (c *Core) Add(id p2p.TaskID, g p2p.Geometry, have *p2p.PieceSet) {
	if c.tasks[id] != nil {
		return
	}
	n := g.Pieces()
	t := &task{
		id: id, geometry: g, have: have.Clone(), known: p2p.NewPieceSet(n), wanted: p2p.NewPieceSet(n),
		open: p2p.NewPieceSet(n), avail: make(picker.Availability, n), byHost: map[p2p.HostID]*peer{}, finished: have.Full(),
	}
	c.tasks[id] = t
	if !t.finished {
		c.order = append(c.order, t)
	}
}

// Coming reports whether a piece was asked for and has not come.
func (c *Core) Coming(id p2p.TaskID, piece p2p.Piece) bool {
	t := c.tasks[id]
	return t != nil && t.wanted.Has(piece) && t.known.Has(piece) && !t.open.Has(piece) && !t.have.Has(piece)
}

// Remove ends a task; what was asked for it is forgotten.
func (c *Core) Remove(id p2p.TaskID) {
	t := c.tasks[id]
	if t == nil {
		return
	}
	for len(t.peers) > 0 {
		c.NeighbourGone(id, t.peers[0].host.id)
	}
	delete(c.tasks, id)
	c.order = slices.DeleteFunc(c.order, func(o *task) bool { return o == t })
}

// Want asks for the pieces [first, end) of a task.
func (c *Core) Want(id p2p.TaskID, first, end p2p.Piece) {
	if t := c.tasks[id]; t != nil {
		t.wanted.AddRange(first, end)
		c.openRange(t, first, end)
	}
}

// Known says that the digests of the pieces [first, end) are known, so that they can
// be verified when they come.
func (c *Core) Known(id p2p.TaskID, first, end p2p.Piece) {
	t := c.tasks[id]
	if t == nil {
		return
	}
	for p := first; p < end; p++ {
		if t.known.Add(p) && t.wanted.Has(p) && !t.have.Has(p) && !c.asked(t, p) {
			t.open.Add(p)
		}
	}
}

// Got says that a piece came by another way: read from the origin by this host.
func (c *Core) Got(id p2p.TaskID, piece p2p.Piece) {
	t := c.tasks[id]
	if t == nil || !t.hold(piece) {
		return
	}
	t.known.Add(piece)
	c.finishTask(t)
}

// finishTask takes a task that lacks nothing any more from those that Poll looks at: a
// host may hold thousands that rest.
func (c *Core) finishTask(t *task) {
	if !t.have.Full() || t.finished {
		return
	}
	t.finished = true
	for _, p := range t.peers {
		p.host.taken -= p.taken
		p.taken = 0
	}
	c.out.Finished = append(c.out.Finished, t.id)
	c.order = slices.DeleteFunc(c.order, func(o *task) bool { return o == t })
}

// Read says where a reader is: it needs the pieces [pos, end) in order, pos first.
func (c *Core) Read(id p2p.TaskID, who ReaderID, pos, end p2p.Piece, class p2p.Class) {
	t := c.tasks[id]
	if t == nil {
		return
	}
	i := slices.IndexFunc(t.readers, func(r *reader) bool { return r.id == who })
	if i < 0 {
		t.readers = append(t.readers, &reader{id: who})
		i = len(t.readers) - 1
	}
	moved := t.readers[i].moved
	if t.readers[i].pos != pos {
		moved = time.Time{}
	}
	*t.readers[i] = reader{id: who, pos: pos, end: end, class: class, moved: moved}
}

// ReaderGone says that a reader reads no more. What it wanted stays wanted.
func (c *Core) ReaderGone(id p2p.TaskID, who ReaderID) {
	if t := c.tasks[id]; t != nil {
		t.readers = slices.DeleteFunc(t.readers, func(r *reader) bool { return r.id == who })
	}
}

// openRange opens what of [first, end) is verifiable, missing and not on its way.
func (c *Core) openRange(t *task, first, end p2p.Piece) {
	for p := first; p < end; p++ {
		if t.known.Has(p) && !t.have.Has(p) && !c.asked(t, p) {
			t.open.Add(p)
		}
	}
}

// hold marks a piece as held and reports whether it was new.
func (t *task) hold(p p2p.Piece) bool {
	t.open.Remove(p)
	return t.have.Add(p)
}

// reopen opens a piece whose request ended, unless it is held or on its way from elsewhere.
func (t *task) reopen(p p2p.Piece, asked bool) {
	if !asked && t.wanted.Has(p) && t.known.Has(p) && !t.have.Has(p) {
		t.open.Add(p)
	}
}
