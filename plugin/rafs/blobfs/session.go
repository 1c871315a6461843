package blobfs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

// maxRead is the longest read of the kernel in bytes; EROFS asks for no more at a time.
const maxRead = 128 << 10

// Session is a connection to the kernel that serves an FS.
type Session struct {
	dir    string
	dev    *os.File
	init   []byte
	served chan struct{}
}

// Mount mounts f at dir and serves it.
func Mount(dir string, f *FS) (*Session, error) {
	dev, err := os.OpenFile("/dev/fuse", os.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("mount FUSE: %w: %w", err, errdefs.ErrFailedPrecondition)
	}
	text := fmt.Sprintf("fd=%d,rootmode=%o,user_id=%d,group_id=%d,max_read=%d", dev.Fd(), unix.S_IFDIR, os.Geteuid(), os.Getegid(), maxRead)
	if err := unix.Mount("darter-rafs", dir, "fuse.darter-rafs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC|unix.MS_RDONLY, text); err != nil {
		_ = dev.Close()
		return nil, fmt.Errorf("mount FUSE at %s: %w: %w", dir, err, errdefs.ErrFailedPrecondition)
	}
	c, err := newConn(dev, f)
	if err != nil {
		return nil, fmt.Errorf("begin FUSE at %s: %w", dir, errors.Join(err, unix.Unmount(dir, unix.MNT_DETACH), dev.Close()))
	}
	init, err := c.greet()
	if err != nil {
		return nil, fmt.Errorf("begin FUSE at %s: %w", dir, errors.Join(err, unix.Unmount(dir, unix.MNT_DETACH), c.close(), dev.Close()))
	}
	s := serve(dir, dev, init, c)
	if err := forbidPoll(dir); err != nil {
		return nil, fmt.Errorf("begin FUSE at %s: %w", dir, errors.Join(err, s.Unmount()))
	}
	return s, nil
}

// Resume goes on with a connection that another process, which is dead or has stopped
// reading, had: dev and init are its Session's Device and Init, f must have the same
// files. What that process was asked and did not answer is asked again. It needs
// Linux 6.9. On an error dev is still the caller's, and the connection as it was.
func Resume(dir string, dev *os.File, init []byte, f *FS) (*Session, error) {
	if len(init) != initSize {
		return nil, fmt.Errorf("resume FUSE: %d bytes of the kernel's first message, want %d: %w", len(init), initSize, errdefs.ErrInvalidArgument)
	}
	c, err := newConn(dev, f)
	if err != nil {
		return nil, fmt.Errorf("resume FUSE: %w", err)
	}
	c.welcome(init)
	if err := resend(dev); err != nil {
		return nil, fmt.Errorf("resume FUSE: %w", errors.Join(err, c.close()))
	}
	return serve(dir, dev, init, c), nil
}

// notifyResend is FUSE_NOTIFY_RESEND: the kernel asks again what was not answered.
const notifyResend = 7

func resend(dev *os.File) error {
	var out [16]byte // length, code, unique = 0
	binary.NativeEndian.PutUint32(out[:], uint32(len(out)))
	binary.NativeEndian.PutUint32(out[4:], notifyResend)
	if _, err := unix.Write(int(dev.Fd()), out[:]); err != nil {
		return fmt.Errorf("have the kernel ask again: %w", err)
	}
	return nil
}

func serve(dir string, dev *os.File, init []byte, c *conn) *Session {
	s := &Session{dir: dir, dev: dev, init: init, served: make(chan struct{})}
	go func() {
		defer close(s.served)
		c.serve()
	}()
	return s
}

// Device returns the connection. Whoever has a copy of it keeps it alive.
func (s *Session) Device() *os.File { return s.dev }

// Init returns the kernel's first message.
func (s *Session) Init() []byte { return s.init }

// Served is closed when the connection has ended.
func (s *Session) Served() <-chan struct{} { return s.served }

// Unmount ends the file system and waits for the last answers. Where EROFS still has a
// file of it, which may be so for a moment after its unmount, it is detached: it ends
// when EROFS lets go.
func (s *Session) Unmount() error {
	err := unix.Unmount(s.dir, 0)
	for try := 0; errors.Is(err, syscall.EBUSY) && try < 50; try++ {
		time.Sleep(20 * time.Millisecond) // nothing says when the kernel has let go
		err = unix.Unmount(s.dir, 0)
	}
	if errors.Is(err, syscall.EBUSY) {
		err = unix.Unmount(s.dir, unix.MNT_DETACH)
	} else if err == nil {
		<-s.served
	}
	if cerr := s.dev.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("unmount FUSE at %s: %w", s.dir, err)
	}
	return nil
}
