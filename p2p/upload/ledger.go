package upload

import (
	"math/bits"

	"github.com/darter-p2p/darter/p2p"
)

// Ledger counts how often a seed has sent each piece of one task, so that every
// piece leaves it once before any leaves it twice. It is not safe for concurrent use.
type Ledger struct {
	sent []uint16
	once *p2p.PieceSet // sent at least once
}

// NewLedger returns the Ledger of a task of n pieces, of which none was sent.
func NewLedger(n int) *Ledger {
	return &Ledger{sent: make([]uint16, n), once: p2p.NewPieceSet(n)}
}

// Fresh returns the first piece that was never sent, of those that the seed holds
// and the asker lacks; false if there is none.
func (l *Ledger) Fresh(holds, asker *p2p.PieceSet) (p2p.Piece, bool) {
	hw, aw, ow := holds.Words(), asker.Words(), l.once.Words()
	for i := range hw {
		if w := hw[i] &^ aw[i] &^ ow[i]; w != 0 {
			return p2p.Piece(i*64 + bits.TrailingZeros64(w)), true
		}
	}
	return 0, false
}

// Distinct returns the number of pieces that were sent at least once.
func (l *Ledger) Distinct() int { return l.once.Count() }

// Sent counts a piece as sent: when sending begins.
func (l *Ledger) Sent(p p2p.Piece) {
	if int(p) >= len(l.sent) {
		return
	}
	l.sent[p]++
	l.once.Add(p)
}

// Unsent takes one Sent back: the piece did not get there.
func (l *Ledger) Unsent(p p2p.Piece) {
	if int(p) >= len(l.sent) || l.sent[p] == 0 {
		return
	}
	if l.sent[p]--; l.sent[p] == 0 {
		l.once.Remove(p)
	}
}
