package node

import (
	"fmt"

	"github.com/containerd/errdefs"

	"github.com/darter-p2p/darter/p2p"
	"github.com/darter-p2p/darter/p2p/download"
	"github.com/darter-p2p/darter/p2p/store"
)

// stream is a task whose pieces cannot be stored here: they pass through memory on their
// way from neighbours to readers, and are dropped behind the last one. Only what
// lies shortly before readers is asked for; nothing is announced or served.
type stream struct {
	at      map[download.ReaderID]p2p.Piece // where readers are
	dropped p2p.Piece                       // pieces before this are gone
	why     error                           // of the disk
}

// streamAhead is how many bytes, at least, are asked for before a reader; four times as
// many may lie between the first reader and the last.
const (
	streamAhead  = 16 << 20
	streamPieces = 8 // at least
)

// streamWindow is the same in pieces.
func streamWindow(g p2p.Geometry) p2p.Piece {
	return max(streamPieces, p2p.Piece(streamAhead/g.PieceLength))
}

// streamLocked begins to stream a task and reports whether it can: somebody reads it,
// its size is known and not read here from the origin. Digests that are known stay. why
// is the disk's error.
func (n *Node) streamLocked(t *task, why error) bool {
	if t.stream != nil || t.readers == 0 || t.geometry.IsZero() {
		return false
	}
	h, err := n.passing.Create(t.id, t.geometry)
	if err != nil {
		return false
	}
	for _, p := range []*puller{t.puller, t.relief} {
		if p != nil {
			p.cancel()
		}
	}
	n.endFreshLocked(t)
	if t.handle != nil {
		t.handle.Release()
	}
	delete(n.untold, t)
	t.handle, t.have, t.pending = h, h.Have(), nil
	t.stream = &stream{at: map[download.ReaderID]p2p.Piece{}, why: why}
	n.core.Remove(t.id)
	n.core.Add(t.id, t.geometry, t.have)
	for p := range t.known.All() {
		n.core.Known(t.id, p, p+1)
	}
	for _, nb := range t.neighbours {
		n.tellLocked(t, nb) // that there is nothing here
		n.bitmapLocked(t, nb)
	}
	n.wakeLocked(t)
	return true
}

// openLocked returns the task's pieces, wherever they are kept.
func (n *Node) openLocked(t *task) (store.Task, error) {
	if t.stream != nil {
		return n.passing.Open(t.id)
	}
	return n.store.Open(t.id)
}

// shown is what neighbours are told to be here: what they can verify.
func (t *task) shown() *p2p.PieceSet {
	if t.stream != nil {
		return p2p.NewPieceSet(t.geometry.Pieces())
	}
	shown := t.have.Clone()
	for p := range t.have.All() {
		if !t.known.Has(p) {
			shown.Remove(p)
		}
	}
	return shown
}

// followLocked is called where a reader of a streamed task has nothing to read. It asks for what
// comes next and drops what all readers have passed.
func (n *Node) followLocked(r *Reader) error {
	t, at := r.t, r.t.geometry.PieceAt(r.off)
	if r.kept {
		return t.stream.why
	}
	if at < t.stream.dropped {
		return fmt.Errorf("piece %d of %s has passed, and could not be stored: %w", at, t.id, errdefs.ErrUnavailable)
	}
	if !r.passing {
		h, err := n.passing.Open(t.id)
		if err != nil {
			return err
		}
		r.h.Release()
		if r.h = h; r.own != nil {
			_ = r.own.Close() // it was read only
			r.own = nil
		}
		r.passing = true
	}
	t.stream.at[r.id] = at
	n.dropPassedLocked(t)
	if window := streamWindow(t.geometry); at < t.stream.dropped+4*window {
		_, end := t.geometry.PieceRange(r.off, r.end-r.off)
		n.core.Want(t.id, at, min(end, at+window))
	}
	return nil
}

// dropPassedLocked drops the pieces that every reader has passed.
func (n *Node) dropPassedLocked(t *task) {
	last := p2p.Piece(t.geometry.Pieces())
	for _, at := range t.stream.at {
		last = min(last, at)
	}
	if len(t.stream.at) == 0 {
		return
	}
	for ; t.stream.dropped < last; t.stream.dropped++ {
		n.dropPieceLocked(t, t.stream.dropped)
	}
}

func (n *Node) dropPieceLocked(t *task, p p2p.Piece) {
	n.core.Got(t.id, p) // it is not asked for again
	if t.have.Remove(p) {
		n.passing.Drop(t.id, p)
	}
}

// leaveStreamLocked is called when a reader of a streamed task is gone. The last one ends the task.
func (n *Node) leaveStreamLocked(t *task) {
	if t.readers > 0 {
		n.dropPassedLocked(t)
		return
	}
	if n.tasks[t.id] == t && !n.closed {
		n.dropLocked(t)
		n.tracker.Leave(t.id)
	}
}
