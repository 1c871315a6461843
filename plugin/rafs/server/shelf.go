package server

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/darter-p2p/darter/internal/config"
	"github.com/darter-p2p/darter/plugin/rafs/device"
)

// shelf is the devices that are held, in use or not, and their space.
type shelf struct {
	dir  string
	cfg  CacheConfig
	boot device.Boot

	mu    sync.Mutex
	items map[string]*item
}

// item is one device's directory.
type item struct {
	name   string
	size   int64 // what it takes when it is whole, in bytes
	used   time.Time
	users  []string       // the mounts that need it
	device *device.Device // nil while nobody does
	source *blob
}

// openShelf takes up what is held.
func openShelf(dir string, cfg CacheConfig, boot device.Boot) (*shelf, error) {
	s := &shelf{dir: dir, cfg: cfg, boot: boot, items: map[string]*item{}}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		var st unix.Stat_t
		path := filepath.Join(dir, e.Name())
		if unix.Stat(filepath.Join(path, "data"), &st) != nil || unix.Access(filepath.Join(path, "journal"), unix.F_OK) != nil {
			if err := os.RemoveAll(path); err != nil { // half made
				return nil, err
			}
			continue
		}
		s.items[e.Name()] = &item{name: e.Name(), size: st.Blocks * 512, used: time.Unix(st.Mtim.Unix())}
	}
	return s, nil
}

// get returns the device of a layout for a mount, making room for it. It is
// ErrResourceExhausted where the blobs of live mounts leave none.
func (s *shelf) get(l layout, user string, cfg device.Config, o device.Options, from *darterd, at place) (*item, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	name := l.name()
	it := s.items[name]
	if it == nil || it.device == nil {
		if err := s.roomLocked(name, l.Size()); err != nil {
			return nil, err
		}
		if it = s.items[name]; it == nil {
			it = &item{name: name}
			s.items[name] = it
		}
		it.source = &blob{from: from, digest: l.Digest()}
		it.source.addPlace(at)
		o.Boot, o.Fingerprint = s.boot, l.fingerprint()
		d, err := device.Open(filepath.Join(s.dir, name), l, it.source, cfg, o)
		if err != nil {
			return nil, err
		}
		it.device, it.size = d, l.Size()
	}
	it.source.addPlace(at)
	it.used = time.Now()
	if !slices.Contains(it.users, user) {
		it.users = append(it.users, user)
	}
	return it, nil
}

// roomLocked gives back devices that nobody uses until there is room for one more.
func (s *shelf) roomLocked(name string, size int64) error {
	for {
		var sum int64
		var oldest *item
		var users []string
		for _, it := range s.items {
			if it.name == name {
				continue
			}
			sum += it.size
			if it.device != nil {
				users = append(users, it.users...)
			} else if oldest == nil || it.used.Before(oldest.used) {
				oldest = it
			}
		}
		full := s.full(name, sum, size)
		if full == "" {
			return nil
		}
		if oldest == nil {
			slices.Sort(users)
			users = slices.Compact(users)
			return fmt.Errorf("no room for blob %.12s of %v: %s, and all that is held is mounted (%s): %w",
				name, config.Bytes(size), full, strings.Join(users, ", "), errdefs.ErrResourceExhausted)
		}
		if err := os.RemoveAll(filepath.Join(s.dir, oldest.name)); err != nil {
			return fmt.Errorf("give back blob %.12s: %w", oldest.name, err)
		}
		delete(s.items, oldest.name)
	}
}

// full says in words why a device of size bytes does not fit beside sum others, "" if
// it does.
func (s *shelf) full(name string, sum, size int64) string {
	if quota := int64(s.cfg.Quota); quota > 0 && sum+size > quota {
		return fmt.Sprintf("cache.quota is %v", s.cfg.Quota)
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(s.dir, &fs); err != nil {
		return err.Error()
	}
	var st unix.Stat_t
	if unix.Stat(filepath.Join(s.dir, name, "data"), &st) == nil {
		size = max(0, size-st.Blocks*512)
	}
	if free := int64(fs.Bavail) * fs.Bsize; free-size < int64(s.cfg.Floor) {
		return fmt.Sprintf("%v of the disk are free and cache.floor is %v", config.Bytes(free), s.cfg.Floor)
	}
	return ""
}

// put takes a mount's hold on a device away. The last closes it, after unused was
// called; what is there stays until its space is needed.
func (s *shelf) put(it *item, user string, unused func()) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	it.users = slices.DeleteFunc(it.users, func(u string) bool { return u == user })
	if len(it.users) > 0 || it.device == nil {
		return nil
	}
	it.device.Stop()
	unused()
	err := it.device.Close()
	var st unix.Stat_t
	if unix.Stat(it.device.Path(), &st) == nil {
		it.size = st.Blocks * 512
	}
	it.device, it.used = nil, time.Now()
	return err
}

// usage returns the space of all devices, and of those in use, in bytes.
func (s *shelf) usage() (all, pinned int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, it := range s.items {
		all += it.size
		if it.device != nil {
			pinned += it.size
		}
	}
	return all, pinned
}

// stop ends the fetches of all devices and makes what is there sure. Their files stay
// open: they may still be read.
func (s *shelf) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, it := range s.items {
		if it.device != nil {
			it.device.Stop()
		}
	}
}
