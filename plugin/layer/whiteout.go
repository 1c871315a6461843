package layer

import (
	"archive/tar"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Names of the image specification.
const (
	whiteoutPrefix = ".wh."
	opaqueName     = ".wh..wh..opq"
)

// opaqueXattr makes overlayfs hide what lower layers have in a directory.
const opaqueXattr = "trusted.overlay.opaque"

// marker is what a name means for the layers below: nothing, one name hidden, or all of
// its directory.
type marker struct {
	hides  string
	opaque bool
}

// markOf reads a name. A whiteout of nothing, or of the directory itself, is invalid.
func markOf(base string) (marker, error) {
	if base == opaqueName {
		return marker{opaque: true}, nil
	}
	name, ok := strings.CutPrefix(base, whiteoutPrefix)
	if !ok {
		return marker{}, nil
	}
	if name == "" || name == "." || name == ".." {
		return marker{}, invalid(fmt.Errorf("whiteout of %q", name))
	}
	return marker{hides: name}, nil
}

// whiteout applies a marker: as overlayfs keeps it, or at once where nothing is below.
func (a *applier) whiteout(dir *node, m marker, hdr *tar.Header) error {
	switch {
	case a.bottom && m.opaque:
		return a.tree.clear(dir)
	case a.bottom:
		return a.tree.remove(dir, m.hides)
	}
	fd, err := a.tree.enter(dir)
	if err != nil {
		return err
	}
	if m.opaque {
		if err := unix.Fsetxattr(fd, opaqueXattr, []byte("y"), 0); err != nil {
			return fmt.Errorf("make opaque: %w", err)
		}
		return nil
	}
	dir.changed = true
	if err := unix.Mknodat(fd, m.hides, unix.S_IFCHR, 0); err != nil {
		return fmt.Errorf("make whiteout: %w", err)
	}
	if err := unix.Fchownat(fd, m.hides, hdr.Uid, hdr.Gid, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("owner of whiteout %d:%d: %w", hdr.Uid, hdr.Gid, err)
	}
	return nil
}

// clear applies an opaque marker of a bottom layer, once for a directory. What the archive
// named stays; below, that leaves only directories that no entry made.
func (t *tree) clear(dir *node) error {
	if dir.opaque {
		return nil
	}
	dir.opaque = true
	return t.clearBelow(dir)
}

func (t *tree) clearBelow(dir *node) error {
	for _, name := range slices.Sorted(maps.Keys(dir.children)) {
		c := dir.child(name)
		var err error
		if c.named {
			err = t.clearBelow(c)
		} else {
			err = t.remove(dir, name)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// removeAll removes a directory below an open one.
func removeAll(fd int, name string) error {
	if err := os.RemoveAll(inFD(fd, name)); err != nil {
		return fmt.Errorf("remove: %w", err)
	}
	return nil
}
