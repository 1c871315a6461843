package blobfs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	stdlog "log"
	"os"
	"sync"
	"unsafe"

	"github.com/containerd/errdefs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// conn takes the kernel's requests and answers them. One goroutine reads them, and
// answers on the spot what is there and short; everything else is another goroutine's. So
// a short read costs one thread that wakes up. go-fuse has a server of its own with
// several readers, of which Go's scheduler takes the processors away all the time that
// they wait (DESIGN.md of plugin/rafs/server has figures); here it decodes and encodes.
type conn struct {
	fd       int // a copy of the device
	fs       *FS
	protocol *fuse.ProtocolServer

	answers sync.Pool      // *[]byte of answerSize
	others  sync.WaitGroup // goroutines that answer
}

const (
	// requestSize is what the kernel wants to have room for in a request, in bytes.
	requestSize = maxRead + 4<<10
	// answerSize is the longest answer in bytes.
	answerSize = maxRead + 4<<10
	// shortRead is the longest read in bytes that is answered by who reads the requests: while he
	// copies nobody else is served.
	shortRead = 16 << 10
)

// Of the kernel's messages, in bytes.
const (
	inHeaderSize  = int(unsafe.Sizeof(fuse.InHeader{}))
	outHeaderSize = int(unsafe.Sizeof(fuse.OutHeader{}))
	readSize      = int(unsafe.Sizeof(fuse.ReadIn{}))
	initSize      = int(unsafe.Sizeof(fuse.InitIn{}))
)

// Operations that conn knows itself.
const (
	opRead = 15
	opInit = 26
)

// options are those of every connection: a resumed one must not differ.
func options() *fuse.MountOptions {
	return &fuse.MountOptions{
		MaxBackground: 256, MaxWrite: maxRead, FsName: "darter-rafs", Name: "darter-rafs",
		// With it the kernel refuses to mount EROFS from a file of this file system.
		DisabledCapabilities: fuse.CAP_PASSTHROUGH,
		Logger:               stdlog.New(io.Discard, "", 0),
	}
}

// newConn returns a connection over dev, which stays the caller's.
func newConn(dev *os.File, f *FS) (*conn, error) {
	fd, err := unix.FcntlInt(dev.Fd(), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return nil, err
	}
	c := &conn{fd: fd, fs: f, protocol: fuse.NewProtocolServer(f, options())}
	c.answers.New = func() any {
		b := make([]byte, answerSize)
		return &b
	}
	if err := unix.SetNonblock(fd, false); err != nil {
		return nil, errors.Join(err, c.close())
	}
	return c, nil
}

func (c *conn) close() error { return unix.Close(c.fd) }

// greet answers the kernel's first message and returns it.
func (c *conn) greet() ([]byte, error) {
	b := make([]byte, requestSize)
	n, err := c.next(b)
	if err != nil {
		return nil, err
	}
	if n < inHeaderSize || header(b).Opcode != opInit {
		return nil, fmt.Errorf("the kernel does not begin with INIT: %w", errdefs.ErrInternal)
	}
	init := make([]byte, initSize) // of an old kernel it is shorter
	copy(init, b[:n])
	c.answer(b[:n])
	return init, nil
}

// welcome takes the kernel's first message as it was, without an answer.
func (c *conn) welcome(init []byte) {
	out := make([]byte, answerSize)
	_, _ = c.protocol.HandleRequest([][]byte{init}, [][]byte{out}) // another process has answered it
}

// serve answers until the connection ends.
func (c *conn) serve() {
	in, out := make([]byte, requestSize), make([]byte, outHeaderSize+shortRead)
	for {
		n, err := c.next(in)
		if err != nil {
			break
		}
		if c.short(in[:n], out) {
			continue
		}
		request := append([]byte(nil), in[:n]...)
		c.others.Go(func() { c.answer(request) })
	}
	c.others.Wait()
	_ = c.close() // it has ended
}

// next reads a request. An error is the connection's end.
func (c *conn) next(b []byte) (int, error) {
	for {
		n, err := unix.Read(c.fd, b)
		switch {
		case errors.Is(err, unix.EINTR), errors.Is(err, unix.EAGAIN), errors.Is(err, unix.ENOENT): // ENOENT: the reader is gone
			continue
		case err != nil:
			return 0, err
		case n < inHeaderSize:
			return 0, io.ErrUnexpectedEOF
		}
		return n, nil
	}
}

// short answers a read of what is there, and reports whether it has.
func (c *conn) short(request, out []byte) bool {
	if len(request) < readSize || header(request).Opcode != opRead {
		return false
	}
	in := (*fuse.ReadIn)(unsafe.Pointer(&request[0]))
	n := c.fs.read(in, out[outHeaderSize:])
	if n < 0 {
		return false
	}
	c.send(out[:outHeaderSize+n], in.Unique, 0)
	return true
}

// answer has a request decoded, done, and answered.
func (c *conn) answer(request []byte) {
	b := c.answers.Get().(*[]byte)
	defer c.answers.Put(b)
	n, status := c.protocol.HandleRequest([][]byte{request}, [][]byte{*b})
	switch {
	case n > 0:
		_, _ = unix.Write(c.fd, (*b)[:n]) // as in send
	case !status.Ok(): // it was not understood
		c.send((*b)[:outHeaderSize], header(request).Unique, -int32(status))
	}
}

// send writes an answer, for whose header there is room. An error says that nobody waits
// for it any more: the reader was killed, or the connection has ended.
func (c *conn) send(b []byte, unique uint64, status int32) {
	binary.NativeEndian.PutUint32(b, uint32(len(b)))
	binary.NativeEndian.PutUint32(b[4:], uint32(status))
	binary.NativeEndian.PutUint64(b[8:], unique)
	_, _ = unix.Write(c.fd, b)
}

// header is that of a request, which is as long and begins where Go's allocator aligns.
func header(b []byte) *fuse.InHeader { return (*fuse.InHeader)(unsafe.Pointer(&b[0])) }
