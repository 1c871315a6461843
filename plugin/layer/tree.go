package layer

import (
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/containerd/continuity/fs"
	"golang.org/x/sys/unix"
)

// tree is the directory under construction. Every change is made by name in an open
// directory, and that was reached from the root without following a symbolic link: a
// name that an archive brings cannot lead out, whatever the code above believes.
type tree struct {
	dir  string // the root, absolute and clean
	fd   int    // the root, open
	root *node

	at   *node // the directory that atFD is
	atFD int
}

func openTree(dir string) (*tree, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", dir, err)
	}
	root := new(node)
	return &tree{dir: dir, fd: fd, root: root, at: root, atFD: fd}, nil
}

func (t *tree) close() {
	t.leave()
	unix.Close(t.fd) //nolint:errcheck // a directory that was only read
}

// leave goes back to the root.
func (t *tree) leave() {
	if t.atFD != t.fd {
		unix.Close(t.atFD) //nolint:errcheck // a directory that was only read
	}
	t.at, t.atFD = t.root, t.fd
}

// enter opens the directory and returns it. The descriptor is the tree's, good until the
// next enter.
func (t *tree) enter(n *node) (int, error) {
	if t.at == n {
		return t.atFD, nil
	}
	if n == t.root {
		t.leave()
		return t.fd, nil
	}
	var fd int
	var err error
	if n.parent == t.at {
		fd, err = openBelow(t.atFD, n.name)
	} else {
		fd, err = openBelow(t.fd, n.path())
	}
	if err != nil {
		return -1, fmt.Errorf("open directory: %w", err)
	}
	t.leave()
	t.at, t.atFD = n, fd
	return fd, nil
}

// openBelow opens the directory path, which is below root without a symbolic link.
func openBelow(root int, path string) (int, error) {
	const flags = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC
	if !strings.Contains(path, "/") {
		return unix.Openat(root, path, flags, 0)
	}
	fd, err := unix.Openat2(root, path, &unix.OpenHow{
		Flags: flags, Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS,
	})
	if !errors.Is(err, unix.ENOSYS) && !errors.Is(err, unix.EPERM) {
		return fd, err
	}
	// Before Linux 5.6, or where a filter forbids the call: one name at a time.
	fd = root
	for path != "" {
		var name string
		name, path, _ = strings.Cut(path, "/")
		next, err := unix.Openat(fd, name, flags, 0)
		if fd != root {
			unix.Close(fd) //nolint:errcheck // a directory that was only read
		}
		if err != nil {
			return -1, err
		}
		fd = next
	}
	return fd, nil
}

// resolve returns where path, as an archive gives it, lies: clean and relative, every
// symbolic link of it followed inside the root, "" for the root. What does not exist is
// taken for a directory to come. The rules, and the oddities, are those of containerd.
func (t *tree) resolve(path string) (string, error) {
	if len(t.dir)+1+len(path) >= unix.PathMax {
		return "", unix.ENAMETOOLONG
	}
	if !strings.Contains(path, "..") {
		rel := filepath.Clean("/" + path)[1:]
		known, rest := t.root.find(rel)
		if rest == "" {
			return rel, nil // only directories on the way, as we made them
		}
		next, _, _ := strings.Cut(rest, "/")
		if missing, err := t.missing(known, next); err != nil || missing {
			return rel, err // and then nothing, so no link either
		}
	}
	full, err := fs.RootPath(t.dir, path)
	if err != nil {
		return "", err
	}
	if full == t.dir {
		return "", nil
	}
	return strings.TrimPrefix(strings.TrimPrefix(full, t.dir), "/"), nil
}

// missing reports whether nothing has that name.
func (t *tree) missing(n *node, name string) (bool, error) {
	fd, err := t.enter(n)
	if err != nil {
		return false, err
	}
	var st unix.Stat_t
	err = unix.Fstatat(fd, name, &st, unix.AT_SYMLINK_NOFOLLOW)
	if errors.Is(err, unix.ENOENT) {
		return true, nil
	}
	return false, err
}

// reach returns the directory rel, a resolved path, and makes what is missing of it.
func (t *tree) reach(rel string) (*node, error) {
	n, rest := t.root.find(rel)
	for rest != "" {
		var name string
		name, rest, _ = strings.Cut(rest, "/")
		c, err := t.mkdir(n, name)
		if err != nil {
			if errors.Is(err, unix.EEXIST) {
				err = unix.ENOTDIR // something that is no directory
			}
			return nil, fmt.Errorf("make parent %q: %w", name, err)
		}
		c.implicit = true
		n = c
	}
	return n, nil
}

// mkdir makes a directory with the mode of one that no entry describes.
func (t *tree) mkdir(n *node, name string) (*node, error) {
	fd, err := t.enter(n)
	if err != nil {
		return nil, err
	}
	if err := unix.Mkdirat(fd, name, 0o755); err != nil {
		return nil, err
	}
	if err := unix.Fchmodat(fd, name, 0o755, 0); err != nil { // past the umask
		return nil, err
	}
	n.changed = true
	return n.add(name), nil
}

// remove removes name and all below it, if it is there.
func (t *tree) remove(n *node, name string) error {
	fd, err := t.enter(n)
	if err != nil {
		return err
	}
	n.changed = true
	if n.child(name) == nil {
		if err := unix.Unlinkat(fd, name, 0); err != nil && !errors.Is(err, unix.ENOENT) {
			return err
		}
		return nil
	}
	n.forget(name)
	return removeAll(fd, name)
}

// inFD is a path to name in an open directory, for calls that take no descriptor.
func inFD(fd int, name string) string { return "/proc/self/fd/" + strconv.Itoa(fd) + "/" + name }
