package exchange

import (
	"encoding/binary"

	"github.com/darter-p2p/darter/p2p"
)

// cursor reads foreign bytes from front to back. After the first error every
// further read gives zeros, so that a decoder checks once, at its end.
type cursor struct {
	b   []byte
	err error
}

func (c *cursor) fail(format string, args ...any) {
	if c.err == nil {
		c.err = protocolError(format, args...)
	}
	c.b = nil
}

// take returns the next n bytes, or nil if there are fewer. They are shared.
func (c *cursor) take(n int) []byte {
	if c.err != nil || n > len(c.b) {
		c.fail("truncated: %d bytes left, want %d", len(c.b), n)
		return nil
	}
	b := c.b[:n]
	c.b = c.b[n:]
	return b
}

func (c *cursor) u8() uint8 {
	if b := c.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (c *cursor) u32() uint32 {
	if b := c.take(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

func (c *cursor) u64() uint64 {
	if b := c.take(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

// uvarint reads a number of at most limit.
func (c *cursor) uvarint(limit uint64) uint64 {
	if c.err != nil {
		return 0
	}
	v, n := binary.Uvarint(c.b)
	if n <= 0 || v > limit {
		c.fail("bad number, want at most %d", limit)
		return 0
	}
	c.b = c.b[n:]
	return v
}

func (c *cursor) task() p2p.TaskID {
	b := c.take(p2p.TaskIDLen)
	if b == nil {
		return p2p.TaskID{}
	}
	id, err := p2p.TaskIDFromBinary(b)
	if err != nil {
		c.fail("%v", err)
	}
	return id
}

// end returns the first error, or one if bytes are left over.
func (c *cursor) end() error {
	if c.err == nil && len(c.b) > 0 {
		c.fail("%d bytes too many", len(c.b))
	}
	return c.err
}
