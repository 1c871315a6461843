package node

import (
	"fmt"
	"slices"
	"time"

	"github.com/darter-p2p/darter/p2p"
	"github.com/darter-p2p/darter/p2p/exchange"
)

// Received takes one control message of a neighbour.
func (n *Node) Received(l exchange.Link, m exchange.Message) error {
	switch m := m.(type) {
	case exchange.Digests:
		return n.receiveDigests(l, m.Batch)
	case exchange.Revoke:
		return n.receiveRevocation(l, m.Revocation)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return nil
	}
	from := l.Host()
	switch m := m.(type) {
	case exchange.Bitmap:
		n.receiveBitmapLocked(l, m)
	case exchange.Have:
		n.receiveHaveLocked(from, m)
	case exchange.Prune:
		n.receivePruneLocked(from, m.Task)
	case exchange.Graft:
		n.receiveGraftLocked(l, m)
	case exchange.Leave:
		n.receiveLeaveLocked(from, m.Task)
	case exchange.Free:
		n.core.Free(from)
	case exchange.Reading:
		n.receiveReadingLocked(from, m)
	case exchange.AskToken:
		n.receiveAskLocked(l, m)
	case exchange.Token:
		n.receiveTokenLocked(from, m)
	}
	n.pollLocked()
	return nil
}

// receiveBitmapLocked takes a host as a neighbour that says it takes part in a task;
// the scheduler's word on it may come later.
func (n *Node) receiveBitmapLocked(l exchange.Link, m exchange.Bitmap) {
	t := n.taskLocked(m.Task)
	if t == nil {
		l.Send(exchange.Leave{Task: m.Task})
		return
	}
	if _, banned := t.banned[l.Host()]; banned {
		return
	}
	nb := t.neighbours[l.Host()]
	if nb == nil {
		h := n.hostLocked(l.Host())
		h.link = l
		nb = n.addNeighbourLocked(t, h)
	}
	nb.set, nb.geometry = m.Have, m.Geometry
	if m.Have != nil {
		n.graftLocked(t, nb, m.Have.All())
	}
	n.bitmapLocked(t, nb)
	if !nb.told {
		n.tellLocked(t, nb)
	}
}

// bitmapLocked tells the downloads what a neighbour holds, once both know the geometry
// and the scheduler said where to open a data connection to it, and whether it is a seed.
func (n *Node) bitmapLocked(t *task, nb *neighbour) {
	if t.apart() || nb.set == nil || nb.host.Addr == "" || t.geometry.IsZero() || nb.geometry != t.geometry {
		return
	}
	n.core.Bitmap(t.id, nb.host.ID, nb.host.Seed, nb.set.Clone())
}

// tellLocked sends a neighbour what this host holds of a task: where it is from and the
// digests first.
func (n *Node) tellLocked(t *task, nb *neighbour) {
	h := n.hosts[nb.host.ID]
	if h == nil || h.link == nil {
		return
	}
	nb.told, nb.quiet, nb.untold = true, false, nil
	for _, r := range t.readings {
		h.link.Send(exchange.Reading{Task: t.id, Reading: r})
	}
	if t.puller != nil && t.puller.search != nil {
		t.puller.askLocked()
	}
	if t.geometry.IsZero() {
		h.link.Send(exchange.Bitmap{Task: t.id})
		return
	}
	for _, b := range t.batches {
		h.link.Send(exchange.Digests{Batch: b})
	}
	h.link.Send(exchange.Bitmap{Task: t.id, Geometry: t.geometry, Have: t.shown()})
}

func (n *Node) receiveHaveLocked(from p2p.HostID, m exchange.Have) {
	t := n.tasks[m.Task]
	if t == nil {
		return
	}
	nb := t.neighbours[from]
	if nb == nil || nb.set == nil || nb.geometry != t.geometry {
		return
	}
	n.graftLocked(t, nb, slices.Values(m.Pieces))
	for _, p := range m.Pieces {
		nb.set.Add(p)
	}
	if nb.host.Addr != "" && !t.apart() {
		n.core.Have(t.id, from, m.Pieces...)
	}
}

func (n *Node) receiveLeaveLocked(from p2p.HostID, id p2p.TaskID) {
	t := n.tasks[id]
	if t == nil {
		return
	}
	if nb := t.neighbours[from]; nb != nil {
		nb.told, nb.pruned, nb.set = false, false, nil
		n.refuseFreshLocked(t, from)
		n.core.NeighbourGone(id, from)
	}
}

// banLocked ends the exchange of a task with a host that sent what does not verify.
func (n *Node) banLocked(t *task, id p2p.HostID, reason string) {
	if _, already := t.banned[id]; already {
		return
	}
	t.banned[id] = reason
	n.events.Banned(t.id, id, reason)
	n.abandonLocked(id)
	n.unlinkLocked(t, id)
	n.tracker.BadPeer(t.id, id, reason)
	n.tracker.NeighbourLost(t.id, []p2p.HostID{id})
}

// TaskGeometry is the scheduler's word on a task's size.
func (n *Node) TaskGeometry(id p2p.TaskID, size int64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	t := n.tasks[id]
	if t == nil || n.closed {
		return
	}
	if err := n.setSizeLocked(t, size); err != nil {
		n.failLocked(t, err)
		n.tracker.Leave(id)
		return
	}
	n.pollLocked()
}

// TaskFailed is the scheduler's word that nobody can give a task now.
func (n *Node) TaskFailed(id p2p.TaskID, err p2p.OriginError) {
	n.mu.Lock()
	defer n.mu.Unlock()
	t := n.tasks[id]
	if bare, private := err.Origin.Bare(); err.Status == 429 && err.RetryAfter > 0 && bare != "" && !private {
		n.events.OriginPaused(bare, err.Status, err.RetryAfter)
	}
	switch {
	case t == nil || t.final:
	case err.Wrong:
		n.revokeLocked(t, fmt.Errorf("task %s: %w: %w", id, err, ErrRevoked))
	case t.haveAll():
	case err.Keyless && !t.rejoined && t.lendsFor(err.Origin):
		t.rejoined = true
		n.tracker.Join(t.id, err.Origin, t.size())
	default:
		n.failLocked(t, fmt.Errorf("task %s: %w", id, err))
	}
}

func (t *task) haveAll() bool { return t.have != nil && t.have.Full() }

// SchedulerState is called when the connection to the schedulers comes and goes.
func (n *Node) SchedulerState(connected bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.scheduler.connected == connected {
		return
	}
	n.scheduler.connected, n.scheduler.since = connected, time.Now()
	close(n.scheduler.changed)
	n.scheduler.changed = make(chan struct{})
}
