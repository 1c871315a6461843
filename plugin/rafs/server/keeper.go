package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

// The keeper is a process that does nothing but hold a copy of the connection to the
// kernel, so that it outlives the mount server. It listens on a Unix socket of packets.
// To who connects it says one packet: the kernel's first message with the connection
// as a file descriptor, or one byte 0 where it has none. Then it takes packets: such a
// message with a descriptor replaces what it holds, one byte 'q' ends it. It also ends
// when nobody has been connected for some time: then readers who wait get an error.

// maxInit bounds the kernel's first message, in bytes.
const maxInit = 4096

// Keep is the keeper. l is its socket.
func Keep(l *net.UnixListener, patience time.Duration) error {
	var dev *os.File
	var init []byte
	for {
		if err := l.SetDeadline(time.Now().Add(patience)); err != nil {
			return err
		}
		c, err := l.AcceptUnix()
		if err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) {
				return fmt.Errorf("no mount server for %v: %w", patience, err)
			}
			return err
		}
		if dev == nil {
			_, err = c.Write([]byte{0})
		} else {
			_, _, err = c.WriteMsgUnix(init, unix.UnixRights(int(dev.Fd())), nil)
		}
		for err == nil {
			var b []byte
			var f *os.File
			if b, f, err = receive(c); err != nil {
				break
			}
			if len(b) == 1 && b[0] == 'q' {
				return c.Close()
			}
			if f != nil {
				if dev != nil {
					_ = dev.Close() // an old connection
				}
				dev, init = f, b
			}
		}
		_ = c.Close() // the server has gone
	}
}

// receive returns a packet, and the file that came with it or nil.
func receive(c *net.UnixConn) ([]byte, *os.File, error) {
	b, oob := make([]byte, maxInit), make([]byte, unix.CmsgSpace(4))
	n, k, _, _, err := c.ReadMsgUnix(b, oob)
	if err != nil {
		return nil, nil, err
	}
	if n == 0 {
		return nil, nil, net.ErrClosed
	}
	messages, err := unix.ParseSocketControlMessage(oob[:k])
	if err != nil || len(messages) == 0 {
		return b[:n], nil, err
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) == 0 {
		return b[:n], nil, err
	}
	unix.CloseOnExec(fds[0])
	return b[:n], os.NewFile(uintptr(fds[0]), "/dev/fuse"), nil
}

// keeper is the mount server's side of it.
type keeper struct {
	c    *net.UnixConn
	gone chan struct{} // closed when the keeper has died
	once sync.Once
	read sync.WaitGroup
}

// dialKeeper connects to a keeper, and returns what it holds: dev is nil for nothing.
// Where there is no keeper k is nil.
func dialKeeper(path string) (k *keeper, dev *os.File, init []byte, err error) {
	c, err := net.DialUnix("unixpacket", nil, &net.UnixAddr{Name: path, Net: "unixpacket"})
	if err != nil {
		return nil, nil, nil, err
	}
	if err := c.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return nil, nil, nil, errors.Join(err, c.Close())
	}
	init, dev, err = receive(c)
	if err == nil {
		err = c.SetReadDeadline(time.Time{})
	}
	if err != nil {
		return nil, nil, nil, errors.Join(err, c.Close())
	}
	k = &keeper{c: c, gone: make(chan struct{})}
	k.read.Add(1)
	go func() {
		defer k.read.Done()
		_, _ = c.Read(make([]byte, 1)) // it says nothing more; this ends when one of us does
		close(k.gone)
	}()
	return k, dev, init, nil
}

// hold gives the keeper a connection.
func (k *keeper) hold(dev *os.File, init []byte) error {
	_, _, err := k.c.WriteMsgUnix(init, unix.UnixRights(int(dev.Fd())), nil)
	return err
}

// quit ends the keeper.
func (k *keeper) quit() { _, _ = k.c.Write([]byte{'q'}) }

// leave closes the connection: the keeper waits for the next.
func (k *keeper) leave() {
	k.once.Do(func() {
		_ = k.c.Close()
		k.read.Wait()
	})
}

// keepLocked sees to it that a keeper holds the connection to the kernel.
func (s *Server) keepLocked(ctx context.Context) error {
	if s.opts.Keeper == nil || s.session == nil {
		return nil
	}
	if s.keeper != nil {
		if s.keeper.hold(s.session.Device(), s.session.Init()) == nil {
			return nil
		}
		s.keeper.leave()
		s.keeper = nil
	}
	k, dev, _, err := dialKeeper(s.keeperPath())
	if dev != nil {
		_ = dev.Close() // of a connection that has ended
	}
	if err != nil {
		if err := s.startKeeper(ctx); err != nil {
			return fmt.Errorf("start keeper: %w", err)
		}
		if k, _, _, err = dialKeeper(s.keeperPath()); err != nil {
			return fmt.Errorf("connect to keeper: %w", err)
		}
	}
	if err := k.hold(s.session.Device(), s.session.Init()); err != nil {
		k.leave()
		return fmt.Errorf("give keeper the connection: %w", err)
	}
	s.keeper = k
	return nil
}

// startKeeper starts a process that nothing of this one's end touches.
func (s *Server) startKeeper(context.Context) error {
	path := s.keeperPath()
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	l, err := net.ListenUnix("unixpacket", &net.UnixAddr{Name: path, Net: "unixpacket"})
	if err != nil {
		return err
	}
	l.SetUnlinkOnClose(false)
	defer func() { _ = l.Close() }() // the keeper has its own
	f, err := l.File()
	if err != nil {
		return err
	}
	defer f.Close()
	cmd := exec.Command(s.opts.Keeper[0], s.opts.Keeper[1:]...)
	cmd.Dir, cmd.ExtraFiles = "/", []*os.File{f}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	s.reaped.Add(1)
	go func() {
		defer s.reaped.Done()
		_ = cmd.Wait() // its end is seen on its connection
	}()
	return nil
}

// KeepAt runs Keep on an inherited socket.
func KeepAt(fd uintptr, patience time.Duration) error {
	f := os.NewFile(fd, "keeper socket")
	if f == nil {
		return fmt.Errorf("no socket: %w", errdefs.ErrInvalidArgument)
	}
	l, err := net.FileListener(f)
	if err != nil {
		return err
	}
	_ = f.Close() // l has its own
	u, ok := l.(*net.UnixListener)
	if !ok {
		return fmt.Errorf("%T is no Unix socket: %w", l, errdefs.ErrInvalidArgument)
	}
	return Keep(u, patience)
}
