package exchange

import "encoding/binary"

// protocolVersion is the version of the control channel. It changes when a peer of
// the old version could not go on; new kinds of frames do not change it.
const protocolVersion = 1

const (
	helloTLSData = 1 << 0 // data connections to the sender are TLS
	helloParts   = 1 << 1 // the sender answers requests for parts
)

// hello is the first frame of each side.
type hello struct {
	version uint8
	flags   uint8
	epoch   uint64 // see peers.go
}

func appendHello(b []byte, h hello) []byte {
	start := len(b)
	b = beginFrame(b, kindHello)
	b = append(b, h.version, h.flags)
	b = binary.BigEndian.AppendUint64(b, h.epoch)
	return endFrame(b, start)
}

// parseHello ignores what follows the fields it knows: newer peers may add some.
func parseHello(b []byte) (hello, error) {
	c := cursor{b: b}
	h := hello{version: c.u8(), flags: c.u8(), epoch: c.u64()}
	if c.err == nil && h.version != protocolVersion {
		c.fail("control version %d, want %d", h.version, protocolVersion)
	}
	return h, c.err
}

// rejection is the answer to a hello that leads to no link.
type rejection uint8

const (
	rejectDuplicate rejection = 1 // another link between the two hosts lives
	rejectStopping  rejection = 2 // the host shuts down
)

func appendReject(b []byte, r rejection) []byte {
	start := len(b)
	return endFrame(append(beginFrame(b, kindReject), byte(r)), start)
}

// parseAnswer reads the frame that answers a dialler's hello.
func parseAnswer(k frameKind, b []byte) (hello, error) {
	switch {
	case k == kindHello:
		return parseHello(b)
	case k != kindReject || len(b) == 0:
		return hello{}, protocolError("frame of kind %d for a hello", k)
	case rejection(b[0]) == rejectDuplicate:
		return hello{}, errDuplicate
	}
	return hello{}, errClosedByPeer
}
