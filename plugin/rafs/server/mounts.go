package server

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/containerd/errdefs"
	"github.com/containerd/log"

	"github.com/darter-p2p/darter/plugin/rafs"
	"github.com/darter-p2p/darter/plugin/rafs/client"
	"github.com/darter-p2p/darter/plugin/rafs/device"
	"github.com/darter-p2p/darter/plugin/rafs/mount"
)

// mounted is a live mount.
type mounted struct {
	record
	dir   string // of its state
	file  *os.File
	image *rafs.Image
	blobs []*held // in the order of the bootstrap's device table
	wish  *wish
}

// devices are those of the blobs.
func (m *mounted) devices() []*device.Device {
	all := make([]*device.Device, len(m.blobs))
	for i, b := range m.blobs {
		all[i] = b.device
	}
	return all
}

// held is a mount's hold on a device.
type held struct {
	*item
	plain bool // mounted from a complete file, without FUSE
}

// Mount does what client.Client's Mount says.
func (s *Server) Mount(_ context.Context, r client.Request) (err error) {
	if err := r.Validate(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return fmt.Errorf("mount %s: the server stops: %w", r.ID, errdefs.ErrUnavailable)
	}
	if s.method.Mode == mount.Refused {
		return fmt.Errorf("mount %s: this machine mounts no lazy images: %s: %w", r.ID, s.method.Reason, errdefs.ErrFailedPrecondition)
	}
	if m := s.mounts[r.ID]; m != nil {
		if !m.same(r) {
			return fmt.Errorf("mount %s: another image or mountpoint has this name: %w", r.ID, errdefs.ErrAlreadyExists)
		}
		if mount.IsMounted(m.Mountpoint) {
			return nil
		}
		return s.attachLocked(m)
	}
	begin := time.Now()
	m, err := s.makeLocked(r)
	if err != nil {
		return fmt.Errorf("mount %s: %w", r.ID, err)
	}
	s.mounts[r.ID] = m
	s.log.WithFields(log.Fields{"mount": m.ID, "image": m.Image, "blobs": len(m.blobs), "at": m.Mountpoint, "took": time.Since(begin)}).Info("image is mounted")
	return nil
}

// makeLocked makes a mount that was not there.
func (s *Server) makeLocked(r client.Request) (_ *mounted, err error) {
	dir := filepath.Join(s.mountsDir(), r.ID)
	kept := record{r, time.Now()}
	if err := writeRecord(dir, kept); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	m, err := s.loadLocked(kept, dir)
	if err == nil {
		if err = s.attachLocked(m); err == nil {
			return m, nil
		}
		err = errors.Join(err, s.unloadLocked(m))
	}
	return nil, errors.Join(err, os.RemoveAll(dir))
}

// loadLocked opens the image of a record and its devices.
func (s *Server) loadLocked(r record, dir string) (_ *mounted, err error) {
	m := &mounted{record: r, dir: dir}
	if m.image, m.file, err = openImage(filepath.Join(dir, bootstrapFile)); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.unloadLocked(m))
		}
	}()
	if err := m.image.CheckBlobs(r.Blobs); err != nil {
		return nil, err
	}
	m.wish = newWish(m.image)
	for _, b := range m.image.Blobs() {
		l := layout{b}
		it, err := s.shelf.get(l, r.ID, s.cfg.Fetch, device.Options{Events: s.events(m, b), Traffic: s.traffic}, s.darterd, place{r.Registry, r.Repository, r.Manifest})
		if err != nil {
			return nil, err
		}
		m.blobs = append(m.blobs, &held{item: it})
		s.fs.Add(it.name, it.device)
	}
	return m, nil
}

// unloadLocked lets go of what loadLocked took.
func (s *Server) unloadLocked(m *mounted) error {
	var errs []error
	for _, b := range m.blobs {
		errs = append(errs, s.shelf.put(b.item, m.ID, func() { s.fs.Remove(b.name) }))
	}
	m.blobs = nil
	return errors.Join(append(errs, m.file.Close())...)
}

// attachLocked mounts an image at its mountpoint, in place of what may be there. A blob
// that is complete is given to the kernel as the plain file that it is.
func (s *Server) attachLocked(m *mounted) error {
	if err := mount.Unmount(m.Mountpoint); err != nil {
		return err
	}
	img := mount.Image{Bootstrap: filepath.Join(m.dir, bootstrapFile)}
	for _, b := range m.blobs {
		b.plain = b.device.Complete()
		path := filepath.Join(s.fuseDir(), b.name)
		if b.plain {
			path = b.device.Path()
		}
		img.Devices = append(img.Devices, path)
	}
	return s.method.Mount(img, m.Mountpoint)
}

// Unmount does what client.Client's Unmount says.
func (s *Server) Unmount(_ context.Context, id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.mounts[id]
	if m == nil {
		return nil
	}
	if err := mount.Unmount(m.Mountpoint); err != nil {
		return fmt.Errorf("unmount %s: %w", id, err)
	}
	delete(s.mounts, id)
	err := errors.Join(os.RemoveAll(m.dir), s.unloadLocked(m))
	s.log.WithFields(log.Fields{"mount": id, "image": m.Image}).Info("image is unmounted")
	if err != nil {
		return fmt.Errorf("unmount %s: %w", id, err)
	}
	return nil
}

// List returns the live mounts, by ID.
func (s *Server) List() []client.Mount {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := []client.Mount{}
	for _, id := range slices.Sorted(maps.Keys(s.mounts)) {
		m := s.mounts[id]
		out := client.Mount{ID: id, Image: m.Image, Mountpoint: m.Mountpoint, Since: m.Since, Blobs: []client.Blob{}}
		for i, b := range m.blobs {
			have, chunks := b.device.Held()
			out.Blobs = append(out.Blobs, client.Blob{Digest: m.image.Blobs()[i].Digest(), Size: b.device.Size(), Chunks: chunks, Held: have, Plain: b.plain})
		}
		all = append(all, out)
	}
	return all
}
