package journal

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"time"

	"github.com/darter-p2p/darter/p2p"
)

// State is what a journal says.
type State struct {
	Task     p2p.TaskID
	Geometry p2p.Geometry
	Digests  []p2p.PieceDigest // by piece; zero where not recorded
	Recorded *p2p.PieceSet     // pieces that were verified once
	Synced   *p2p.PieceSet     // those whose bytes are durable
	// Completed says that every piece is durable and that this was recorded.
	Completed bool
	Proofs    [][]byte // share memory with the bytes that were decoded
	Pins      map[string]time.Time
	End       End // of the valid records
	Torn      int // bytes after them
}

// Decode reads a journal. A bad header is an error that wraps ErrFormat. A record
// that is cut off, does not continue the checksum or does not make sense ends the
// journal there: what follows is counted in Torn and otherwise ignored.
func Decode(b []byte) (*State, error) {
	s, err := decodeHeader(b)
	if err != nil {
		return nil, err
	}
	d := decoder{state: s}
	rest := b[HeaderLen:]
	for {
		n, ok := d.record(rest)
		if !ok {
			break
		}
		rest = rest[n:]
	}
	s.Torn = len(rest)
	return s, nil
}

func decodeHeader(b []byte) (*State, error) {
	if len(b) < HeaderLen {
		return nil, fmt.Errorf("%w: %d bytes, want at least %d", ErrFormat, len(b), HeaderLen)
	}
	if [8]byte(b[:8]) != magic {
		return nil, fmt.Errorf("%w: begins with %q", ErrFormat, b[:8])
	}
	if v := binary.LittleEndian.Uint16(b[8:]); v != version {
		return nil, fmt.Errorf("%w: version %d, want %d", ErrFormat, v, version)
	}
	sum := binary.LittleEndian.Uint32(b[HeaderLen-4:])
	if sum != crc32.Checksum(b[:HeaderLen-4], castagnoli) {
		return nil, fmt.Errorf("%w: bad checksum of the header", ErrFormat)
	}
	id, err := p2p.TaskIDFromBinary(b[12:])
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFormat, err)
	}
	g := p2p.Geometry{
		Size:        int64(binary.LittleEndian.Uint64(b[48:])),
		PieceLength: int64(binary.LittleEndian.Uint64(b[56:])),
	}
	if err := g.Validate(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFormat, err)
	}
	n := g.Pieces()
	return &State{
		Task: id, Geometry: g,
		Digests:  make([]p2p.PieceDigest, n),
		Recorded: p2p.NewPieceSet(n), Synced: p2p.NewPieceSet(n),
		Pins: map[string]time.Time{},
		End:  End{HeaderLen, sum},
	}, nil
}

type decoder struct {
	state   *State
	pending []pending // records of pieces that no marker covers yet, in order
	covered int64     // offset that the last marker named
	proofs  int       // bytes
}

type pending struct {
	piece p2p.Piece
	at    int64 // offset of the record
}

// record reads the record that b begins with. It changes the state only if the whole record is good.
func (d *decoder) record(b []byte) (n int, ok bool) {
	if len(b) < recordHeader {
		return 0, false
	}
	n = recordHeader + int(b[5]) + int(b[6])<<8 + int(b[7])<<16
	if n > len(b) {
		return 0, false
	}
	record := b[:n]
	sum := binary.LittleEndian.Uint32(record)
	if sum != d.state.End.checksum(record) || !d.apply(kind(record[4]), record[recordHeader:]) {
		return 0, false
	}
	d.state.End = End{d.state.End.off + int64(n), sum}
	return n, true
}

func (d *decoder) apply(k kind, body []byte) bool {
	switch k {
	case kindPiece:
		return d.piece(body)
	case kindSynced:
		return d.sync(body)
	case kindComplete:
		if len(body) != 0 || !d.state.Synced.Full() {
			return false
		}
		d.state.Completed = true
		return true
	case kindProof:
		return d.proof(body)
	case kindPin:
		return d.pin(body)
	}
	return false
}

func (d *decoder) piece(body []byte) bool {
	if len(body) != pieceBody {
		return false
	}
	p := p2p.Piece(binary.LittleEndian.Uint32(body))
	if int64(p) >= int64(d.state.Recorded.Len()) || !d.state.Recorded.Add(p) {
		return false // no such piece, or recorded before, which the store never does
	}
	d.state.Digests[p] = p2p.PieceDigest(body[4:])
	d.pending = append(d.pending, pending{p, d.state.End.off})
	return true
}

func (d *decoder) sync(body []byte) bool {
	if len(body) != syncedBody {
		return false
	}
	before := int64(binary.LittleEndian.Uint64(body))
	if before < d.covered || before > d.state.End.off {
		return false
	}
	d.covered = before
	for len(d.pending) > 0 && d.pending[0].at < before {
		d.state.Synced.Add(d.pending[0].piece)
		d.pending = d.pending[1:]
	}
	return true
}

func (d *decoder) proof(body []byte) bool {
	if len(body) < proofHead || len(body) > proofHead+MaxProof || body[0] > 1 {
		return false
	}
	if body[0] == 1 {
		d.state.Proofs, d.proofs = nil, 0
	}
	if d.proofs += len(body) - proofHead; d.proofs > MaxProofs {
		d.proofs -= len(body) - proofHead
		return false
	}
	d.state.Proofs = append(d.state.Proofs, body[proofHead:])
	return true
}

func (d *decoder) pin(body []byte) bool {
	if len(body) <= pinHead || len(body) > pinHead+MaxReason {
		return false
	}
	reason := string(body[pinHead:])
	nanos := int64(binary.LittleEndian.Uint64(body))
	if nanos == 0 {
		delete(d.state.Pins, reason)
		return true
	}
	d.state.Pins[reason] = time.Unix(0, nanos)
	return true
}
