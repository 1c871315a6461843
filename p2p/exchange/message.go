package exchange

import (
	"encoding/binary"
	"fmt"

	"github.com/containerd/errdefs"

	"github.com/darter-p2p/darter/p2p"
	"github.com/darter-p2p/darter/p2p/trust"
)

// encoder turns messages into frames. It gives each task a short name when it is
// first mentioned and takes it back when the task is left.
type encoder struct {
	names map[p2p.TaskID]uint32 // from 1; 0 is written before a whole identity
	free  []uint32
	last  uint32
}

// have appends a Have. It sorts pieces and drops repeats, in place.
func (e *encoder) have(b []byte, t p2p.TaskID, pieces []p2p.Piece) []byte {
	b = e.name(b, t)
	start := len(b)
	b = beginFrame(b, kindHave)
	b = e.ref(b, t)
	b = appendRuns(b, pieces)
	return endFrame(b, start)
}

// message appends the frames of any other message than a Have. On an error b is returned as it was.
func (e *encoder) message(b []byte, m Message) ([]byte, error) {
	was := b
	if m, ok := m.(Bitmap); ok {
		if err := m.validate(); err != nil {
			return was, err
		}
		b = e.name(b, m.Task)
	}
	start := len(b)
	var kind frameKind
	switch m := m.(type) {
	case Bitmap:
		kind = kindBitmap
		b = appendBitmap(e.ref(beginFrame(b, kind), m.Task), m)
	case Digests:
		kind = kindDigests
		b = append(beginFrame(b, kind), m.Batch.Encode()...)
	case Prune:
		kind = kindPrune
		b = e.ref(beginFrame(b, kind), m.Task)
	case Graft:
		if err := validPieces(m.Pieces); err != nil {
			return was, fmt.Errorf("send a graft: %w", err)
		}
		kind = kindGraft
		b = appendRuns(e.ref(beginFrame(b, kind), m.Task), m.Pieces)
	case Revoke:
		kind = kindRevoke
		b = append(beginFrame(b, kind), m.Revocation.Encode()...)
	case Leave:
		kind = kindLeave
		b = e.ref(beginFrame(b, kind), m.Task)
		e.forget(m.Task)
	case Free:
		kind = kindFree
		b = beginFrame(b, kind)
	case Cancel:
		kind = kindCancel
		b = binary.BigEndian.AppendUint32(beginFrame(b, kind), m.ID)
	case Reading:
		kind = kindReading
		b = m.Reading.AppendBinary(e.ref(beginFrame(b, kind), m.Task))
	case AskToken:
		kind = kindAsk
		b = appendText(e.ref(beginFrame(b, kind), m.Task), string(m.Origin))
	case Token:
		kind = kindToken
		b = appendText(e.ref(beginFrame(b, kind), m.Task), string(m.Origin))
		b = appendText(b, string(m.Bearer))
	case Ping:
		kind = kindPing
		b = binary.BigEndian.AppendUint64(beginFrame(b, kind), m.Nonce)
	case Pong:
		kind = kindPong
		b = binary.BigEndian.AppendUint64(beginFrame(b, kind), m.Nonce)
	default:
		return was, fmt.Errorf("send a message of type %T: %w", m, errdefs.ErrInvalidArgument)
	}
	if n := len(b) - start - frameHeaderLen; n > kind.limit() {
		return was, fmt.Errorf("send a message of type %T: %d bytes, want at most %d: %w", m, n, kind.limit(), errdefs.ErrInvalidArgument)
	}
	return endFrame(b, start), nil
}

// decoder turns frames back into messages.
type decoder struct {
	names []p2p.TaskID // by short name; zero where free
}

// message returns the message of a frame. It is nil for a frame that only the
// decoder needed or that it does not know. Nothing in it is shared with b.
func (d *decoder) message(k frameKind, b []byte) (Message, error) {
	c := &cursor{b: b}
	switch k {
	case kindName:
		return nil, d.define(c)
	case kindBitmap:
		return decodeBitmap(c, d.ref(c))
	case kindHave:
		m := Have{Task: d.ref(c)}
		m.Pieces = decodeRuns(c)
		return m, c.end()
	case kindDigests:
		batch, err := trust.DecodeBatch(b)
		if err != nil {
			return nil, protocolError("digests: %v", err)
		}
		return Digests{Batch: batch}, nil
	case kindPrune:
		m := Prune{Task: d.ref(c)}
		return m, c.end()
	case kindGraft:
		m := Graft{Task: d.ref(c)}
		m.Pieces = decodeRuns(c)
		return m, c.end()
	case kindRevoke:
		r, err := trust.DecodeRevocation(b)
		if err != nil {
			return nil, protocolError("revocation: %v", err)
		}
		return Revoke{Revocation: r}, nil
	case kindLeave:
		n := d.peek(c)
		m := Leave{Task: d.ref(c)}
		if c.err == nil && n > 0 {
			d.names[n] = p2p.TaskID{}
		}
		return m, c.end()
	case kindFree:
		return Free{}, c.end()
	case kindCancel:
		return Cancel{ID: c.u32()}, c.end()
	case kindReading:
		return decodeReading(c, d.ref(c))
	case kindAsk:
		m := AskToken{Task: d.ref(c), Origin: p2p.Origin(c.text(p2p.MaxOriginLen))}
		return m, c.end()
	case kindToken:
		m := Token{Task: d.ref(c), Origin: p2p.Origin(c.text(p2p.MaxOriginLen)), Bearer: p2p.Secret(c.text(MaxBearer))}
		return m, c.end()
	case kindPing:
		return Ping{Nonce: c.u64()}, c.end()
	case kindPong:
		return Pong{Nonce: c.u64()}, c.end()
	case kindHello, kindReject:
		return nil, protocolError("frame of kind %d on a link", k)
	}
	return nil, nil
}
