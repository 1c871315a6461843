package serial

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/opencontainers/go-digest"

	"github.com/darter-p2p/darter/p2p"
)

// HeadLen is the length of a segment's head, in bytes; the content's own bytes follow.
const HeadLen = 4 + 16 + 4 + 8 + 8 + 32

// ErrBadHead is wrapped by every error about a head that Append cannot have written.
var ErrBadHead = errors.New("bad head of a segment")

// Reading identifies one reading of an origin from its beginning: what two readings gave
// is never mixed.
type Reading [16]byte

// String returns it in hex.
func (r Reading) String() string { return hex.EncodeToString(r[:]) }

// Head is what a segment says of itself. A seed's signature of the segment's pieces
// covers it.
type Head struct {
	Reading Reading
	Index   uint32 // of the segment, from 0
	Offset  int64  // of its first byte in the content
	Size    int64  // of the content; -1 = not known yet
	End     bool   // no segment follows: Size is known, and Sum is the content's sha256
	Sum     [32]byte
}

// Digest returns the content's sha256; "" before the end.
func (h Head) Digest() digest.Digest {
	if !h.End {
		return ""
	}
	return digest.NewDigestFromBytes(digest.SHA256, h.Sum[:])
}

const (
	headMagic   = "DS"
	headVersion = 1
	flagEnd     = 1
)

// Append appends magic, version, flags, reading, index, offset, size (all ones = not
// known) and sum, big endian: HeadLen bytes.
func (h Head) Append(b []byte) []byte {
	var flags byte
	if h.End {
		flags = flagEnd
	}
	b = append(b, headMagic[0], headMagic[1], headVersion, flags)
	b = append(b, h.Reading[:]...)
	b = binary.BigEndian.AppendUint32(b, h.Index)
	b = binary.BigEndian.AppendUint64(b, uint64(h.Offset))
	b = binary.BigEndian.AppendUint64(b, uint64(h.Size))
	return append(b, h.Sum[:]...)
}

// ParseHead reads a head from the first HeadLen bytes of b.
func ParseHead(b []byte) (Head, error) {
	if len(b) < HeadLen || string(b[:2]) != headMagic || b[2] != headVersion || b[3]&^flagEnd != 0 {
		return Head{}, fmt.Errorf("%w: its first bytes", ErrBadHead)
	}
	h := Head{End: b[3] == flagEnd}
	b = b[4:]
	b = b[copy(h.Reading[:], b):]
	h.Index = binary.BigEndian.Uint32(b)
	h.Offset = int64(binary.BigEndian.Uint64(b[4:]))
	h.Size = int64(binary.BigEndian.Uint64(b[12:]))
	copy(h.Sum[:], b[20:])
	switch {
	case h.Offset < 0 || h.Offset > p2p.MaxSize || h.Size < -1 || h.Size > p2p.MaxSize:
		return Head{}, fmt.Errorf("%w: offset %d of %d", ErrBadHead, h.Offset, h.Size)
	case h.Size >= 0 && h.Offset > h.Size, h.End && h.Size < 0, !h.End && h.Sum != [32]byte{}:
		return Head{}, fmt.Errorf("%w: offset %d of %d, end %v", ErrBadHead, h.Offset, h.Size, h.End)
	}
	return h, nil
}
