package node

import (
	"time"

	"github.com/darter-p2p/darter/p2p"
)

// stripePatience is how long a notary waits for a piece of what others are to read before
// it reads that itself: the scheduler, which would say so, may be away.
const stripePatience = 3 * time.Second

// reshareLocked changes what a puller reads, while it reads.
func (p *puller) reshareLocked(s p2p.Stripe) {
	was := p.share
	p.share = s
	if t := p.t; was.Helper && !s.Helper && !t.geometry.IsZero() {
		p.n.tracker.PullStarted(t.id, t.geometry.Size)
	}
	p.n.wakeLocked(p.t)
}

// leave ends a helper's reading, unless it has become the notary meanwhile.
func (p *puller) leave() bool {
	p.n.mu.Lock()
	defer p.n.mu.Unlock()
	if p.share.Helper && p.t.puller == p {
		p.t.puller = nil
	}
	return p.share.Helper
}

// gapLocked returns the next missing pieces that are this host's to read and that no
// neighbour holds; false where there are none.
func (p *puller) gapLocked() (first, end p2p.Piece, ok bool) {
	t := p.t
	mine := func(piece p2p.Piece) bool {
		return p.share.Has(t.geometry.Offset(piece)) && !t.elsewhere(piece)
	}
	first, ok = t.have.NextMissing(0)
	for ok && !mine(first) {
		first, ok = t.have.NextMissing(first + 1)
	}
	if !ok {
		return 0, 0, false
	}
	pieces := p2p.Piece(t.geometry.Pieces())
	for end = first + 1; end < pieces && !t.have.Has(end) && mine(end); end++ {
	}
	return first, end, true
}

// stealLocked is for a notary that has read its stripe. It takes the last run that nobody
// has begun, where there are more than other readers; and everything, where nothing of the others
// has come for long.
func (p *puller) stealLocked(now time.Time) (first, end p2p.Piece, ok bool) {
	t := p.t
	if p.share.Whole() {
		return 0, 0, false
	}
	if held := t.have.Count(); held != p.held || p.heldAt.IsZero() {
		p.held, p.heldAt = held, now
	} else if now.Sub(p.heldAt) >= stripePatience {
		p.share, p.heldAt = p2p.Stripe{}, time.Time{}
		return p.gapLocked()
	}
	perRun := max(1, p2p.Piece(p.share.Run/t.geometry.PieceLength))
	pieces := p2p.Piece(t.geometry.Pieces())
	begun := func(at p2p.Piece) bool {
		for piece := at; piece < min(at+perRun, pieces); piece++ {
			if t.have.Has(piece) || t.elsewhere(piece) {
				return true
			}
		}
		return false
	}
	seen, least := 0, 2*p.share.Of-1 // each of the others may have begun one and begin another before it hears of this
	for at := (pieces - 1) / perRun * perRun; ; at -= perRun {
		if !begun(at) {
			if seen++; seen == 1 {
				first, end = at, min(at+perRun, pieces)
			}
		}
		if seen == least || at == 0 {
			return first, end, seen == least
		}
	}
}

// sumUp hashes what is there in a row, of this host's stripe or others'.
func (p *puller) sumUp() error {
	n, t := p.n, p.t
	n.mu.Lock()
	if p.share.Helper || p.part != nil || t.geometry.IsZero() {
		n.mu.Unlock()
		return nil
	}
	to := t.geometry.Size
	if missing, ok := t.have.NextMissing(0); ok {
		to = t.geometry.Offset(missing)
	}
	h := t.handle
	n.mu.Unlock()
	return p.sum.upTo(h, to)
}

// full reports whether every piece is held.
func (t *task) full(n *Node) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return t.haveAll()
}
