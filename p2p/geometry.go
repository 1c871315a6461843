package p2p

import (
	"errors"
	"fmt"
	"math/bits"
)

const (
	// MinPieceLength is the smallest piece length of a task of several pieces, in bytes.
	MinPieceLength = 256 << 10
	// MaxPreferredPieceLength is the largest piece length used while a task stays under MaxPieces.
	MaxPreferredPieceLength = 1 << 20
	// MaxPieces is one more than the highest number of pieces of a task.
	MaxPieces = 1 << 16
	// MaxSize is the largest task, in bytes: 64 TiB.
	MaxSize = 1 << 46
	// targetPieces is the number of pieces that PieceLengthFor aims at.
	targetPieces = 512
)

// ErrBadGeometry is wrapped by every error about an impossible geometry or a piece outside of it.
var ErrBadGeometry = errors.New("bad geometry")

// Piece is the index of a piece in its task, from 0.
type Piece uint32

// PieceDigest is the BLAKE3-256 digest of a piece's bytes.
type PieceDigest [32]byte

// Geometry is a task's size and how it is cut into pieces.
type Geometry struct {
	Size        int64 // of the content, in bytes
	PieceLength int64 // of every piece but the last, in bytes; a power of two unless the task is one piece
}

// GeometryFor returns the geometry of a content of the given size: pieces of
// clamp(pow2ceil(size/512), 256 KiB, 1 MiB), doubled beyond that only to stay
// under MaxPieces; a content under 1 MiB is one piece.
func GeometryFor(size int64) Geometry {
	if size < 1<<20 {
		return Geometry{Size: size, PieceLength: max(size, 1)}
	}
	length := pow2ceil((size + targetPieces - 1) / targetPieces)
	length = min(max(length, MinPieceLength), MaxPreferredPieceLength)
	for (size+length-1)/length >= MaxPieces {
		length *= 2
	}
	return Geometry{Size: size, PieceLength: length}
}

func pow2ceil(n int64) int64 {
	if n <= 1 {
		return 1
	}
	return 1 << bits.Len64(uint64(n-1))
}

// Validate reports whether the geometry is one that GeometryFor makes. Peers
// agree on pieces only because all of them cut a size in the same way.
func (g Geometry) Validate() error {
	if g.Size < 0 || g.Size > MaxSize {
		return fmt.Errorf("%w: size %d, want 0 to %d", ErrBadGeometry, g.Size, int64(MaxSize))
	}
	if want := GeometryFor(g.Size); g != want {
		return fmt.Errorf("%w: piece length %d for size %d, want %d", ErrBadGeometry, g.PieceLength, g.Size, want.PieceLength)
	}
	return nil
}

// IsZero reports whether the geometry is not known.
func (g Geometry) IsZero() bool { return g.PieceLength == 0 }

// Pieces returns the number of pieces; 0 for an empty content.
func (g Geometry) Pieces() int {
	if g.PieceLength <= 0 {
		return 0
	}
	return int((g.Size + g.PieceLength - 1) / g.PieceLength)
}

// Offset returns where a piece begins, in bytes.
func (g Geometry) Offset(p Piece) int64 { return int64(p) * g.PieceLength }

// Length returns the length of a piece in bytes, 0 if the task has no such piece.
func (g Geometry) Length(p Piece) int64 {
	if int64(p) >= int64(g.Pieces()) {
		return 0
	}
	return min(g.PieceLength, g.Size-g.Offset(p))
}

// PieceAt returns the piece that holds the byte at off.
func (g Geometry) PieceAt(off int64) Piece { return Piece(off / g.PieceLength) }

// PieceRange returns the pieces [first, end) that hold the bytes [off, off+n).
func (g Geometry) PieceRange(off, n int64) (first, end Piece) {
	if n <= 0 || g.PieceLength <= 0 {
		return 0, 0
	}
	return g.PieceAt(off), g.PieceAt(off+n-1) + 1
}

// RangeError returns nil if [off, off+n) lies within the content.
func (g Geometry) RangeError(off, n int64) error {
	if off < 0 || n < 0 || off > g.Size || n > g.Size-off {
		return fmt.Errorf("%w: range %d+%d outside of size %d", ErrBadGeometry, off, n, g.Size)
	}
	return nil
}
