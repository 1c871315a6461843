package exchange

import (
	"io"

	"github.com/darter-p2p/darter/p2p"
)

// frameKind is the type of a frame of a control channel. Kinds are never reused;
// a receiver skips those it does not know.
type frameKind uint8

const (
	kindHello   frameKind = 0
	kindReject  frameKind = 1
	kindName    frameKind = 2 // gives a task a short name
	kindBitmap  frameKind = 3
	kindHave    frameKind = 4
	kindDigests frameKind = 5
	kindRevoke  frameKind = 6
	kindLeave   frameKind = 7
	kindFree    frameKind = 8
	kindCancel  frameKind = 9
	kindPing    frameKind = 10
	kindPong    frameKind = 11
	kindReading frameKind = 12
	kindAsk     frameKind = 13
	kindToken   frameKind = 14
	kindPrune   frameKind = 15
	kindGraft   frameKind = 16
)

const (
	frameHeaderLen = 4 // length of the payload (3 bytes), kind
	// maxFrame is the longest payload of a frame that is not a batch of digests.
	maxFrame = 1 << 20
	// maxDigests is the longest payload of a batch: the digests of a whole task, and
	// certificate, token and signature.
	maxDigests = p2p.MaxPieces*32 + 64<<10
	// maxBitmap is the longest payload of a bitmap, of which 8 KiB are the bits.
	maxBitmap = p2p.MaxPieces/8 + 64
	// maxTaskRef is the longest reference to a task.
	maxTaskRef = 1 + p2p.TaskIDLen
	// maxReading is the longest payload that says where a task was read.
	maxReading = maxTaskRef + 16 + p2p.MaxOriginLen
	// MaxBearer is the longest bearer token that a Token carries, in bytes.
	MaxBearer = 16 << 10
	// maxRun is the longest encoding of a run of pieces.
	maxRun = 6
	// keepBuffer is the capacity up to which a buffer is kept for the next use.
	keepBuffer = 64 << 10
)

// limit is the longest payload that a frame of the kind may have.
func (k frameKind) limit() int {
	switch k {
	case kindHello, kindReject:
		return 1 << 10
	case kindName:
		return 5 + p2p.TaskIDLen
	case kindBitmap:
		return maxBitmap
	case kindHave, kindGraft:
		return maxTaskRef + p2p.MaxPieces*maxRun
	case kindDigests:
		return maxDigests
	case kindLeave, kindPrune:
		return maxTaskRef
	case kindFree:
		return 0
	case kindCancel:
		return 4
	case kindPing, kindPong:
		return 8
	case kindReading:
		return maxReading
	case kindAsk:
		return maxTaskRef + maxText + p2p.MaxOriginLen
	case kindToken:
		return maxTaskRef + 2*maxText + p2p.MaxOriginLen + MaxBearer
	}
	return maxFrame
}

// beginFrame appends a frame's header with the length left open.
func beginFrame(b []byte, k frameKind) []byte { return append(b, 0, 0, 0, byte(k)) }

// endFrame fills in the length of the frame that begins at start.
func endFrame(b []byte, start int) []byte {
	n := len(b) - start - frameHeaderLen
	b[start], b[start+1], b[start+2] = byte(n>>16), byte(n>>8), byte(n)
	return b
}

// frameReader reads frames one after the other.
type frameReader struct {
	r    io.Reader
	head [frameHeaderLen]byte
	buf  []byte
}

// next returns the next frame. Its payload is valid until the call after. The end
// of the stream between two frames is io.EOF.
func (f *frameReader) next() (frameKind, []byte, error) {
	if _, err := io.ReadFull(f.r, f.head[:]); err != nil {
		return 0, nil, err
	}
	n := int(f.head[0])<<16 | int(f.head[1])<<8 | int(f.head[2])
	k := frameKind(f.head[3])
	if n > k.limit() {
		return 0, nil, protocolError("frame of kind %d with %d bytes, want at most %d", k, n, k.limit())
	}
	if cap(f.buf) > keepBuffer {
		f.buf = nil
	}
	f.buf = f.buf[:0]
	for len(f.buf) < n { // grows with what came, not with what was announced
		step := min(n-len(f.buf), keepBuffer)
		have := len(f.buf)
		if cap(f.buf) < have+step {
			f.buf = append(f.buf, make([]byte, step)...)
		}
		f.buf = f.buf[:have+step]
		if _, err := io.ReadFull(f.r, f.buf[have:]); err != nil {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return 0, nil, err
		}
	}
	return k, f.buf, nil
}
