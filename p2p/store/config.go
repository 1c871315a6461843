package store

import (
	"fmt"
	"path/filepath"
	"time"

	"github.com/containerd/errdefs"

	"github.com/darter-p2p/darter/p2p/store/vfs"
)

// Space is how much of the disk a store may use, and for how long.
type Space struct {
	// Quota is what the tasks may reserve together, in bytes; 0 = only Floor bounds
	// them. A task larger than this is never accepted.
	Quota int64
	// Floor is the space of the file system that is left to others, in bytes. Below
	// it nothing new is accepted and unused tasks are evicted. On a Kubernetes node
	// it belongs above the kubelet's eviction threshold, so that darter gives its
	// cache back before the kubelet evicts pods.
	Floor int64
	// TTL is how long a task that nobody uses is kept; 0 = until its space is needed.
	TTL time.Duration
}

// Config says where a Disk keeps tasks and how much of the disk it may use.
type Config struct {
	// Root is the directory of the store; it is made if its parent exists. One
	// process at a time uses it.
	Root string
	// Space is what it begins with; SetSpace changes it.
	Space
	// SyncBytes is how much of a task is written before it is made durable, in
	// bytes. A crash costs verifying at most about this much of each task again.
	SyncBytes int64
	// SyncInterval is how long written bytes wait to be made durable at the most.
	// TTL and Floor are looked after at the same pace.
	SyncInterval time.Duration
	// FS is the file system; nil = the operating system's.
	FS vfs.FS
}

// Default returns the configuration for a node: no quota, 10 GiB left to others,
// kept until the space is needed, synced every 64 MiB or 2 s.
func Default() Config {
	return Config{
		Root:         "/var/lib/darter/pieces",
		Space:        Space{Floor: 10 << 30},
		SyncBytes:    64 << 20,
		SyncInterval: 2 * time.Second,
	}
}

// Validate reports what is wrong with the configuration, as ErrInvalidArgument.
func (c Config) Validate() error {
	switch {
	case !filepath.IsAbs(c.Root):
		return bad("root %q is not an absolute path", c.Root)
	case c.SyncBytes <= 0:
		return bad("sync_bytes of %d, want more than 0", c.SyncBytes)
	case c.SyncInterval <= 0:
		return bad("sync_interval of %s, want more than 0", c.SyncInterval)
	}
	return c.Space.Validate()
}

// Validate reports what is wrong with the space, as ErrInvalidArgument.
func (s Space) Validate() error {
	switch {
	case s.Quota < 0:
		return bad("quota of %d bytes, want 0 or more", s.Quota)
	case s.Floor < 0:
		return bad("floor of %d bytes, want 0 or more", s.Floor)
	case s.TTL < 0:
		return bad("ttl of %s, want 0 or more", s.TTL)
	}
	return nil
}

func bad(format string, args ...any) error {
	return fmt.Errorf("store: "+format+": %w", append(args, errdefs.ErrInvalidArgument)...)
}
