package layer

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/containerd/continuity/fs"
	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

// The notation of Result.Implicit: a path without a slash at its end is a directory that
// no entry describes. A slash says that nothing was made in it, so that its time of
// modification is the parent's, too. Two slashes: an entry described it after it was made,
// so that only the parent's extended attributes are missing.
const (
	untouched = "/"
	described = "//"
)

// implicit lists the directories that a parent has a say in, parents first.
func (t *tree) implicit() []string {
	var found []string
	var walk func(n *node, path string)
	walk = func(n *node, path string) {
		for _, name := range slices.Sorted(maps.Keys(n.children)) {
			c := n.children[name]
			p := path + name
			switch {
			case c.implicit && c.named:
				found = append(found, p+described)
			case c.implicit && !c.changed:
				found = append(found, p+untouched)
			case c.implicit:
				found = append(found, p)
			}
			walk(c, p+"/")
		}
	}
	walk(t.root, "")
	return found
}

// Settle gives the directories that Unpack made without a description (Result.Implicit)
// the owner, mode, times and extended attributes of the same directory in the layers
// below, as containerd does when it makes them. parents are the unpacked directories of
// those layers, the nearest first, each settled already.
//
// It may be repeated. ErrFailedPrecondition means that a parent has a default ACL, which
// the files of this layer should have inherited while they were made: unpack it over its
// parents instead. ErrInvalidArgument: implicit does not belong to dir.
func Settle(ctx context.Context, dir string, implicit, parents []string) error {
	if len(implicit) == 0 || len(parents) == 0 {
		return nil
	}
	root, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("settle layer: open %s: %w", dir, err)
	}
	defer unix.Close(root) //nolint:errcheck // a directory that was only read
	for _, entry := range implicit {
		if ctx.Err() != nil {
			return fmt.Errorf("settle layer: %w", context.Cause(ctx))
		}
		if err := settle(root, entry, parents); err != nil {
			return fmt.Errorf("settle layer: %q: %w", shown(entry), err)
		}
	}
	return nil
}

func settle(root int, entry string, parents []string) error {
	path := strings.TrimRight(entry, "/")
	if path == "" {
		return fmt.Errorf("no path: %w", errdefs.ErrInvalidArgument)
	}
	fd, err := openBelow(root, path)
	if err != nil {
		return fmt.Errorf("open: %w: %w", err, errdefs.ErrInvalidArgument)
	}
	defer unix.Close(fd) //nolint:errcheck // its attributes are set by calls of their own
	below, st, err := lookup(parents, path)
	if err != nil {
		return err
	}
	only := entry[len(path):]
	if below == "" {
		if only == described {
			return nil
		}
		return inheritGroup(root, fd, path)
	}
	if only != described {
		if err := copyAttributes(fd, st, only == untouched); err != nil {
			return err
		}
	}
	return copyXattrs(fd, below)
}

// lookup finds the directory in the layers below: the first that has the name decides,
// and it has no say if it has something else there. It returns "" if there is none.
func lookup(parents []string, path string) (string, *syscall.Stat_t, error) {
	for _, parent := range parents {
		p, err := resolveBelow(parent, path)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return "", nil, fmt.Errorf("look below: %w", err)
		}
		fi, err := os.Lstat(p)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return "", nil, fmt.Errorf("look below: %w", err)
		}
		if !fi.IsDir() {
			return "", nil, nil
		}
		return p, fi.Sys().(*syscall.Stat_t), nil
	}
	return "", nil, nil
}

// resolveBelow follows symbolic links inside the parent, as containerd does. That takes
// long for deep paths, so the kernel is asked first whether there are any.
func resolveBelow(parent, path string) (string, error) {
	root, err := unix.Open(parent, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", fmt.Errorf("open %s: %w", parent, errParent(err))
	}
	defer unix.Close(root) //nolint:errcheck // a directory that was only read
	fd, err := openBelow(root, path)
	if err == nil {
		unix.Close(fd) //nolint:errcheck // a directory that was only read
		return filepath.Join(parent, path), nil
	}
	if errors.Is(err, unix.ENOENT) {
		return "", err
	}
	return fs.RootPath(parent, path)
}

// errParent keeps a missing parent from being taken for a missing directory in it.
func errParent(err error) error {
	return fmt.Errorf("%s: %w", err.Error(), errdefs.ErrFailedPrecondition)
}

func copyAttributes(fd int, st *syscall.Stat_t, times bool) error {
	if err := unix.Fchown(fd, int(st.Uid), int(st.Gid)); err != nil {
		return fmt.Errorf("owner: %w", err)
	}
	if err := unix.Fchmod(fd, st.Mode&0o7777); err != nil {
		return fmt.Errorf("mode: %w", err)
	}
	ts := []unix.Timespec{{Sec: st.Atim.Sec, Nsec: st.Atim.Nsec}, {Nsec: unix.UTIME_OMIT}}
	if times {
		ts[1] = unix.Timespec{Sec: st.Mtim.Sec, Nsec: st.Mtim.Nsec}
	}
	if err := unix.UtimesNanoAt(fd, ".", ts, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("times: %w", err)
	}
	return nil
}

// inheritGroup does what the kernel does when a directory is made in one with setgid.
func inheritGroup(root, fd int, path string) error {
	parent := root
	if i := strings.LastIndexByte(path, '/'); i >= 0 {
		var err error
		if parent, err = openBelow(root, path[:i]); err != nil {
			return fmt.Errorf("open parent: %w", err)
		}
		defer unix.Close(parent) //nolint:errcheck // a directory that was only read
	}
	var st unix.Stat_t
	if err := unix.Fstat(parent, &st); err != nil {
		return fmt.Errorf("stat parent: %w", err)
	}
	if st.Mode&unix.S_ISGID == 0 {
		return nil
	}
	if err := unix.Fchown(fd, -1, int(st.Gid)); err != nil {
		return fmt.Errorf("group: %w", err)
	}
	return nil
}
