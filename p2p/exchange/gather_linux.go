package exchange

import (
	"errors"
	"io"
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// gatherer reads from a TCP socket in large steps. Who takes what is there is woken for
// every few packets; this lets them gather in the kernel until there are as many bytes
// as are wanted at least (SO_RCVLOWAT, tcp(7)). A connection that ended, an error and a
// full receive window wake it earlier.
type gatherer struct {
	sock  syscall.RawConn
	least int // SO_RCVLOWAT as it is set
	here  int // bytes that came with what was waited for last, and are not read

	// The read under way, for the callback, which is made once.
	p       []byte
	n       int
	err     error
	checked bool // there is no need to look whether enough is there
	hurry   bool // nor to wait
	poll    [1]unix.PollFd
	step    func(fd uintptr) bool
}

// newGatherer returns the gatherer of a connection, nil where that is not plain TCP.
func newGatherer(conn net.Conn) *gatherer {
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		return nil
	}
	sock, err := tcp.SyscallConn()
	if err != nil {
		return nil
	}
	g := &gatherer{sock: sock, least: 1}
	g.step = g.take
	return g
}

// await makes reads wait for least bytes. It must be 1 for whoever does not know how
// many will come.
func (g *gatherer) await(least int) (err error) {
	if g.least == least {
		return nil
	}
	if cerr := g.sock.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVLOWAT, least)
	}); cerr != nil {
		return cerr
	}
	g.least = least
	return err
}

// read is as io.Reader's Read, but that it waits until least bytes are there, of which
// p may hold the first only: what is left is read without waiting. The connection's
// deadline holds.
func (g *gatherer) read(p []byte, least int) (int, error) {
	if g.here > 0 {
		part := p[:min(len(p), g.here)]
		n, err := g.readSome(part, true)
		if g.here -= n; n < len(part) { // a full window or the end had ended the wait
			g.here = 0
		}
		if !errors.Is(err, unix.EAGAIN) {
			return n, err
		}
	}
	if err := g.await(least); err != nil {
		return 0, err
	}
	n, err := g.readSome(p, false)
	if n == len(p) {
		g.here = max(0, least-n)
	}
	return n, err
}

// readSome reads once. With hurry it does not wait: where nothing is there, the error is
// unix.EAGAIN.
func (g *gatherer) readSome(p []byte, hurry bool) (int, error) {
	g.p, g.n, g.err, g.checked, g.hurry = p, 0, nil, hurry || g.least == 1, hurry
	err := g.sock.Read(g.step)
	g.p = nil
	if err == nil {
		err = g.err
	}
	if g.n == 0 && err == nil {
		err = io.EOF
	}
	return g.n, err
}

// take reads, or says that there is not enough yet.
func (g *gatherer) take(fd uintptr) bool {
	if !g.checked {
		g.checked = true
		if !g.enough(int32(fd)) {
			return false
		}
	}
	for {
		g.n, g.err = unix.Read(int(fd), g.p)
		switch {
		case errors.Is(g.err, unix.EINTR):
			continue
		case errors.Is(g.err, unix.EAGAIN) && !g.hurry:
			return false
		}
		g.n = max(g.n, 0)
		return true
	}
}

// enough reports whether as many bytes are there as SO_RCVLOWAT says, or no more will come.
func (g *gatherer) enough(fd int32) bool {
	g.poll[0] = unix.PollFd{Fd: fd, Events: unix.POLLIN}
	n, err := unix.Poll(g.poll[:], 0)
	return n > 0 || err != nil
}
