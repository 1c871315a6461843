package server

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/containerd/log"
	"golang.org/x/sys/unix"

	"github.com/darter-p2p/darter/plugin/rafs/blobfs"
	"github.com/darter-p2p/darter/plugin/rafs/device"
	"github.com/darter-p2p/darter/plugin/rafs/mount"
)

// bootID names this run of the machine.
func bootID() (device.Boot, error) {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return device.Boot{}, err
	}
	sum := sha256.Sum256(bytes.TrimSpace(b))
	return device.Boot(sum[:16]), nil
}

// recover takes up what an earlier server left. Where the connection to the kernel was
// kept, the mounts have not noticed; where not, everything is mounted again.
func (s *Server) recover(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.loadAllLocked(); err != nil {
		return err
	}
	if s.resumeLocked(ctx) {
		return s.attachDeadLocked()
	}
	return s.renewLocked(ctx)
}

// loadAllLocked opens the images of all records.
func (s *Server) loadAllLocked() error {
	records, removed, err := readRecords(s.mountsDir())
	if err != nil {
		return err
	}
	for _, id := range removed {
		s.log.WithField("mount", id).Warn("the state of a mount was not whole and is removed")
	}
	for _, r := range records {
		dir := filepath.Join(s.mountsDir(), r.ID)
		fields := s.log.WithFields(log.Fields{"mount": r.ID, "image": r.Image, "at": r.Mountpoint})
		if _, err := os.Lstat(r.Mountpoint); errors.Is(err, os.ErrNotExist) {
			fields.Info("the mountpoint of a mount is gone, and so is the mount")
			if err := os.RemoveAll(dir); err != nil {
				return err
			}
			continue
		}
		m, err := s.loadLocked(r, dir)
		if err != nil {
			fields.WithError(err).Error("a mount cannot be taken up")
			continue
		}
		s.mounts[r.ID] = m
	}
	return nil
}

// resumeLocked goes on with a connection that was kept.
func (s *Server) resumeLocked(ctx context.Context) bool {
	if s.opts.Keeper == nil {
		return false
	}
	k, dev, init, err := dialKeeper(s.keeperPath())
	if err != nil || dev == nil {
		if k != nil {
			s.keeper = k
		}
		return false
	}
	session, err := blobfs.Resume(s.fuseDir(), dev, init, s.fs)
	if err != nil {
		s.log.WithError(err).Warn("the kernel's connection to the blobs was kept, and is of no use")
		k.leave()
		_ = dev.Close() // it ends with the keeper's copy
		return false
	}
	s.session, s.keeper = session, k
	s.method = s.probe(ctx)
	s.log.WithField("mounts", len(s.mounts)).Info("the mounts go on as they were")
	return true
}

// renewLocked makes a new connection to the kernel and mounts everything again. Who has
// a file open below an old mount keeps that mount, which can read what is cached.
func (s *Server) renewLocked(ctx context.Context) error {
	for _, m := range s.mounts {
		if err := mount.Unmount(m.Mountpoint); err != nil {
			return err
		}
	}
	if s.session != nil {
		_ = s.session.Device().Close() // it has ended
		s.session = nil
	}
	_ = unix.Unmount(s.fuseDir(), unix.MNT_FORCE) // no reader of an old connection may hang
	if err := mount.Unmount(s.fuseDir()); err != nil {
		return err
	}
	if err := os.MkdirAll(s.fuseDir(), 0o700); err != nil {
		return err
	}
	session, err := blobfs.Mount(s.fuseDir(), s.fs)
	if err != nil {
		s.method = mount.Method{Mode: mount.Refused, Reason: err.Error()}
		s.log.WithError(err).Warn("this machine mounts no lazy images")
		return nil
	}
	s.session = session
	s.method = s.probe(ctx)
	entry := s.log.WithFields(log.Fields{"mode": s.method.Mode, "direct": s.method.DirectIO})
	if s.method.Reason != "" {
		entry = entry.WithField("reason", s.method.Reason)
	}
	entry.Info("this is how images are mounted")
	if err := s.keepLocked(ctx); err != nil {
		s.log.WithError(err).Error("nobody keeps the kernel's connection: when this process dies, mounts fail until it is back")
	}
	for _, m := range s.mounts {
		if err := s.attachLocked(m); err != nil {
			s.log.WithFields(log.Fields{"mount": m.ID, "image": m.Image}).WithError(err).Error("a mount cannot be made again")
		}
	}
	return nil
}

// attachDeadLocked mounts what is not mounted any more, as after somebody's umount.
func (s *Server) attachDeadLocked() error {
	for _, m := range s.mounts {
		if mount.IsMounted(m.Mountpoint) {
			continue
		}
		if err := s.attachLocked(m); err != nil {
			s.log.WithFields(log.Fields{"mount": m.ID, "image": m.Image}).WithError(err).Error("a mount cannot be made again")
		}
	}
	return nil
}

// probe mounts a tiny image to see what this machine can.
func (s *Server) probe(context.Context) mount.Method {
	if s.opts.Force.Mode != "" {
		return s.opts.Force
	}
	only := mount.Mode(s.cfg.Mount.Mode)
	switch s.cfg.Mount.Mode {
	case modeOff:
		return mount.Method{Mode: mount.Refused, Reason: "mount.mode of darter-rafs is off"}
	case modeAuto:
		only = ""
	}
	const name = "probe"
	d, err := newProbeDevice(filepath.Join(s.probeDir(), "device"))
	if err != nil {
		return mount.Method{Mode: mount.Refused, Reason: err.Error()}
	}
	s.fs.Add(name, d)
	defer func() {
		s.fs.Remove(name)
		_ = d.File().Close() // nobody reads it any more
	}()
	return mount.Probe(s.probeDir(), filepath.Join(s.fuseDir(), name), probeByte, only)
}

const probeByte = 'd'

// probeDevice is the device of the probe's image.
type probeDevice struct{ f *os.File }

func newProbeDevice(path string) (probeDevice, error) {
	f, err := os.Create(path)
	if err != nil {
		return probeDevice{}, err
	}
	if _, err := f.Write(bytes.Repeat([]byte{probeByte}, mount.DeviceSize)); err != nil {
		return probeDevice{}, fmt.Errorf("%w", errors.Join(err, f.Close()))
	}
	return probeDevice{f}, nil
}

func (probeDevice) Size() int64                                { return mount.DeviceSize }
func (p probeDevice) File() *os.File                           { return p.f }
func (probeDevice) Ready(int64, int64) bool                    { return true }
func (probeDevice) Ensure(context.Context, int64, int64) error { return nil }

func (p probeDevice) ReadAt(_ context.Context, b []byte, off int64) error {
	_, err := p.f.ReadAt(b, off)
	return err
}
