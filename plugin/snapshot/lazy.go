package snapshot

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/core/snapshots/storage"
	"github.com/containerd/errdefs"
	"github.com/containerd/log"

	"github.com/darter-p2p/darter/plugin/rafs/client"
)

// Mounter mounts RAFS images; a *client.Client is one. Its methods may be called
// concurrently.
type Mounter interface {
	// Mount is idempotent. Another request with the same ID is ErrAlreadyExists.
	Mount(ctx context.Context, r client.Request) error
	// Unmount of what is not mounted is no error.
	Unmount(ctx context.Context, id string) error
	List(ctx context.Context) ([]client.Mount, error)
	Status(ctx context.Context) (client.Status, error)
}

// mountWait bounds one request to the mount server.
const mountWait = 30 * time.Second

// lazy keeps the mounts of the lazy images that have containers: a bootstrap layer's
// snapshot is mounted for the first container above it, until the last one goes.
type lazy struct {
	mounter Mounter // nil = this node has no mount server
	shelf   *shelf
	prefix  string // of the IDs: one mount server can serve several darterds

	mu    sync.Mutex
	locks map[string]*idLock // by snapshot ID
}

// idLock keeps what is done to one mount in order.
type idLock struct {
	sync.Mutex
	users int
}

func newLazy(m Mounter, s *shelf) *lazy {
	sum := sha256.Sum256([]byte(s.root))
	return &lazy{mounter: m, shelf: s, prefix: hex.EncodeToString(sum[:4]) + "-", locks: map[string]*idLock{}}
}

// lock takes the mount of a snapshot; the caller calls what it returns.
func (z *lazy) lock(id string) (unlock func()) {
	z.mu.Lock()
	l := z.locks[id]
	if l == nil {
		l = &idLock{}
		z.locks[id] = l
	}
	l.users++
	z.mu.Unlock()
	l.Lock()
	return func() {
		l.Unlock()
		z.mu.Lock()
		defer z.mu.Unlock()
		if l.users--; l.users == 0 {
			delete(z.locks, id)
		}
	}
}

func (z *lazy) mountpoint(id string) string { return filepath.Join(z.shelf.root, "rafs", id) }

// ready says why lazy images cannot be used now, nil when they can.
func (z *lazy) ready(ctx context.Context) error {
	if z.mounter == nil {
		return fmt.Errorf("this is a Nydus image, and rafs.socket names no mount server (darter-rafs): %w", errdefs.ErrNotImplemented)
	}
	ctx, cancel := context.WithTimeout(ctx, mountWait)
	defer cancel()
	s, err := z.mounter.Status(ctx)
	switch {
	case err != nil:
		return fmt.Errorf("this is a Nydus image, and darter-rafs, which mounts them, does not answer: %w", err)
	case s.Mode == client.Refused:
		return fmt.Errorf("this is a Nydus image, which this machine cannot mount (%s): %w", s.Reason, errdefs.ErrFailedPrecondition)
	}
	return nil
}

// base is the bootstrap layer that a container's files come from.
type base struct {
	id   string // of its snapshot
	note note
}

// baseOf returns the nearest bootstrap layer at or below a snapshot; nil where there is none.
func (s *shelf) baseOf(ctx context.Context, name string) (*base, error) {
	return s.find(ctx, name, func(snapshots.Kind) bool { return true })
}

// usedBy is baseOf for a container's snapshot; nil for a layer.
func (s *shelf) usedBy(ctx context.Context, key string) (*base, error) {
	return s.find(ctx, key, func(k snapshots.Kind) bool { return k != snapshots.KindCommitted })
}

func (s *shelf) find(ctx context.Context, first string, counts func(snapshots.Kind) bool) (*base, error) {
	var found *base
	err := s.meta.WithTransaction(ctx, false, func(ctx context.Context) error {
		for name := first; name != ""; {
			id, info, _, err := storage.GetInfo(ctx, name)
			if err != nil {
				return err
			}
			if name == first && !counts(info.Kind) {
				return nil
			}
			if info.Kind == snapshots.KindCommitted {
				n, ok, err := readNote(s.snapshot(id))
				if err != nil {
					return err
				}
				if ok {
					found = &base{id: id, note: n}
					return nil
				}
			}
			name = info.Parent
		}
		return nil
	})
	return found, err
}

// live returns the bootstrap layers that have containers (or views) above them, by ID.
func (s *shelf) live(ctx context.Context) (map[string]*base, error) {
	var names []string
	err := s.meta.WithTransaction(ctx, false, func(ctx context.Context) error {
		return storage.WalkInfo(ctx, func(_ context.Context, i snapshots.Info) error {
			if i.Kind != snapshots.KindCommitted && i.Parent != "" {
				names = append(names, i.Parent)
			}
			return nil
		})
	})
	if errdefs.IsNotFound(err) {
		return nil, nil //nolint:nilnil // no snapshot was ever made
	}
	if err != nil {
		return nil, err
	}
	found, seen := map[string]*base{}, map[string]bool{}
	for _, name := range names {
		if seen[name] {
			continue
		}
		seen[name] = true
		b, err := s.baseOf(ctx, name)
		if errdefs.IsNotFound(err) {
			continue // removed a moment ago
		}
		if err != nil {
			return nil, err
		}
		if b != nil {
			found[b.id] = b
		}
	}
	return found, nil
}

// over returns a container's mounts with the RAFS mount in the place of the layers that
// it stands for, and makes that mount. What has no lazy image below is as it was.
func (z *lazy) over(ctx context.Context, key string, mounts []mount.Mount) ([]mount.Mount, error) {
	b, err := z.shelf.baseOf(ctx, key)
	if err != nil || b == nil {
		return mounts, err
	}
	defer z.lock(b.id)()
	if err := z.mount(ctx, b); err != nil {
		return nil, fmt.Errorf("mount the Nydus image %s: %w", b.note.Image, err)
	}
	return replace(mounts, files(z.shelf.snapshot(b.id)), z.mountpoint(b.id))
}

// mount makes a bootstrap layer's mount. The caller holds its lock.
func (z *lazy) mount(ctx context.Context, b *base) error {
	if z.mounter == nil {
		return z.ready(ctx)
	}
	path, err := b.note.bootstrapOf(z.shelf.snapshot(b.id))
	if err != nil {
		return err
	}
	at := z.mountpoint(b.id)
	if err := os.MkdirAll(at, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	r := client.Request{
		ID: z.prefix + b.id, Bootstrap: path, Mountpoint: at,
		Registry: b.note.Registry, Repository: b.note.Repository, Manifest: b.note.Manifest, Image: b.note.Image, Blobs: b.note.Blobs,
	}
	ctx, cancel := context.WithTimeout(ctx, mountWait)
	defer cancel()
	err = z.mounter.Mount(ctx, r)
	if errdefs.IsAlreadyExists(err) { // of snapshots that were here before these
		if err = z.mounter.Unmount(ctx, r.ID); err == nil {
			err = z.mounter.Mount(ctx, r)
		}
	}
	return err
}

// replace puts the RAFS mount at the place of the directory of a bootstrap layer and all
// that lie below it.
func replace(mounts []mount.Mount, dir, at string) ([]mount.Mount, error) {
	out := make([]mount.Mount, len(mounts))
	done := false
	for i, m := range mounts {
		m.Options = append([]string{}, m.Options...)
		if m.Type == "bind" && m.Source == dir {
			m.Source, done = at, true
		}
		for k, option := range m.Options {
			dirs, ok := strings.CutPrefix(option, "lowerdir=")
			if !ok {
				continue
			}
			all := strings.Split(dirs, ":")
			for n, lower := range all {
				if lower != dir {
					continue
				}
				done = true
				if n == 0 && !hasUpper(m.Options) { // one directory is no overlay
					m = mount.Mount{Type: "bind", Source: at, Options: []string{"ro", "rbind"}}
				} else {
					m.Options[k] = "lowerdir=" + strings.Join(append(all[:n:n], at), ":")
				}
				break
			}
			break
		}
		out[i] = m
	}
	if !done {
		return nil, fmt.Errorf("the mounts %v do not have %s: %w", mounts, dir, errdefs.ErrInternal)
	}
	return out, nil
}

func hasUpper(options []string) bool {
	for _, o := range options {
		if strings.HasPrefix(o, "upperdir=") {
			return true
		}
	}
	return false
}

// release unmounts a bootstrap layer that no container uses any more; nil is none. What
// cannot be unmounted now the next start of darterd unmounts.
func (z *lazy) release(ctx context.Context, b *base) {
	if b == nil || z.mounter == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), mountWait)
	defer cancel()
	defer z.lock(b.id)()
	live, err := z.shelf.live(ctx)
	if err == nil && live[b.id] == nil {
		if err = z.mounter.Unmount(ctx, z.prefix+b.id); err == nil {
			err = z.removeMountpoint(b.id)
		}
	}
	if err != nil {
		log.G(ctx).WithError(err).WithField("image", b.note.Image).Warn("a Nydus image that no container uses is still mounted")
	}
}

func (z *lazy) removeMountpoint(id string) error {
	if err := os.Remove(z.mountpoint(id)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}
