package simnet

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

const (
	// window is how many bytes may be on their way or unread, per direction.
	window = 256 << 10
	// packet is how many bytes are booked at a time, so that connections share a rate.
	packet = 16 << 10
)

// conn is one end of a connection.
type conn struct {
	host          *Host
	local, remote Addr
	in, out       *pipe
	once          sync.Once
}

// pair returns the two ends of a connection from a to b.
func pair(a, b *Host, at, bt Addr) (*conn, *conn) {
	there, back := newPipe(a, b), newPipe(b, a)
	return &conn{host: a, local: at, remote: bt, in: back, out: there},
		&conn{host: b, local: bt, remote: at, in: there, out: back}
}

func (c *conn) Read(b []byte) (int, error) {
	n, err := c.in.read(b)
	return n, c.opError("read", err)
}

func (c *conn) Write(b []byte) (int, error) {
	n, err := c.out.write(b)
	return n, c.opError("write", err)
}

func (c *conn) opError(op string, err error) error {
	if err == nil || errors.Is(err, io.EOF) {
		return err
	}
	return &net.OpError{Op: op, Net: "sim", Source: c.local, Addr: c.remote, Err: err}
}

// Close ends both directions. What was written still arrives, then the end does.
func (c *conn) Close() error {
	c.once.Do(func() {
		c.host.net.mu.Lock()
		delete(c.host.conns, c)
		c.host.net.mu.Unlock()
		c.out.finish()
		c.in.abandon()
	})
	return nil
}

// lose ends both directions for this end only.
func (c *conn) lose() {
	c.once.Do(func() {
		c.host.net.mu.Lock()
		delete(c.host.conns, c)
		c.host.net.mu.Unlock()
		c.out.set(func() { c.out.ended, c.out.packets = true, nil })
		c.in.set(func() { c.in.gone, c.in.lost = true, true })
	})
}

func (c *conn) LocalAddr() net.Addr  { return c.local }
func (c *conn) RemoteAddr() net.Addr { return c.remote }

func (c *conn) SetDeadline(t time.Time) error {
	_ = c.SetReadDeadline(t)
	return c.SetWriteDeadline(t)
}

func (c *conn) SetReadDeadline(t time.Time) error {
	c.in.set(func() { c.in.readBy = t })
	return nil
}

func (c *conn) SetWriteDeadline(t time.Time) error {
	c.out.set(func() { c.out.writeBy = t })
	return nil
}

// pipe is one direction of a connection.
type pipe struct {
	from, to *Host

	writing chan struct{} // holds a token while a Write runs

	mu      sync.Mutex
	wake    chan struct{} // closed and replaced at every change
	packets []parcel
	held    int  // bytes in packets
	ended   bool // the writer has closed
	gone    bool // the reader has closed
	lost    bool // and the writer cannot know
	readBy  time.Time
	writeBy time.Time
}

// parcel is bytes on their way; none is the end of the stream.
type parcel struct {
	data    []byte
	arrives time.Time
}

func newPipe(from, to *Host) *pipe {
	return &pipe{from: from, to: to, writing: make(chan struct{}, 1), wake: make(chan struct{})}
}

// set changes the pipe and wakes who waits.
func (p *pipe) set(change func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change()
	close(p.wake)
	p.wake = make(chan struct{})
}

func (p *pipe) finish() {
	arrives := p.from.book(0)
	p.set(func() {
		p.ended = true
		p.packets = append(p.packets, parcel{arrives: arrives})
	})
}

func (p *pipe) abandon() { p.set(func() { p.gone = true }) }

func (p *pipe) read(b []byte) (int, error) {
	for {
		cut, healed := p.from.net.isCut(p.from.name, p.to.name)
		p.mu.Lock()
		n, until, err := p.readLocked(b, cut)
		wake := p.wake
		p.mu.Unlock()
		if n > 0 || err != nil || len(b) == 0 {
			return n, err
		}
		wait(until, wake, healed)
	}
}

// readLocked takes what has arrived. With nothing it returns when to look again.
func (p *pipe) readLocked(b []byte, cut bool) (n int, until time.Time, err error) {
	now := time.Now()
	switch {
	case p.gone:
		return 0, until, net.ErrClosed
	case past(p.readBy, now):
		return 0, until, os.ErrDeadlineExceeded
	case len(p.packets) == 0 || cut:
		return 0, p.readBy, nil
	case p.packets[0].arrives.After(now):
		return 0, sooner(p.readBy, p.packets[0].arrives), nil
	case p.packets[0].data == nil:
		return 0, until, io.EOF
	}
	for n < len(b) && len(p.packets) > 0 && p.packets[0].data != nil && !p.packets[0].arrives.After(now) {
		first := &p.packets[0]
		k := copy(b[n:], first.data)
		n += k
		if first.data = first.data[k:]; len(first.data) == 0 {
			p.packets = p.packets[1:]
		}
	}
	if n > 0 {
		p.held -= n
		close(p.wake)
		p.wake = make(chan struct{})
	}
	return n, until, nil
}

func (p *pipe) write(b []byte) (written int, err error) {
	p.writing <- struct{}{}
	defer func() { <-p.writing }()
	for {
		cut, healed := p.from.net.isCut(p.from.name, p.to.name)
		p.mu.Lock()
		room, err := p.roomLocked(cut)
		wake, until := p.wake, p.writeBy
		p.mu.Unlock()
		if err != nil || written == len(b) {
			return written, err
		}
		if room == 0 {
			wait(until, wake, healed)
			continue
		}
		data := append([]byte(nil), b[written:written+min(room, packet, len(b)-written)]...)
		arrives := p.from.book(len(data))
		p.set(func() {
			if !p.ended {
				p.packets = append(p.packets, parcel{data, arrives})
				p.held += len(data)
			}
		})
		written += len(data)
	}
}

// roomLocked returns how much may be written now.
func (p *pipe) roomLocked(cut bool) (int, error) {
	switch {
	case p.ended:
		return 0, net.ErrClosed
	case past(p.writeBy, time.Now()):
		return 0, os.ErrDeadlineExceeded
	case p.gone && !cut && !p.lost:
		return 0, syscall.EPIPE
	}
	return max(window-p.held, 0), nil
}

func past(t, now time.Time) bool { return !t.IsZero() && !t.After(now) }

func sooner(a, b time.Time) time.Time {
	if a.IsZero() || b.Before(a) {
		return b
	}
	return a
}

// wait returns at the time until (zero: never), or at one of the signals.
func wait(until time.Time, a, b <-chan struct{}) {
	var timer <-chan time.Time
	if !until.IsZero() {
		t := time.NewTimer(time.Until(until))
		defer t.Stop()
		timer = t.C
	}
	select {
	case <-timer:
	case <-a:
	case <-b:
	}
}
