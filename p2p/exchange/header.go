package exchange

import (
	"encoding/binary"
	"fmt"

	"github.com/containerd/errdefs"

	"github.com/darter-p2p/darter/p2p"
)

// Lengths in bytes of the fixed headers of a data connection; see DESIGN.md.
const (
	requestLen = 4 + p2p.TaskIDLen + 4 + 2 + 4 + 1
	partLen    = 4 // more, of a request for a part
	replyLen   = 4 + 1 + 4 + 4 + 4
)

// requestPart is the bit of a request's last byte, its class, that says that a length follows.
const requestPart = 0x80

// maxPieces is the highest number of pieces of any task.
const maxPieces = p2p.MaxPieces - 1

// maxPieceLength is the longest piece of any task, in bytes: that of p2p.MaxSize.
const maxPieceLength = 1 << 31

// validate reports what no honest asker sends.
func (r Request) validate() error {
	switch {
	case r.Task.IsZero():
		return fmt.Errorf("request without a task: %w", errdefs.ErrInvalidArgument)
	case r.Count == 0:
		return fmt.Errorf("request for no piece: %w", errdefs.ErrInvalidArgument)
	case r.First == AnyPiece && (r.Count != 1 || r.Offset != 0):
		return fmt.Errorf("request for any piece with count %d and offset %d: %w", r.Count, r.Offset, errdefs.ErrInvalidArgument)
	case r.First != AnyPiece && uint64(r.First)+uint64(r.Count) > maxPieces:
		return fmt.Errorf("request for pieces %d+%d, want at most %d: %w", r.First, r.Count, maxPieces, errdefs.ErrInvalidArgument)
	case r.Offset > maxPieceLength:
		return fmt.Errorf("request at offset %d: %w", r.Offset, errdefs.ErrInvalidArgument)
	case r.Length > 0 && (r.First == AnyPiece || r.Count != 1 || r.Length > MaxPart):
		return fmt.Errorf("request for a part of %d bytes of %d pieces: %w", r.Length, r.Count, errdefs.ErrInvalidArgument)
	case r.Class > p2p.Urgent:
		return fmt.Errorf("request of %v: %w", r.Class, errdefs.ErrInvalidArgument)
	}
	return nil
}

func appendRequest(b []byte, r Request) []byte {
	b = binary.BigEndian.AppendUint32(b, r.ID)
	b = r.Task.AppendBinary(b)
	b = binary.BigEndian.AppendUint32(b, uint32(r.First))
	b = binary.BigEndian.AppendUint16(b, r.Count)
	b = binary.BigEndian.AppendUint32(b, r.Offset)
	if r.Length == 0 {
		return append(b, byte(r.Class))
	}
	return binary.BigEndian.AppendUint32(append(b, byte(r.Class)|requestPart), r.Length)
}

// isPart reports whether a length follows the requestLen bytes of b.
func isPart(b []byte) bool { return b[requestLen-1]&requestPart != 0 }

// parseRequest reads the requestLen bytes of b, and the partLen behind them of a part.
func parseRequest(b []byte) (Request, error) {
	c := cursor{b: b}
	r := Request{ID: c.u32(), Task: c.task(), First: p2p.Piece(c.u32())}
	if n := c.take(2); n != nil {
		r.Count = binary.BigEndian.Uint16(n)
	}
	r.Offset = c.u32()
	class := c.u8()
	if r.Class = p2p.Class(class &^ requestPart); class&requestPart != 0 {
		if r.Length = c.u32(); r.Length == 0 {
			c.fail("request for a part without a length")
		}
	}
	if err := c.end(); err != nil {
		return Request{}, err
	}
	if err := r.validate(); err != nil {
		return Request{}, protocolError("%v", err)
	}
	return r, nil
}

func (r Reply) validate() error {
	switch {
	case r.Status > StatusRefused:
		return protocolError("unknown status %d", r.Status)
	case r.Status != StatusOK && r.Length != 0:
		return protocolError("status %d with %d bytes", r.Status, r.Length)
	case r.Status == StatusOK && r.Piece >= maxPieces:
		return protocolError("reply with piece %d", r.Piece)
	case uint64(r.Offset)+uint64(r.Length) > maxPieceLength:
		return protocolError("reply with %d bytes at offset %d", r.Length, r.Offset)
	}
	return nil
}

func appendReply(b []byte, r Reply) []byte {
	b = binary.BigEndian.AppendUint32(b, r.ID)
	b = append(b, byte(r.Status))
	b = binary.BigEndian.AppendUint32(b, uint32(r.Piece))
	b = binary.BigEndian.AppendUint32(b, r.Offset)
	return binary.BigEndian.AppendUint32(b, r.Length)
}

// parseReply reads the replyLen bytes of b.
func parseReply(b []byte) (Reply, error) {
	c := cursor{b: b}
	r := Reply{ID: c.u32(), Status: Status(c.u8()), Piece: p2p.Piece(c.u32()), Offset: c.u32(), Length: c.u32()}
	if err := c.end(); err != nil {
		return Reply{}, err
	}
	return r, r.validate()
}
