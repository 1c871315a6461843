package node

import (
	"slices"

	"github.com/darter-p2p/darter/p2p"
	"github.com/darter-p2p/darter/p2p/exchange"
	"github.com/darter-p2p/darter/p2p/upload"
)

// fresh is who waits at this host for pieces of a task that nobody was sent yet.
type fresh struct {
	line  upload.Line
	again map[upload.Waiter]func() bool // lets the exchange ask once more
}

// serveFreshLocked answers a request that leaves the choice of the piece to this host:
// when there is a slot and a piece that nobody was sent, and it is the asker's turn.
func (n *Node) serveFreshLocked(t *task, w upload.Waiter) exchange.Answer {
	delete(t.fresh.again, w)
	called := t.fresh.line.Answer(w)
	if nb := t.neighbours[w.Host]; nb == nil || nb.set == nil {
		return exchange.Answer{Status: exchange.StatusRefused}
	}
	piece, ok := t.freshFor(w.Host)
	switch {
	case ok && called && n.slots.Grant():
		return n.sendLocked(t, w.Host, piece, 0)
	case !ok && t.have.Full():
		if called {
			t.fresh.line.Missed(w.Host)
		}
		return exchange.Answer{Status: exchange.StatusNoFresh}
	}
	if called {
		t.fresh.line.Missed(w.Host)
	}
	return exchange.Answer{
		Wait: func(again func() bool) { n.awaitFresh(t, w, again) },
		Gone: func() { n.freshGone(t, w) },
	}
}

// freshFor returns a piece that this host holds and sent to nobody, and that a
// neighbour lacks.
func (t *task) freshFor(id p2p.HostID) (p2p.Piece, bool) {
	nb := t.neighbours[id]
	if nb == nil || nb.set == nil || nb.geometry != t.geometry {
		return 0, false
	}
	return t.ledger.Fresh(t.have, nb.set)
}

// awaitFresh puts a request into the line.
func (n *Node) awaitFresh(t *task, w upload.Waiter, again func() bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.tasks[t.id] != t || n.closed {
		again() // to be refused
		return
	}
	if t.fresh.again == nil {
		t.fresh.again = map[upload.Waiter]func() bool{}
	}
	t.fresh.again[w] = again
	t.fresh.line.Wait(w)
	if !slices.Contains(n.lines, t) {
		n.lines = append(n.lines, t)
		t.fresh.line.Share(n.given)
	}
	n.callLocked()
}

// freshGone takes a request out of the line whose asker wants it no more.
func (n *Node) freshGone(t *task, w upload.Waiter) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(t.fresh.again, w)
	t.fresh.line.Leave(w)
	n.callLocked()
}

// callLocked calls those who wait for fresh pieces, the task that has been asked for
// longest first, as long as there are slots and pieces. It is called when a slot or a
// piece came, or a request.
func (n *Node) callLocked() {
	slots := n.slots.Free()
	for _, t := range n.lines {
		slots -= t.fresh.line.Called()
	}
	for _, t := range n.lines {
		slots -= n.callForLocked(t, slots)
	}
	n.lines = slices.DeleteFunc(n.lines, func(t *task) bool {
		over := t.fresh.line.Len()+t.fresh.line.Called() == 0
		if over {
			t.fresh.line.Unshare()
		}
		return over
	})
}

// callForLocked calls those who wait for one task, and returns how many slots they take.
func (n *Node) callForLocked(t *task, slots int) (called int) {
	left := t.have.Count() - t.ledger.Distinct() - t.fresh.line.Called()
	for {
		w, ok := t.fresh.line.Call(func(w upload.Waiter) bool {
			if _, ok := t.freshFor(w.Host); ok {
				return called < min(slots, left)
			}
			return t.have.Full() // nothing more will come for it
		})
		if !ok {
			return called
		}
		if again := t.fresh.again[w]; again == nil || !again() {
			t.fresh.line.Leave(w)
		} else if _, ok := t.freshFor(w.Host); ok {
			called++
		}
	}
}

// refuseFreshLocked has the requests of a neighbour that left asked once more, to be refused.
func (n *Node) refuseFreshLocked(t *task, from p2p.HostID) {
	for w, again := range t.fresh.again {
		if w.Host == from {
			t.fresh.line.Leave(w)
			again()
		}
	}
}

// endFreshLocked has every request that waits for a task asked once more, to be refused.
func (n *Node) endFreshLocked(t *task) {
	for _, again := range t.fresh.again {
		again()
	}
	t.fresh.line.Unshare()
	t.fresh = fresh{}
	n.lines = slices.DeleteFunc(n.lines, func(l *task) bool { return l == t })
}
