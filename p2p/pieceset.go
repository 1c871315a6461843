package p2p

import (
	"encoding/binary"
	"fmt"
	"iter"
	"math/bits"
)

// PieceSet is a set of the pieces of one task, a bitmap with its count. The zero
// PieceSet has room for no piece; make one with NewPieceSet. It is not safe for
// concurrent use.
type PieceSet struct {
	words []uint64
	n     int // pieces in the task
	count int // pieces in the set
}

// NewPieceSet returns an empty set for a task of n pieces.
func NewPieceSet(n int) *PieceSet {
	return &PieceSet{words: make([]uint64, (n+63)/64), n: n}
}

// Len returns the number of pieces of the task.
func (s *PieceSet) Len() int { return s.n }

// Count returns the number of pieces in the set.
func (s *PieceSet) Count() int { return s.count }

// Full reports whether every piece of the task is in the set.
func (s *PieceSet) Full() bool { return s.count == s.n }

// Has reports whether p is in the set; false for a piece outside of the task.
func (s *PieceSet) Has(p Piece) bool {
	return int(p) < s.n && s.words[p/64]&(1<<(p%64)) != 0
}

// Add puts p into the set and reports whether it was new. A piece outside of the task is ignored.
func (s *PieceSet) Add(p Piece) bool {
	if int(p) >= s.n || s.Has(p) {
		return false
	}
	s.words[p/64] |= 1 << (p % 64)
	s.count++
	return true
}

// Remove takes p out of the set and reports whether it was in.
func (s *PieceSet) Remove(p Piece) bool {
	if !s.Has(p) {
		return false
	}
	s.words[p/64] &^= 1 << (p % 64)
	s.count--
	return true
}

// AddRange puts the pieces [first, end) into the set.
func (s *PieceSet) AddRange(first, end Piece) {
	for p := first; p < end; p++ {
		s.Add(p)
	}
}

// Fill puts every piece of the task into the set.
func (s *PieceSet) Fill() { s.AddRange(0, Piece(s.n)) }

// NextMissing returns the first piece at or after p that is not in the set, and
// false if there is none.
func (s *PieceSet) NextMissing(p Piece) (Piece, bool) {
	return s.next(p, func(w uint64) uint64 { return ^w })
}

// Next returns the first piece at or after p that is in the set, and false if there is none.
func (s *PieceSet) Next(p Piece) (Piece, bool) {
	return s.next(p, func(w uint64) uint64 { return w })
}

// All returns the pieces in the set, in rising order.
func (s *PieceSet) All() iter.Seq[Piece] {
	return func(yield func(Piece) bool) {
		for p, ok := s.Next(0); ok && yield(p); p, ok = s.Next(p + 1) {
		}
	}
}

func (s *PieceSet) next(p Piece, of func(uint64) uint64) (Piece, bool) {
	if int(p) >= s.n {
		return 0, false
	}
	i := int(p / 64)
	w := of(s.words[i]) &^ (1<<(p%64) - 1)
	for w == 0 {
		if i++; i == len(s.words) {
			return 0, false
		}
		w = of(s.words[i])
	}
	found := Piece(i*64 + bits.TrailingZeros64(w))
	return found, int(found) < s.n
}

// HasMissingFrom reports whether other holds a piece that s lacks.
func (s *PieceSet) HasMissingFrom(other *PieceSet) bool {
	for i := range min(len(s.words), len(other.words)) {
		if other.words[i]&^s.words[i] != 0 {
			return true
		}
	}
	return false
}

// Words returns the bitmap, 64 pieces a word, lowest piece in the lowest bit. It is shared: do not write to it.
func (s *PieceSet) Words() []uint64 { return s.words }

// Clone returns an independent copy.
func (s *PieceSet) Clone() *PieceSet {
	return &PieceSet{words: append([]uint64(nil), s.words...), n: s.n, count: s.count}
}

// AppendBinary appends the bitmap, 8 pieces a byte, lowest piece in the lowest bit, (n+7)/8 bytes.
func (s *PieceSet) AppendBinary(b []byte) []byte {
	var word [8]byte
	left := (s.n + 7) / 8
	for _, w := range s.words {
		binary.LittleEndian.PutUint64(word[:], w)
		k := min(left, 8)
		b = append(b, word[:k]...)
		left -= k
	}
	return b
}

// PieceSetFromBinary reads a bitmap of a task of n pieces as AppendBinary wrote it.
// A wrong length or a bit beyond n is an error that wraps ErrBadGeometry.
func PieceSetFromBinary(n int, b []byte) (*PieceSet, error) {
	if n < 0 || n >= MaxPieces || len(b) != (n+7)/8 {
		return nil, fmt.Errorf("%w: bitmap of %d bytes for %d pieces", ErrBadGeometry, len(b), n)
	}
	s := NewPieceSet(n)
	var word [8]byte
	for i := range s.words {
		word = [8]byte{}
		copy(word[:], b[i*8:])
		s.words[i] = binary.LittleEndian.Uint64(word[:])
		s.count += bits.OnesCount64(s.words[i])
	}
	if tail := n % 64; tail != 0 && s.words[len(s.words)-1]>>tail != 0 {
		return nil, fmt.Errorf("%w: bitmap names pieces beyond the %d of the task", ErrBadGeometry, n)
	}
	return s, nil
}
