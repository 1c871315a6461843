package exchange

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/containerd/errdefs"

	"github.com/darter-p2p/darter/p2p"
)

// appendRuns appends pieces as runs, each by its distance from the end of the one
// before: one byte for a single piece near the last. Pieces is sorted in place.
func appendRuns(b []byte, pieces []p2p.Piece) []byte {
	slices.Sort(pieces)
	var end p2p.Piece // of the run before
	for i := 0; i < len(pieces); {
		first := pieces[i]
		last := first
		for i++; i < len(pieces) && pieces[i] <= last+1; i++ {
			last = pieces[i]
		}
		gap := uint64(first-end) << 1
		if last == first {
			b = binary.AppendUvarint(b, gap)
		} else {
			b = binary.AppendUvarint(b, gap|1)
			b = binary.AppendUvarint(b, uint64(last-first))
		}
		end = last + 1
	}
	return b
}

// validPieces reports whether pieces can be written as runs of a message that has at
// least one.
func validPieces(pieces []p2p.Piece) error {
	if len(pieces) == 0 {
		return fmt.Errorf("no piece: %w", errdefs.ErrInvalidArgument)
	}
	for _, p := range pieces {
		if p >= maxPieces {
			return fmt.Errorf("piece %d, want less than %d: %w", p, maxPieces, errdefs.ErrInvalidArgument)
		}
	}
	return nil
}

// decodeRuns reads runs to the end of c: pieces in rising order, none twice.
func decodeRuns(c *cursor) []p2p.Piece {
	var pieces []p2p.Piece
	next := uint64(0)
	for c.err == nil && len(c.b) > 0 {
		v := c.uvarint(p2p.MaxPieces << 1)
		first, more := next+v>>1, uint64(0)
		if v&1 == 1 {
			more = c.uvarint(p2p.MaxPieces)
		}
		if first+more >= maxPieces {
			c.fail("piece %d, want less than %d", first+more, maxPieces)
		}
		if c.err != nil {
			return nil
		}
		pieces = slices.Grow(pieces, int(more)+1)
		for p := first; p <= first+more; p++ {
			pieces = append(pieces, p2p.Piece(p))
		}
		next = first + more + 1
	}
	if c.err == nil && len(pieces) == 0 {
		c.fail("have of no piece")
	}
	return pieces
}

// How a Bitmap's set is written.
const (
	setUnknown = 0 // the sender does not know the size
	setEmpty   = 1
	setFull    = 2
	setBits    = 3 // (pieces+7)/8 bytes follow
)

// validate reports a set that is not one of the geometry's pieces.
func (m Bitmap) validate() error {
	n := m.Geometry.Pieces()
	if n > maxPieces || !m.Geometry.IsZero() && m.Have != nil && m.Have.Len() != n {
		return fmt.Errorf("bitmap of %s: it does not fit the geometry: %w", m.Task.Short(), errdefs.ErrInvalidArgument)
	}
	return nil
}

// appendBitmap appends all of a valid Bitmap but its task.
func appendBitmap(b []byte, m Bitmap) []byte {
	if m.Geometry.IsZero() {
		return append(b, setUnknown)
	}
	how := byte(setBits)
	switch {
	case m.Have == nil || m.Have.Count() == 0:
		how = setEmpty
	case m.Have.Full():
		how = setFull
	}
	b = append(b, how)
	b = binary.AppendUvarint(b, uint64(m.Geometry.Size))
	b = binary.AppendUvarint(b, uint64(m.Geometry.PieceLength))
	if how == setBits {
		b = m.Have.AppendBinary(b)
	}
	return b
}

func decodeBitmap(c *cursor, t p2p.TaskID) (Message, error) {
	m := Bitmap{Task: t}
	how := c.u8()
	if how == setUnknown {
		return m, c.end()
	}
	m.Geometry = p2p.Geometry{Size: int64(c.uvarint(p2p.MaxSize)), PieceLength: int64(c.uvarint(p2p.MaxSize))}
	if c.err != nil {
		return nil, c.err
	}
	if err := m.Geometry.Validate(); err != nil {
		return nil, protocolError("bitmap: %v", err)
	}
	n := m.Geometry.Pieces()
	m.Have = p2p.NewPieceSet(n)
	switch how {
	case setEmpty:
	case setFull:
		m.Have.Fill()
	case setBits:
		var err error
		if m.Have, err = p2p.PieceSetFromBinary(n, c.take((n+7)/8)); err != nil && c.err == nil {
			c.fail("bitmap: %v", err)
		}
	default:
		c.fail("unknown form of bitmap %d", how)
	}
	return m, c.end()
}
