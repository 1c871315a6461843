package node

import (
	"fmt"
	"slices"

	"github.com/darter-p2p/darter/p2p"
	"github.com/darter-p2p/darter/p2p/exchange"
	"github.com/darter-p2p/darter/p2p/trust"
)

// receiveDigests takes a batch that a neighbour relayed: what is new in it is
// verified, kept, and relayed on.
func (n *Node) receiveDigests(l exchange.Link, b trust.Batch) error {
	n.mu.Lock()
	t := n.tasks[b.Task]
	if t == nil || n.repeatedLocked(t, l, b) {
		n.mu.Unlock()
		return nil
	}
	n.mu.Unlock()
	author, err := n.verifier.Batch(&b) // about 60 µs, outside of the lock
	n.mu.Lock()
	defer n.mu.Unlock()
	if t = n.tasks[b.Task]; t == nil || n.closed {
		return nil
	}
	if err == nil && n.repeatedLocked(t, l, b) {
		return nil // another neighbour's came while this one was verified
	}
	if err != nil {
		n.banLocked(t, l.Host(), fmt.Sprintf("digests do not verify: %v", err))
		n.pollLocked()
		return nil
	}
	if err := n.setSizeLocked(t, b.Geometry.Size); diskFails(err) {
		n.noDiskLocked(t, err)
		return nil
	} else if err != nil {
		n.events.TaskFailed(t.id, fmt.Errorf("digests of %s: %w", author.Host, err))
		return nil
	}
	n.acceptLocked(t, b, author, l.Host())
	n.pollLocked()
	return nil
}

// knowsLocked reports whether a batch says nothing new.
func (n *Node) knowsLocked(t *task, b trust.Batch) bool {
	if t.geometry.IsZero() || b.Geometry != t.geometry || b.Final && !t.final {
		return false
	}
	for i, d := range b.Digests {
		p := b.First + p2p.Piece(i)
		if !t.known.Has(p) || t.digests[p] != d {
			return false
		}
	}
	return true
}

// acceptLocked takes a verified batch up that came from a host: into the map, the store and the mesh.
func (n *Node) acceptLocked(t *task, b trust.Batch, author trust.Author, from p2p.HostID) {
	if t.final || n.knowsLocked(t, b) {
		return // nothing overrules a final map
	}
	if wrong := n.conflictsLocked(t, b); len(wrong) > 0 {
		n.revokeLocked(t, fmt.Errorf("task %s: %s signed other digests for %d pieces: %w", t.id, author.Host, len(wrong), ErrRevoked))
		return
	}
	if err := t.handle.AddProof(b.Encode(), b.Final); err != nil {
		n.noDiskLocked(t, fmt.Errorf("keep digests: %w", err))
		return
	}
	if b.Final { // it replaced what was kept
		n.keepReadingsLocked(t, t.readings...)
	}
	n.learnLocked(t, b)
	n.relayLocked(t, b, author, from)
	n.finishedLocked(t)
	n.wakeLocked(t)
}

// conflictsLocked returns the pieces for which a batch has another digest than is known.
func (n *Node) conflictsLocked(t *task, b trust.Batch) []p2p.Piece {
	var wrong []p2p.Piece
	for i, d := range b.Digests {
		if p := b.First + p2p.Piece(i); t.known.Has(p) && t.digests[p] != d {
			wrong = append(wrong, p)
		}
	}
	return wrong
}

// learnLocked puts a batch's digests into the map.
func (n *Node) learnLocked(t *task, b trust.Batch) {
	if b.Geometry != t.geometry {
		return
	}
	for i, d := range b.Digests {
		if p := b.First + p2p.Piece(i); t.known.Add(p) {
			t.digests[p] = d
		}
	}
	if b.Final {
		t.final, t.batches = true, nil
	}
	t.batches = append(t.batches, b)
	n.core.Known(t.id, b.First, b.First+p2p.Piece(len(b.Digests)))
}

// receiveRevocation drops a task whose content turned out to be wrong, and passes the word on.
func (n *Node) receiveRevocation(l exchange.Link, r trust.Revocation) error {
	n.mu.Lock()
	t := n.taskLocked(r.Task) // also what rests in the store
	n.mu.Unlock()
	if t == nil {
		return nil
	}
	_, err := n.verifier.Revocation(&r)
	n.mu.Lock()
	defer n.mu.Unlock()
	if t = n.tasks[r.Task]; t == nil || n.closed {
		return nil
	}
	if err != nil {
		n.banLocked(t, l.Host(), fmt.Sprintf("revocation does not verify: %v", err))
		return nil
	}
	if t.final && !slices.ContainsFunc(t.batches, func(b trust.Batch) bool { return !b.Final }) {
		return nil // our map is final: a later reader of the origin got something else
	}
	n.spreadRevocationLocked(t, r)
	n.revokeLocked(t, fmt.Errorf("task %s: %s from %s: %w", t.id, r.Reason, r.Origin, ErrRevoked))
	n.events.Revoked(t.id, r.Origin, r.Reason)
	return nil
}

func (n *Node) spreadRevocationLocked(t *task, r trust.Revocation) {
	for _, l := range n.toldLocked(t) {
		l.Send(exchange.Revoke{Revocation: r})
	}
}
