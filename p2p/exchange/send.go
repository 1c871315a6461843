package exchange

import (
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// copyLen is the length of the buffers that bodies are copied through, in bytes.
const copyLen = 64 << 10

// bufferPool keeps buffers of copyLen bytes.
type bufferPool struct{ pool sync.Pool }

func (p *bufferPool) get() *[]byte {
	if b, ok := p.pool.Get().(*[]byte); ok {
		return b
	}
	b := make([]byte, copyLen)
	return &b
}

func (p *bufferPool) put(b *[]byte) { p.pool.Put(b) }

// sender writes replies to a data connection. Each write must make progress within
// the stall time-out.
type sender interface {
	// reply queues a reply without a body.
	reply(Reply) error
	// body writes a reply and its bytes, and returns how many of them were sent. The
	// pacer is asked before every PaceLen bytes of them; nil = at once.
	body(Reply, Answer, pacer) (int64, error)
	// flush writes what is queued.
	flush() error
}

// pacer returns when n bytes may be sent.
type pacer func(n int) error

// copier is the sender for connections that the kernel cannot copy to.
type copier struct {
	conn    net.Conn
	buffers *bufferPool
	stall   time.Duration
	heads   []byte // replies not written yet
}

func (c *copier) reply(r Reply) error {
	c.heads = appendReply(c.heads, r)
	if len(c.heads) < gatherLimit {
		return nil
	}
	return c.flush()
}

func (c *copier) flush() error {
	if len(c.heads) == 0 {
		return nil
	}
	err := c.write(c.heads)
	c.heads = c.heads[:0]
	return err
}

func (c *copier) write(b []byte) error {
	if err := c.conn.SetWriteDeadline(time.Now().Add(c.stall)); err != nil {
		return err
	}
	_, err := c.conn.Write(b)
	return err
}

func (c *copier) body(r Reply, a Answer, pace pacer) (int64, error) {
	c.heads = appendReply(c.heads, r)
	src := a.Reader
	if a.File != nil {
		src = a.File
	}
	return c.copy(src, a.Start, a.Length, pace)
}

// copy writes what is queued and left bytes of src, the queue in one write with the
// first of them.
func (c *copier) copy(src io.ReaderAt, off, left int64, pace pacer) (sent int64, err error) {
	buf := c.buffers.get()
	defer c.buffers.put(buf)
	head := copy(*buf, c.heads)
	c.heads = c.heads[:0]
	for left > 0 || head > 0 {
		room := (*buf)[head:]
		n := int(min(int64(len(room)), left))
		if n > 0 {
			got, err := src.ReadAt(room[:n], off)
			if got < n {
				return sent, shortSource(err)
			}
			if pace != nil {
				if err := pace(n); err != nil {
					return sent, err
				}
			}
		}
		if err := c.write((*buf)[:head+n]); err != nil {
			return sent, err
		}
		sent, off, left, head = sent+int64(n), off+int64(n), left-int64(n), 0
	}
	return sent, nil
}

// shortSource is the error of a source that ended before the length it was given with.
func shortSource(err error) error {
	if err == nil || errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("read what is to be sent: %w", err)
}
