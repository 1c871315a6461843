package node

import (
	"time"

	"github.com/darter-p2p/darter/p2p"
	"github.com/darter-p2p/darter/p2p/exchange"
	"github.com/darter-p2p/darter/p2p/upload"
)

// Serve answers a neighbour's request for one piece.
func (n *Node) Serve(from p2p.HostID, r exchange.Request) exchange.Answer {
	n.mu.Lock()
	defer n.mu.Unlock()
	t := n.tasks[r.Task]
	if t == nil || n.closed || t.handle == nil || t.stream != nil {
		return exchange.Answer{Status: exchange.StatusRefused}
	}
	if r.First == exchange.AnyPiece {
		return n.serveFreshLocked(t, upload.Waiter{Host: from, Request: r.ID})
	}
	if t.neighbours[from] == nil {
		return exchange.Answer{Status: exchange.StatusRefused}
	}
	if r.Length > 0 {
		return n.servePartLocked(t, from, r)
	}
	piece := r.First
	if !t.have.Has(piece) || int64(r.Offset) >= t.geometry.Length(piece) {
		return exchange.Answer{Status: exchange.StatusNotHeld, Piece: piece}
	}
	n.slots.Widen(n.core.Slots())
	if !n.slots.Acquire(from, r.Class) {
		n.tellVacantLocked()
		return exchange.Answer{Status: exchange.StatusBusy, Piece: piece}
	}
	return n.sendLocked(t, from, piece, int64(r.Offset))
}

// sendLocked is the answer that sends a piece, for which a slot is taken.
func (n *Node) sendLocked(t *task, from p2p.HostID, piece p2p.Piece, offset int64) exchange.Answer {
	// A handle of its own: the task may be dropped while the piece is on its way.
	h, err := n.store.Open(t.id)
	if err != nil {
		n.slots.Release(from)
		n.evictedLocked(t)
		return exchange.Answer{Status: exchange.StatusNotHeld, Piece: piece}
	}
	t.ledger.Sent(piece)
	t.used = time.Now()
	a := exchange.Answer{
		Status: exchange.StatusOK, Piece: piece, File: h.File(), Reader: h,
		Start: t.geometry.Offset(piece) + offset, Length: t.geometry.Length(piece) - offset,
		Done: func(sent int64, err error) {
			h.Release()
			n.served(t, from, piece, sent, err)
		},
	}
	if f := n.cfg.Limits.Sending(t.id); f.Limited() {
		a.Pace = f.Wait
	}
	return a
}

// served gives the slot of a piece back, and tells who waits for one.
func (n *Node) served(t *task, to p2p.HostID, piece p2p.Piece, sent int64, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.slots.Release(to)
	if err != nil {
		t.ledger.Unsent(piece)
		n.slots.Ended(to)
	}
	t.sentLocked(piece)
	t.stats.Sent += sent
	if nb := t.neighbours[to]; nb != nil {
		nb.stats.Sent += sent
	}
	n.events.Sent(to, sent)
	n.callLocked()
	n.tellVacantLocked()
}

// tellVacantLocked tells those who were refused that there is a slot, if there is.
func (n *Node) tellVacantLocked() {
	for _, id := range n.slots.Vacant() {
		if h := n.hosts[id]; h != nil && h.link != nil {
			h.link.Send(exchange.Free{})
		}
	}
}

// Deleted says that somebody deleted a task from the store: what this host knows of it is
// forgotten, and its room is free. Its readers end.
func (n *Node) Deleted(id p2p.TaskID) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if t := n.tasks[id]; t != nil && t.stream == nil {
		n.evictedLocked(t)
	}
}

// evictedLocked forgets a task that the store has no more.
func (n *Node) evictedLocked(t *task) {
	n.dropLocked(t)
	n.tracker.Leave(t.id)
}
