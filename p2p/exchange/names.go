package exchange

import (
	"encoding/binary"

	"github.com/darter-p2p/darter/p2p"
)

// maxNames is how many tasks of one link have a short name at a time, per direction.
// Others are written out.
const maxNames = 4096

// name makes sure that a task has a short name, appending the frame that says so.
func (e *encoder) name(b []byte, t p2p.TaskID) []byte {
	if _, ok := e.names[t]; ok {
		return b
	}
	var n uint32
	switch {
	case len(e.free) > 0:
		n = e.free[len(e.free)-1]
		e.free = e.free[:len(e.free)-1]
	case e.last < maxNames:
		e.last++
		n = e.last
	default:
		return b
	}
	if e.names == nil {
		e.names = map[p2p.TaskID]uint32{}
	}
	e.names[t] = n
	start := len(b)
	b = beginFrame(b, kindName)
	b = binary.AppendUvarint(b, uint64(n))
	b = t.AppendBinary(b)
	return endFrame(b, start)
}

// ref appends a reference to a task.
func (e *encoder) ref(b []byte, t p2p.TaskID) []byte {
	if n, ok := e.names[t]; ok {
		return binary.AppendUvarint(b, uint64(n))
	}
	return t.AppendBinary(append(b, 0))
}

func (e *encoder) forget(t p2p.TaskID) {
	if n, ok := e.names[t]; ok {
		delete(e.names, t)
		e.free = append(e.free, n)
	}
}

// peek returns the short name that comes next, 0 for a whole identity.
func (d *decoder) peek(c *cursor) uint64 {
	ahead := *c
	return ahead.uvarint(maxNames)
}

// ref reads a reference to a task.
func (d *decoder) ref(c *cursor) p2p.TaskID {
	n := c.uvarint(maxNames)
	if c.err != nil {
		return p2p.TaskID{}
	}
	if n == 0 {
		return c.task()
	}
	if n >= uint64(len(d.names)) || d.names[n].IsZero() {
		c.fail("task has no name %d", n)
		return p2p.TaskID{}
	}
	return d.names[n]
}

// define reads a frame that names a task.
func (d *decoder) define(c *cursor) error {
	n := c.uvarint(maxNames)
	t := c.task()
	if err := c.end(); err != nil {
		return err
	}
	if n == 0 {
		return protocolError("the name 0 is taken")
	}
	if missing := int(n) + 1 - len(d.names); missing > 0 {
		d.names = append(d.names, make([]p2p.TaskID, missing)...)
	}
	d.names[n] = t
	return nil
}
