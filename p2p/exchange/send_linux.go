package exchange

import (
	"errors"
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// sendChunk is how much the kernel is asked to send at a time, in bytes. It stops
// earlier, when the socket is full.
const sendChunk = 1 << 30

// maxUnsent is how many bytes the kernel takes of a piece before the connection lets them
// go, about (TCP_NOTSENT_LOWAT, tcp(7)). Without it the kernel takes whole pieces: a slot
// would be free before its piece left, and where all neighbours share the uplink at once,
// those whose congestion windows are small get next to nothing.
const maxUnsent = 128 << 10

// newSender returns the sender for a connection: sendfile where it is plain TCP.
func newSender(conn net.Conn, buffers *bufferPool, stall time.Duration) sender {
	c := copier{conn: conn, buffers: buffers, stall: stall}
	limitUnsent(underTLS(conn))
	if tcp, ok := conn.(*net.TCPConn); ok {
		if raw, err := tcp.SyscallConn(); err == nil {
			s := &fileSender{copier: c, sock: raw}
			s.toSocket, s.fromFile = s.step, s.withFile
			return s
		}
	}
	return &c
}

// limitUnsent sets maxUnsent where there is a kernel that knows it.
func limitUnsent(conn net.Conn) {
	if tcp, ok := conn.(*net.TCPConn); ok {
		if raw, err := tcp.SyscallConn(); err == nil {
			_ = raw.Control(func(fd uintptr) { // without it pieces are sent, too
				_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, maxUnsent)
			})
		}
	}
}

// fileSender sends the bytes of files without copying them through this process. It
// reads at offsets of its own, so that many share one file.
type fileSender struct {
	copier
	sock  syscall.RawConn
	armed time.Time // when the write deadline was set here; copier sets later ones

	// The transfer under way, for the two callbacks, which are made once.
	src  int
	off  int64
	left int64
	room int64 // bytes that may go before pace is asked again
	pace pacer // nil = all may go
	err  error

	toSocket func(fd uintptr) bool
	fromFile func(fd uintptr)
}

func (s *fileSender) body(r Reply, a Answer, pace pacer) (int64, error) {
	if a.File == nil || a.Length == 0 {
		return s.copier.body(r, a, pace)
	}
	file, err := a.File.SyscallConn()
	if err != nil {
		return 0, err
	}
	s.heads = appendReply(s.heads, r)
	s.off, s.left, s.err = a.Start, a.Length, nil
	s.pace, s.room = pace, 0
	if err := file.Control(s.fromFile); err != nil {
		return 0, err
	}
	if s.left == a.Length && len(s.heads) == 0 && (errors.Is(s.err, unix.EINVAL) || errors.Is(s.err, unix.ENOSYS)) {
		return s.copy(a.File, a.Start, a.Length, pace) // a file system without sendfile
	}
	return a.Length - s.left, s.err
}

// withFile sends the transfer with the file's descriptor held.
func (s *fileSender) withFile(fd uintptr) {
	s.src = int(fd)
	for s.err == nil && (s.left > 0 || len(s.heads) > 0) {
		if s.err = s.makeRoom(); s.err != nil {
			return
		}
		if now := time.Now(); now.Sub(s.armed) > s.stall/8 {
			if s.err = s.conn.SetWriteDeadline(now.Add(s.stall)); s.err != nil {
				return
			}
			s.armed = now
		}
		if err := s.sock.Write(s.toSocket); err != nil {
			s.err = err
		}
	}
}

// makeRoom waits until bytes may go.
func (s *fileSender) makeRoom() error {
	switch {
	case s.pace == nil:
		s.room = sendChunk
	case s.room == 0 && s.left > 0:
		n := min(s.left, PaceLen)
		if err := s.pace(int(n)); err != nil {
			return err
		}
		s.room = n
	}
	return nil
}

// step sends once and returns true, or returns false to wait until the socket has
// room. The headers wait in the kernel for the first bytes behind them.
func (s *fileSender) step(fd uintptr) bool {
	var n int
	var err error
	if len(s.heads) > 0 {
		n, err = unix.SendmsgN(int(fd), s.heads, nil, nil, unix.MSG_MORE|unix.MSG_NOSIGNAL)
		if n > 0 {
			s.heads = append(s.heads[:0], s.heads[n:]...)
		}
	} else {
		n, err = unix.Sendfile(int(fd), s.src, &s.off, int(min(s.left, s.room)))
		if n > 0 {
			s.left -= int64(n)
			s.room -= int64(n)
		}
		if n == 0 && err == nil {
			s.err = shortSource(nil)
			return true
		}
	}
	switch {
	case err == nil || errors.Is(err, unix.EINTR):
		return true
	case errors.Is(err, unix.EAGAIN):
		return false
	}
	s.err = err
	return true
}
