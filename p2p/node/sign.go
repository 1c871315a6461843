package node

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/darter-p2p/darter/p2p"
	"github.com/darter-p2p/darter/p2p/trust"
)

// A signature costs every host of the swarm a verification and a message, so that one
// is made for several pieces. They are sent meanwhile: whoever gets one holds it
// until its digest comes, which leaves when the first of them is on the wire, when
// there are batchPieces, or after batchTime.
const (
	batchPieces = 16
	batchTime   = 20 * time.Millisecond
)

// batch is the digests of pieces in a row that were read and not signed yet.
type batch struct {
	first   p2p.Piece
	digests []p2p.PieceDigest
	since   time.Time // when the first was read
}

func (b *batch) end() p2p.Piece { return b.first + p2p.Piece(len(b.digests)) }

func (b *batch) has(p p2p.Piece) bool { return b.first <= p && p < b.end() }

// keep takes up a piece that is read and stored, and may be sent from now on.
func (p *puller) keep(piece p2p.Piece, d p2p.PieceDigest) error {
	n, t := p.n, p.t
	n.mu.Lock()
	apart := len(p.batch.digests) > 0 && p.batch.end() != piece
	n.mu.Unlock()
	if apart {
		if err := p.sign(); err != nil {
			return err
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	b := &p.batch
	if len(b.digests) == 0 {
		b.first, b.since = piece, time.Now()
	}
	b.digests = append(b.digests, d)
	if n.tasks[t.id] != t || t.stream != nil {
		return nil
	}
	n.core.Got(t.id, piece)
	if t.have.Add(piece) {
		t.came = time.Now()
		n.callLocked()
		n.wakeLocked(t)
	}
	t.stats.FromOrigin += t.geometry.Length(piece)
	n.events.Received("", false, t.geometry.Length(piece))
	n.pollLocked()
	return nil
}

// sentLocked is called when a piece has been sent to somebody, who waits for its digest.
func (t *task) sentLocked(piece p2p.Piece) {
	for _, p := range []*puller{t.puller, t.relief} {
		if p != nil && p.batch.has(piece) {
			select {
			case p.due <- struct{}{}:
			default: // it was said
			}
		}
	}
}

// beginSigning signs what is due, beside the reading, until the function that it returns
// is called. That signs the rest.
func (p *puller) beginSigning() (end func() error) {
	over, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		tick := time.NewTicker(batchTime)
		defer tick.Stop()
		var failed error
		for {
			select {
			case <-p.due:
				failed = p.sign()
			case <-tick.C:
				failed = p.signIfDue()
			case <-over:
				ended <- failed
				return
			}
		}
	}()
	return func() error {
		close(over)
		if err := <-ended; err != nil {
			return err
		}
		return p.sign()
	}
}

// signIfDue signs the batch if it is full or old, or the first.
func (p *puller) signIfDue() error {
	p.n.mu.Lock()
	b := &p.batch
	due := len(b.digests) > 0 && (!p.signed || len(b.digests) >= batchPieces || time.Since(b.since) >= batchTime)
	p.n.mu.Unlock()
	if !due {
		return nil
	}
	return p.sign()
}

// sign signs and publishes what is not signed yet.
func (p *puller) sign() error {
	p.signs.Lock()
	defer p.signs.Unlock()
	n, t := p.n, p.t
	n.mu.Lock()
	b := trust.Batch{Task: t.id, Geometry: t.geometry, First: p.batch.first, Digests: slices.Clone(p.batch.digests)}
	p.batch, p.signed = batch{digests: p.batch.digests[:0]}, true
	n.mu.Unlock()
	if len(b.Digests) == 0 {
		return nil
	}
	return p.publish(b)
}

// publish signs a batch, takes it up and tells the swarm of it, and then of the pieces
// that it is about.
func (p *puller) publish(b trust.Batch) error {
	n, t := p.n, p.t
	b, err := p.signer.Batch(b, time.Now())
	if err != nil {
		return fmt.Errorf("sign digests: %w", err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.tasks[t.id] != t {
		return fmt.Errorf("task %s is gone: %w", t.id, context.Canceled)
	}
	n.acceptLocked(t, b, trust.Author{Host: n.self, Seed: n.cfg.Seed}, n.self)
	if !b.Final && t.stream == nil {
		for i := range b.Digests {
			if piece := b.First + p2p.Piece(i); t.have.Has(piece) {
				n.announceLocked(t, piece)
			}
		}
		if n.tellHavesLocked(t, len(t.neighbours)) { // in one message with the digests
			delete(n.untold, t)
		}
	}
	n.pollLocked()
	return nil
}
