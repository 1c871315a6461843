package node

import (
	"iter"
	"slices"
	"time"

	"github.com/darter-p2p/darter/p2p"
	"github.com/darter-p2p/darter/p2p/exchange"
	"github.com/darter-p2p/darter/p2p/trust"
)

// Batches of digests spread over the mesh by an epidemic broadcast tree (Plumtree:
// Leitão, Pereira, Rodrigues 2007): a neighbour that brings what was known already is
// pruned, a Have of a piece without a digest grafts the neighbour on again. Haves are
// what Plumtree calls IHAVE. A seed is never pruned: mostly it signs, and its word is the first.

// toldLocked yields the neighbours that were told of a task on their present link.
func (n *Node) toldLocked(t *task) iter.Seq2[*neighbour, exchange.Link] {
	return func(yield func(*neighbour, exchange.Link) bool) {
		for id, nb := range t.neighbours {
			if h := n.hosts[id]; nb.told && h != nil && h.link != nil && !yield(nb, h.link) {
				return
			}
		}
	}
}

// relayLocked passes a batch on that came from a host. A final one goes to all: a
// neighbour that lacks it says no Have by which it would be missed.
func (n *Node) relayLocked(t *task, b trust.Batch, author trust.Author, from p2p.HostID) {
	for nb, l := range n.toldLocked(t) {
		if id := l.Host(); id != author.Host && id != from && (!nb.quiet || b.Final) {
			l.Send(exchange.Digests{Batch: b})
		}
	}
}

// repeatedLocked reports whether a batch says nothing new, and has the neighbour that
// brought it bring no more.
func (n *Node) repeatedLocked(t *task, l exchange.Link, b trust.Batch) bool {
	if !n.knowsLocked(t, b) {
		return false
	}
	nb := t.neighbours[l.Host()]
	if nb == nil || nb.pruned || nb.host.Seed || l.Seed() || b.Final || t.final {
		return true
	}
	nb.pruned = true
	l.Send(exchange.Prune{Task: t.id})
	return true
}

// graftLocked asks a pruned neighbour for the digests of pieces that it says it holds,
// if they came from nowhere else, and for what comes after them.
func (n *Node) graftLocked(t *task, nb *neighbour, pieces iter.Seq[p2p.Piece]) {
	if !nb.pruned || t.known == nil || t.final {
		return
	}
	var lacking []p2p.Piece
	for p := range pieces {
		if int(p) < t.known.Len() && !t.known.Has(p) {
			lacking = append(lacking, p)
		}
	}
	h := n.hosts[nb.host.ID]
	if len(lacking) == 0 || h == nil || h.link == nil {
		return
	}
	nb.pruned = false
	h.link.Send(exchange.Graft{Task: t.id, Pieces: lacking})
}

// finalPatience is how long a task that is held whole waits for the map that says that it
// is right. Mostly that comes with the last piece.
const finalPatience = 2 * time.Second

// seekFinalLocked asks neighbours for the final map of a task that is held whole, and the
// scheduler for neighbours: the map was sent once, to those who were neighbours then.
func (n *Node) seekFinalLocked(t *task) {
	for _, l := range n.toldLocked(t) {
		l.Send(exchange.Graft{Task: t.id, Pieces: []p2p.Piece{0}})
	}
	if t.joined {
		n.tracker.Join(t.id, t.origin, t.geometry.Size)
	}
}

func (n *Node) receivePruneLocked(from p2p.HostID, id p2p.TaskID) {
	if t := n.tasks[id]; t != nil && t.neighbours[from] != nil {
		t.neighbours[from].quiet = true
	}
}

// receiveGraftLocked sends the batches that have the pieces, each once. A neighbour that
// was not pruned had them all, but for a final one that it may have missed.
func (n *Node) receiveGraftLocked(l exchange.Link, m exchange.Graft) {
	t := n.tasks[m.Task]
	if t == nil {
		return
	}
	nb := t.neighbours[l.Host()]
	if nb == nil || !nb.quiet && !t.final {
		return
	}
	nb.quiet = false
	for _, b := range t.batches {
		end := b.First + p2p.Piece(len(b.Digests))
		if slices.ContainsFunc(m.Pieces, func(p p2p.Piece) bool { return b.First <= p && p < end }) {
			l.Send(exchange.Digests{Batch: b})
		}
	}
}
