package exchange

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/darter-p2p/darter/p2p"
)

const (
	// closeGrace is how long a link that is closed tries to deliver what is queued.
	closeGrace = time.Second
	// maxDataConns is how many data connections one host may have open at another.
	maxDataConns = 64
	// writeStep is how much is written under one deadline, in bytes.
	writeStep = 64 << 10
)

// link is the control channel to one host. One goroutine reads and calls the
// handler, one writes.
type link struct {
	x           *Exchange
	host        p2p.HostID
	seed        bool // the peer's certificate says so
	conn        *tls.Conn
	raw         net.Conn // under conn
	dialled     bool     // by this side
	peerEpoch   uint64   // of the peer's word for this link
	peerTLSData bool     // the peer takes data connections in TLS only
	peerParts   bool     // the peer answers requests for parts
	born        time.Time
	before      *link // the host's link before, to be announced as gone first

	ear    ear
	frames frameReader
	out    *outbox
	grants gate

	up      chan struct{} // closed when Connected has returned
	closing chan struct{} // closed by fail and Close
	done    chan struct{} // closed after Disconnected

	mu      sync.Mutex
	closed  bool
	err     error     // why; nil when this side closed it
	flushBy time.Time // when Close gives up
	data    map[severable]struct{}
	serving map[*server]struct{}
	uploads sync.WaitGroup
}

func (l *link) Host() p2p.HostID { return l.host }

// Seed reports whether the peer's certificate has the role seed.
func (l *link) Seed() bool { return l.seed }

// Parts reports whether the peer answers requests for parts of pieces.
func (l *link) Parts() bool { return l.peerParts }

// heed takes note of the peer's hello, before the link is installed.
func (l *link) heed(h hello) {
	l.peerEpoch, l.peerTLSData, l.peerParts = h.epoch, h.flags&helloTLSData != 0, h.flags&helloParts != 0
}

func (l *link) String() string { return fmt.Sprintf("link to %s", l.host) }

// Send queues a message.
func (l *link) Send(m Message) {
	if l.isClosing() {
		return
	}
	if err := l.out.add(m); err != nil {
		l.fail(err)
	}
}

// Close stops the link's data connections, delivers what is queued within a second,
// and closes the link.
func (l *link) Close() { l.shut(nil, closeGrace) }

// fail closes the link at once.
func (l *link) fail(err error) { l.shut(err, 0) }

func (l *link) shut(err error, grace time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return
	}
	l.closed, l.err = true, err
	l.flushBy = time.Now().Add(grace)
	if grace > 0 {
		_ = l.conn.SetWriteDeadline(l.flushBy)
	} else {
		l.raw.Close()
	}
	for c := range l.data {
		c.sever()
	}
	close(l.closing)
}

func (l *link) isClosing() bool {
	select {
	case <-l.closing:
		return true
	default:
		return false
	}
}

// run is the link's life, from its installation to Disconnected.
func (l *link) run() {
	x := l.x
	var writer sync.WaitGroup
	writer.Go(l.write)
	if l.before != nil {
		<-l.before.done
		l.before = nil
	}
	x.handler.Connected(l)
	close(l.up)
	l.fail(l.read())
	writer.Wait()
	l.uploads.Wait()
	x.handler.Disconnected(l, l.reason())
	close(l.done)
	x.forget(l)
}

func (l *link) reason() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err == nil {
		return nil
	}
	return fmt.Errorf("%v: %w", l, l.err)
}

// read hands messages to the handler until the link ends.
func (l *link) read() error {
	l.ear.listen(l.x.cfg.IdleTimeout)
	var d decoder
	for {
		kind, payload, err := l.frames.next()
		if err != nil {
			return readError(err)
		}
		m, err := d.message(kind, payload)
		if err != nil {
			return err
		}
		if err := l.dispatch(m); err != nil {
			return err
		}
	}
}

func readError(err error) error {
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return errSilent
	case errors.Is(err, ErrProtocol):
		return err
	case errors.Is(err, io.EOF):
		return errClosedByPeer
	}
	return unavailable(err)
}

// dispatch answers what concerns the link alone and gives the rest to the handler.
func (l *link) dispatch(m Message) error {
	switch m := m.(type) {
	case nil, Pong:
		return nil
	case Ping:
		return l.out.add(Pong(m))
	case Cancel:
		l.withdraw(m.ID)
		return nil
	}
	return l.x.handler.Received(l, m)
}

// write sends what is queued, all of it in one go, and pings a silent peer.
func (l *link) write() {
	defer l.raw.Close()
	quiet := l.x.cfg.IdleTimeout / 4
	tick := time.NewTicker(quiet)
	defer tick.Stop()
	var spare []byte
	for {
		select {
		case <-l.out.wake:
		case <-tick.C:
			if _, err := l.x.cfg.Identity.PeerHost(l.conn.ConnectionState()); err != nil {
				l.fail(err)
				return
			}
			if l.ear.silent() < quiet {
				continue
			}
			if err := l.out.add(Ping{Nonce: uint64(time.Since(l.born))}); err != nil {
				l.fail(err)
				return
			}
		case <-l.closing:
			_ = l.writeAll(l.out.take(spare))
			return
		}
		b := l.out.take(spare)
		if err := l.writeAll(b); err != nil {
			l.fail(unavailable(err))
			return
		}
		spare = b
	}
}

func (l *link) writeAll(b []byte) error {
	for len(b) > 0 {
		n := min(len(b), writeStep)
		if err := l.armWrite(); err != nil {
			return err
		}
		if _, err := l.conn.Write(b[:n]); err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

func (l *link) armWrite() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	by := l.flushBy
	if !l.closed {
		by = time.Now().Add(l.x.cfg.IdleTimeout)
	}
	return l.conn.SetWriteDeadline(by)
}

// severable is an end of a data connection; it closes at once, without asking its link.
type severable interface{ sever() }

// attach makes c end with the link; detach takes that back.
func (l *link) attach(c severable) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.attachLocked(c)
}

func (l *link) attachLocked(c severable) error {
	if l.closed {
		return errNoLink
	}
	if l.data == nil {
		l.data = map[severable]struct{}{}
	}
	l.data[c] = struct{}{}
	return nil
}

func (l *link) detach(c severable) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.data, c)
}

// ear reads a link's connection. It moves the idle deadline, rarely, and remembers
// when something came.
type ear struct {
	conn  net.Conn
	idle  time.Duration // 0 = the deadline is somebody else's
	start time.Time
	armed time.Time
	last  atomic.Int64 // nanoseconds after start
}

func (e *ear) listen(idle time.Duration) {
	e.idle = idle
	e.last.Store(int64(time.Since(e.start)))
}

func (e *ear) Read(b []byte) (int, error) {
	if e.idle > 0 {
		now := time.Now()
		if now.Sub(e.armed) > e.idle/8 {
			if err := e.conn.SetReadDeadline(now.Add(e.idle)); err != nil {
				return 0, err
			}
			e.armed = now
		}
	}
	n, err := e.conn.Read(b)
	e.last.Store(int64(time.Since(e.start)))
	return n, err
}

// silent returns how long nothing has come.
func (e *ear) silent() time.Duration {
	return time.Since(e.start) - time.Duration(e.last.Load())
}
