package node

import (
	"context"
	"errors"

	"github.com/darter-p2p/darter/p2p"
)

// part is the pieces that a puller reads beside the scheduler's puller, where readers of
// this host starve.
type part struct {
	first, end p2p.Piece
	known      bool          // the pieces of the run are known to exist
	stale      *p2p.PieceSet // held by neighbours who do not send them; nil = none
	missing    int           // when it began
	read       int
	met        bool // a neighbour came to hold one meanwhile
	beside     bool // it goes on whatever neighbours hold: they are slow
}

// errMet ends a relief: a neighbour holds the piece now.
var errMet = errors.New("a neighbour holds the piece now")

// Relief is the scheduler's leave to read the pieces [first, end) from the origin,
// because readers starve, or, beside, because neighbours are slow. Each is answered by
// one Relieved.
func (n *Node) Relief(id p2p.TaskID, origin p2p.Origin, token []byte, first, end p2p.Piece, beside bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	t := n.tasks[id]
	if n.closed {
		return
	}
	if t == nil || t.stream != nil || t.puller != nil || t.relief != nil || t.readers == 0 || t.haveAll() {
		n.tracker.Relieved(id, 0, false)
		return
	}
	signer, err := n.security.Signer(token)
	if err != nil {
		n.events.TaskFailed(id, err)
		n.tracker.Relieved(id, 0, false)
		return
	}
	p := &puller{n: n, t: t, signer: signer, sum: newSum(), part: &part{first: first, end: end, beside: beside}, due: make(chan struct{}, 1)}
	p.origin, p.lent = origin.Bare()
	p.ctx, p.cancel = context.WithCancel(n.ctx)
	if !t.geometry.IsZero() {
		p.part.beginLocked(t)
	}
	if t.relief = p; beside {
		n.partLocked(t)
	}
	n.goLocked(p.relieve)
}

// beginLocked takes note of what is missing, and of what neighbours say to hold.
func (r *part) beginLocked(t *task) {
	pieces := p2p.Piece(t.geometry.Pieces())
	r.known, r.end = true, min(r.end, pieces)
	for piece := r.first; piece < r.end; piece++ {
		if t.have.Has(piece) {
			continue
		}
		r.missing++
		if t.elsewhere(piece) {
			if r.stale == nil {
				r.stale = p2p.NewPieceSet(int(pieces))
			}
			r.stale.Add(piece)
		}
	}
}

// gapLocked returns the next pieces of the run to read.
func (r *part) gapLocked(t *task) (first, end p2p.Piece, state gapState) {
	if !r.known {
		r.beginLocked(t)
	}
	for first = r.first; first < r.end && (t.have.Has(first) || r.metLocked(t, first)); first++ {
	}
	if first >= r.end || r.met {
		return 0, 0, gapNone
	}
	for end = first + 1; end < r.end && !t.have.Has(end) && !r.metLocked(t, end); end++ {
	}
	return first, end, gapHere
}

// metLocked reports whether a neighbour has come to hold a piece since the run began.
func (r *part) metLocked(t *task, piece p2p.Piece) bool {
	if r.beside || !t.elsewhere(piece) || r.stale != nil && r.stale.Has(piece) {
		return false
	}
	r.met = true
	return true
}

// relieve reads the run and tells the scheduler how that went.
func (p *puller) relieve() {
	defer p.cancel()
	err := p.read()
	n, t := p.n, p.t
	n.noDisk(t, err)
	n.mu.Lock()
	defer n.mu.Unlock()
	if t.relief == p {
		t.relief = nil
		if p.part.beside {
			n.rejoinLocked(t)
		}
	}
	if err != nil && p.ctx.Err() == nil && !errors.Is(err, errMet) {
		n.events.PullFailed(t.id, p.origin, err)
	}
	r := p.part
	alone := err == nil && !r.met && !r.beside && r.read > 0 && r.read == r.missing
	if alone && r.stale != nil && t.unfed() {
		n.givenUpLocked(t, r.stale)
	}
	n.tracker.Relieved(t.id, r.read, alone && r.stale == nil)
	if !r.beside && r.read > 0 {
		n.probedLocked(t)
	}
}

// unfed reports whether neighbours have sent nothing since the reader began to wait for
// whom this host said that it starves.
func (t *task) unfed() bool { return !t.hungry.IsZero() && !t.fed.After(t.hungry) }

// givenUpLocked asks for others in the place of neighbours who hold pieces, and send none.
func (n *Node) givenUpLocked(t *task, held *p2p.PieceSet) {
	if n.tasks[t.id] != t || n.closed {
		return
	}
	var mute []p2p.HostID
	for id, nb := range t.neighbours {
		if piece, ok := held.Next(0); ok && nb.set != nil && nb.geometry == t.geometry && nb.set.Has(piece) {
			mute = append(mute, id)
		}
	}
	for _, id := range mute {
		n.unlinkLocked(t, id)
	}
	if len(mute) > 0 {
		n.tracker.NeighbourLost(t.id, mute)
	}
	n.pollLocked()
}
