// Package journal is the format of the file beside a task's pieces: a header that
// names the task, then records of what was verified, what is durable, and what is
// kept with the task. It encodes and decodes bytes only; the store reads, writes
// and syncs them. The format is laid out byte by byte in the store's DESIGN.md.
//
// Every record is checksummed together with the checksum before it, so that a
// record is valid only after exactly the records that it was appended to.
package journal

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"time"

	"github.com/darter-p2p/darter/p2p"
)

const (
	// HeaderLen is the length of the header in bytes.
	HeaderLen = 68
	// MaxLen is the longest journal that is read, in bytes. It is far above that
	// of a full task with all proofs it may have.
	MaxLen = 64 << 20
	// MaxProof is the longest proof, in bytes: the digests of a task of MaxPieces and their signature.
	MaxProof = 4 << 20
	// MaxProofs bounds the proofs of a task together, in bytes.
	MaxProofs = 16 << 20
	// MaxReason is the longest reason of a pin, in bytes.
	MaxReason = 64

	version      = 1
	recordHeader = 8 // checksum, kind, length of the body
	pieceBody    = 4 + len(p2p.PieceDigest{})
	syncedBody   = 8
	pinHead      = 8
	proofHead    = 1
)

// PieceLen is the length of the record of a piece, in bytes.
const PieceLen = recordHeader + pieceBody

var magic = [8]byte{'d', 'a', 'r', 't', 'e', 'r', 'J', '\n'}

// ErrFormat is wrapped by every error about bytes that are not a journal.
var ErrFormat = errors.New("not a journal")

// kind says what a record's body is.
type kind byte

const (
	kindPiece    kind = 1 // piece, digest
	kindSynced   kind = 2 // journal offset before which every piece is durable
	kindComplete kind = 3 // nothing
	kindProof    kind = 4 // 1 if it replaces all earlier ones, proof
	kindPin      kind = 5 // until, reason
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// End is the end of a journal: where the next record goes and the checksum it
// continues. Its methods append a record to b and return the end after it; the
// caller takes that for the end once the record is written.
type End struct {
	off int64
	sum uint32
}

// Offset is the journal's length in bytes.
func (e End) Offset() int64 { return e.off }

// Begin appends the header of a new journal.
func Begin(b []byte, id p2p.TaskID, g p2p.Geometry) ([]byte, End) {
	start := len(b)
	b = append(b, magic[:]...)
	b = binary.LittleEndian.AppendUint16(b, version)
	b = append(b, 0, 0)
	b = id.AppendBinary(b)
	b = append(b, 0, 0, 0)
	b = binary.LittleEndian.AppendUint64(b, uint64(g.Size))
	b = binary.LittleEndian.AppendUint64(b, uint64(g.PieceLength))
	sum := crc32.Checksum(b[start:], castagnoli)
	return binary.LittleEndian.AppendUint32(b, sum), End{HeaderLen, sum}
}

// Piece records that a piece has this digest and that its bytes were written.
func (e End) Piece(b []byte, p p2p.Piece, d p2p.PieceDigest) ([]byte, End) {
	b, start := open(b, kindPiece)
	b = binary.LittleEndian.AppendUint32(b, uint32(p))
	b = append(b, d[:]...)
	return e.seal(b, start)
}

// Synced records that the bytes of all pieces recorded before the given offset of
// the journal are durable.
func (e End) Synced(b []byte, before int64) ([]byte, End) {
	b, start := open(b, kindSynced)
	b = binary.LittleEndian.AppendUint64(b, uint64(before))
	return e.seal(b, start)
}

// Complete records that every piece is there and durable.
func (e End) Complete(b []byte) ([]byte, End) {
	b, start := open(b, kindComplete)
	return e.seal(b, start)
}

// Proof records an opaque proof of at most MaxProof bytes.
func (e End) Proof(b []byte, proof []byte, replace bool) ([]byte, End) {
	b, start := open(b, kindProof)
	var flag byte
	if replace {
		flag = 1
	}
	b = append(b, flag)
	b = append(b, proof...)
	return e.seal(b, start)
}

// Pin records a pin for a reason of 1 to MaxReason bytes; a zero time ends it.
func (e End) Pin(b []byte, reason string, until time.Time) ([]byte, End) {
	b, start := open(b, kindPin)
	var nanos int64
	if !until.IsZero() {
		nanos = until.UnixNano()
	}
	b = binary.LittleEndian.AppendUint64(b, uint64(nanos))
	b = append(b, reason...)
	return e.seal(b, start)
}

func open(b []byte, k kind) (_ []byte, start int) {
	return append(b, 0, 0, 0, 0, byte(k), 0, 0, 0), len(b)
}

// seal fills in the length and the checksum of the record that begins at start.
func (e End) seal(b []byte, start int) ([]byte, End) {
	record := b[start:]
	n := len(record) - recordHeader
	record[5], record[6], record[7] = byte(n), byte(n>>8), byte(n>>16)
	sum := e.checksum(record)
	binary.LittleEndian.PutUint32(record, sum)
	return b, End{e.off + int64(len(record)), sum}
}

// checksum is that of the checksum before the record and of the record without its own.
func (e End) checksum(record []byte) uint32 {
	var before [4]byte
	binary.LittleEndian.PutUint32(before[:], e.sum)
	return crc32.Update(crc32.Checksum(before[:], castagnoli), castagnoli, record[4:])
}
