package mount

import (
	"errors"
	"fmt"
	"os"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

// mountLoop mounts from loop devices. They go away with the mount.
func (m Method) mountLoop(img Image, dir string) error {
	var loops []*os.File
	defer func() {
		for _, l := range loops {
			_ = l.Close() // the mount has its own hold on it
		}
	}()
	attach := func(path string) (string, error) {
		l, err := attachLoop(path)
		if err != nil {
			return "", fmt.Errorf("mount EROFS: loop device for %s: %w: %w", path, err, errdefs.ErrFailedPrecondition)
		}
		loops = append(loops, l)
		return l.Name(), nil
	}
	on := Image{}
	var err error
	if on.Bootstrap, err = attach(img.Bootstrap); err != nil {
		return err
	}
	for _, d := range img.Devices {
		l, err := attach(d)
		if err != nil {
			return err
		}
		on.Devices = append(on.Devices, l)
	}
	return Method{Mode: Loop}.mount(on, dir)
}

// attachLoop returns an open, read-only loop device of a file. It is detached when
// nobody uses it any more.
func attachLoop(path string) (*os.File, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer control.Close()
	for range 64 { // others may take the free one first
		n, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
		if err != nil {
			return nil, err
		}
		loop, err := os.Open(fmt.Sprintf("/dev/loop%d", n))
		if err != nil {
			return nil, err
		}
		config := unix.LoopConfig{Fd: uint32(file.Fd()), Size: 4096}
		config.Info.Flags = unix.LO_FLAGS_READ_ONLY | unix.LO_FLAGS_AUTOCLEAR | unix.LO_FLAGS_DIRECT_IO
		copy(config.Info.File_name[:], path)
		err = unix.IoctlLoopConfigure(int(loop.Fd()), &config)
		if err == nil {
			return loop, nil
		}
		_ = loop.Close()
		if !errors.Is(err, unix.EBUSY) {
			return nil, err
		}
	}
	return nil, fmt.Errorf("no loop device is free: %w", errdefs.ErrResourceExhausted)
}
