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

	// The read under way, for the callback, which is made once.
	p       []byte
	n       int
	err     error
	checked bool
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

// read is as io.Reader's Read; the connection's deadline holds.
func (g *gatherer) read(p []byte) (int, error) {
	g.p, g.n, g.err, g.checked = p, 0, nil, false
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
	if !g.checked && g.least > 1 {
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
		case errors.Is(g.err, unix.EAGAIN):
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
