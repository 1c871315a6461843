package exchange

import (
	"encoding/binary"
	"strings"

	"github.com/darter-p2p/darter/p2p"
)

// maxText is the longest length in front of a text.
const maxText = 3

// appendText appends a text with its length in front.
func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// text reads a text of at most limit bytes of printable ASCII, so that what a peer
// sent fits a header line.
func (c *cursor) text(limit uint64) string {
	b := c.take(int(c.uvarint(limit)))
	if strings.ContainsFunc(string(b), func(r rune) bool { return r < ' ' || r > '~' }) {
		c.fail("a text with more than printable ASCII")
		return ""
	}
	return string(b)
}

// decodeReading reads where a task was read.
func decodeReading(c *cursor, t p2p.TaskID) (Message, error) {
	if c.err != nil {
		return nil, c.err
	}
	r, err := p2p.ReadingFromBinary(c.b)
	if err != nil {
		return nil, protocolError("%v", err)
	}
	return Reading{Task: t, Reading: r}, nil
}
