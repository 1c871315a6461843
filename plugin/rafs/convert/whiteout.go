package convert

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// Names of the image specification.
const (
	whiteoutPrefix = ".wh."
	opaqueName     = ".wh..wh..opq"
)

// whiteout applies a marker: it is kept for the merge, or acts at once where nothing is
// below.
func (a *applier) whiteout(dir *node, base string) error {
	hides := strings.TrimPrefix(base, whiteoutPrefix)
	switch {
	case base == opaqueName && a.bottom:
		if !dir.opaque { // once for a directory, as in containerd
			dir.opaque = true
			clearUnnamed(dir)
		}
		return nil
	case base == opaqueName:
		dir.opaque = true
		return nil
	case hides == "" || hides == "." || hides == "..":
		return fmt.Errorf("whiteout of %q", hides)
	case a.bottom:
		delete(dir.children, hides)
		return nil
	case dir.children[hides] != nil:
		return fmt.Errorf("whiteout of %q: %w", shown(hides), unix.EEXIST)
	}
	if err := a.count(hides); err != nil {
		return err
	}
	dir.set(strings.Clone(hides), whiteout())
	return nil
}

// clearUnnamed applies an opaque marker of the lowest layer. What the archive named
// stays: that leaves only directories that no entry made.
func clearUnnamed(dir *node) {
	for name, c := range dir.children {
		switch {
		case !c.isDir():
		case c.named:
			clearUnnamed(c)
		default:
			delete(dir.children, name)
		}
	}
}
