package node

import (
	"cmp"
	"slices"
	"time"

	"github.com/darter-p2p/darter/p2p"
	"github.com/darter-p2p/darter/p2p/exchange"
)

// A Have is the message there is most of, and every one is a TLS record and wakes a host.
// A piece can go to as few neighbours at a time as there are upload slots: so many are told at
// once, those who were told least lately, and the others with the next pieces or soon.
const (
	// toldAtOnce is how many neighbours are told of what came.
	toldAtOnce = 3
	// untoldMost is how many pieces may wait for a neighbour that holds them, too, or cannot use
	// them yet.
	untoldMost = 16
	// untoldSeed is how many may wait for a seed, which chooses by what others lack.
	untoldSeed = 4
)

// flushSoonLocked sends haves: at once if none left for an eighth of a piece time (at
// most Config.HaveDelay), else when that time is over.
func (n *Node) flushSoonLocked() {
	if n.flushing || n.closed {
		return
	}
	n.flushing = true
	delay := min(n.cfg.HaveDelay, n.core.PieceTime()/8) - time.Since(n.flushed)
	if delay < 100*time.Microsecond {
		n.flushLocked()
		return
	}
	n.goLocked(func() {
		select {
		case <-time.After(delay):
		case <-n.ctx.Done():
		}
		n.mu.Lock()
		defer n.mu.Unlock()
		n.flushLocked()
	})
}

// lacks reports whether a neighbour lacks one of the pieces that it was not told of.
func (nb *neighbour) lacks() bool {
	return nb.set == nil || slices.ContainsFunc(nb.untold, func(p p2p.Piece) bool { return !nb.set.Has(p) })
}

// flushLocked tells neighbours what came since the last time. Where lookAgain will not be
// called soon it tells all who lack something.
func (n *Node) flushLocked() {
	n.flushing, n.flushed = false, time.Now()
	for t := range n.untold {
		most := toldAtOnce
		if !n.looking {
			most = len(t.neighbours)
		}
		if n.tellHavesLocked(t, most) {
			delete(n.untold, t)
		}
	}
}

// flushRestLocked tells those whose turn has not come.
func (n *Node) flushRestLocked() {
	for t := range n.untold {
		n.tellHavesLocked(t, len(t.neighbours))
		delete(n.untold, t)
	}
}

// due is a neighbour to be told.
type due struct {
	*neighbour
	link exchange.Link
}

// tellHavesLocked tells at most so many neighbours of a task what it holds, and reports
// whether that were all who lack something. Those that are complete and choose nothing need
// not know. What a neighbour holds itself, which is half of all, is told with the next
// piece that it lacks; and who holds everything tells it to all.
func (n *Node) tellHavesLocked(t *task, most int) bool {
	var wait []due
	for nb, l := range n.toldLocked(t) {
		if nb.set != nil && nb.set.Full() && !nb.host.Seed && !t.haveAll() {
			continue
		}
		nb.untold = append(nb.untold, t.pending...)
		switch {
		case len(nb.untold) == 0:
		case t.haveAll(), len(nb.untold) >= untoldMost, nb.host.Seed && len(nb.untold) >= untoldSeed:
			nb.tell(t, l)
		case nb.lacks():
			wait = append(wait, due{nb, l})
		}
	}
	t.pending = t.pending[:0]
	slices.SortFunc(wait, func(a, b due) int { return cmp.Compare(len(b.untold), len(a.untold)) })
	for _, d := range wait[:min(most, len(wait))] {
		d.tell(t, d.link)
	}
	return len(wait) <= most
}

func (nb *neighbour) tell(t *task, l exchange.Link) {
	l.Send(exchange.Have{Task: t.id, Pieces: nb.untold})
	nb.untold = nb.untold[:0]
}

// tellFullLocked tells neighbours that are complete, which were not told of single pieces,
// that this host is, too: now neither needs the other, and both may rest.
func (n *Node) tellFullLocked(t *task) {
	for nb, l := range n.toldLocked(t) {
		if nb.set != nil && nb.set.Full() {
			l.Send(exchange.Bitmap{Task: t.id, Geometry: t.geometry, Have: t.shown()})
		}
	}
}
