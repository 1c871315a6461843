// Package picker chooses which piece of a task to ask a neighbour for. It is pure:
// sets and counts in, a piece out; chance is a parameter.
//
// The policy is "mix" (facts: simulated over 100 to 10,000 peers): a coin between
// the next piece in order, which feeds a consumer that unpacks while it downloads,
// and the rarest among the neighbours, which keeps every peer worth asking.
package picker

import (
	"math/bits"
	"math/rand/v2"

	"github.com/darter-p2p/darter/p2p"
)

// sample bounds how many candidates Rarest looks at, so that a choice costs the
// same in a task of 256 pieces and of 65,535.
const sample = 512

// Availability counts how many neighbours hold each piece of a task.
type Availability []uint16

// Add counts every piece of set up by delta, which is 1 or -1.
func (a Availability) Add(set *p2p.PieceSet, delta int) {
	for i, w := range set.Words() {
		for ; w != 0; w &= w - 1 {
			p := i*64 + bits.TrailingZeros64(w)
			a[p] = uint16(int(a[p]) + delta)
		}
	}
}

// InOrder returns the first piece at or after from that is both open and held;
// past the end it goes on from the beginning.
func InOrder(open, held *p2p.PieceSet, from p2p.Piece) (p2p.Piece, bool) {
	ow, hw := open.Words(), held.Words()
	if len(ow) == 0 {
		return 0, false
	}
	if int(from) >= open.Len() {
		from = 0
	}
	start := int(from / 64)
	for k := range len(ow) + 1 {
		i := (start + k) % len(ow)
		w := ow[i] & hw[i]
		if k == 0 {
			w &^= 1<<(from%64) - 1
		}
		if k == len(ow) {
			w &= 1<<(from%64) - 1
		}
		if w != 0 {
			return p2p.Piece(i*64 + bits.TrailingZeros64(w)), true
		}
	}
	return 0, false
}

// Rarest returns, of the pieces both open and held, one that the fewest neighbours
// hold; ties fall at random. Beyond sample candidates it takes the rarest of a run
// of that many from a random place.
func Rarest(rng *rand.Rand, open, held *p2p.PieceSet, avail Availability) (p2p.Piece, bool) {
	ow, hw := open.Words(), held.Words()
	if len(ow) == 0 {
		return 0, false
	}
	start := rng.IntN(len(ow))
	var best p2p.Piece
	least, ties, seen := -1, 0, 0
	for k := range ow {
		i := (start + k) % len(ow)
		for w := ow[i] & hw[i]; w != 0; w &= w - 1 {
			p := p2p.Piece(i*64 + bits.TrailingZeros64(w))
			n := int(avail[p])
			switch {
			case least < 0 || n < least:
				best, least, ties = p, n, 1
			case n == least:
				if ties++; rng.IntN(ties) == 0 {
					best = p
				}
			}
			seen++
		}
		if seen >= sample {
			break
		}
	}
	return best, least >= 0
}

// Any reports whether a piece is both open and held.
func Any(open, held *p2p.PieceSet) bool {
	ow, hw := open.Words(), held.Words()
	for i := range ow {
		if ow[i]&hw[i] != 0 {
			return true
		}
	}
	return false
}
