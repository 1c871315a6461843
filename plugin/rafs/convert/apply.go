package convert

import (
	"archive/tar"
	"context"
	"fmt"
	"io"
	"path"
	"path/filepath"
	"strings"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/darter-p2p/darter/plugin/rafs/format"
)

// nameMax is the longest name of a file, in bytes.
const nameMax = format.MaxName

// contents takes the bytes of regular files: it returns how many there were and the
// chunks they became.
type contents interface {
	file(ctx context.Context, r io.Reader) (size uint64, chunks []uint32, err error)
}

// applier makes the tree of one layer out of its archive. The rules, and the oddities,
// are those of plugin/layer, and so of containerd.
type applier struct {
	ctx     context.Context
	root    *node
	bottom  bool // the lowest layer: whiteouts act at once and leave no mark
	data    contents
	budget  *budget
	entries int
	dirs    []dirTime // in the archive's order
}

// dirTime is a directory's time, set at the end: then as the whole archive left it.
type dirTime struct {
	name    string
	seconds int64
	nanos   uint32
}

// apply reads the archive to its end mark, or to the end of r.
func (a *applier) apply(r io.Reader) error {
	tr := tar.NewReader(r)
	for {
		if a.ctx.Err() != nil {
			return context.Cause(a.ctx)
		}
		hdr, err := tr.Next()
		if err == io.EOF { // the end of an archive
			break
		}
		if err != nil {
			return fmt.Errorf("entry %d: %w", a.entries+1, invalid(err))
		}
		a.entries++
		if err := a.entry(hdr, tr); err != nil {
			return fmt.Errorf("entry %d, %q: %w", a.entries, shown(hdr.Name), invalid(err))
		}
	}
	for _, d := range a.dirs {
		rel, err := resolve(a.root, d.name)
		n := find(a.root, rel)
		if err == nil && (n == nil || n.isWhiteout()) {
			err = unix.ENOENT
		}
		if err != nil {
			return fmt.Errorf("times of %q: %w", shown(d.name), invalid(err))
		}
		n.seconds, n.nanos = d.seconds, d.nanos
	}
	return nil
}

// entry applies one entry.
func (a *applier) entry(hdr *tar.Header, r io.Reader) error {
	hdr.Name = filepath.Clean(hdr.Name)
	parent, base := filepath.Split(hdr.Name)
	rel, err := resolve(a.root, parent)
	if err != nil {
		return err
	}
	if base == "" || base == "." || base == ".." {
		return nil // the root itself, which is not the layer's to change
	}
	if len(rel)+len(base)+2 >= unix.PathMax || len(base) > nameMax {
		return unix.ENAMETOOLONG
	}
	seconds, nanos := timeOf(hdr)
	dir, err := a.reach(rel, seconds, nanos)
	if err != nil {
		return err
	}
	if base == opaqueName || strings.HasPrefix(base, whiteoutPrefix) {
		return a.whiteout(dir, base)
	}
	base = strings.Clone(base)
	if hdr.Typeflag == tar.TypeDir {
		if err := a.directory(dir, base, hdr); err != nil {
			return err
		}
		a.dirs = append(a.dirs, dirTime{strings.Clone(hdr.Name), seconds, nanos})
		return a.budget.take(0, len(hdr.Name))
	}
	return a.leaf(dir, base, hdr, r)
}

// directory applies the entry of a directory. One that is there keeps what is in it.
func (a *applier) directory(dir *node, base string, hdr *tar.Header) error {
	n := dir.children[base]
	if n == nil || !n.isDir() {
		if err := a.count(base); err != nil {
			return err
		}
		n = newDir()
		dir.set(base, n)
	}
	n.named = true
	return a.attributes(n, hdr)
}

// leaf makes anything but a directory, in the place of what has that name.
func (a *applier) leaf(dir *node, base string, hdr *tar.Header, r io.Reader) error {
	if old := dir.children[base]; old != nil && (old.isDir() || hdr.Typeflag != tar.TypeLink) {
		delete(dir.children, base)
	}
	if hdr.Typeflag == tar.TypeLink {
		return a.link(dir, base, hdr)
	}
	n := &node{}
	switch hdr.Typeflag {
	case tar.TypeReg:
		n.mode = format.ModeRegular
		var err error
		if n.size, n.chunks, err = a.data.file(a.ctx, r); err != nil {
			return err
		}
	case tar.TypeSymlink:
		if hdr.Linkname == "" {
			return fmt.Errorf("make symbolic link: %w", unix.ENOENT)
		}
		if len(hdr.Linkname) >= unix.PathMax {
			return fmt.Errorf("make symbolic link: %w", unix.ENAMETOOLONG)
		}
		n.mode, n.target = format.ModeSymlink|0o777, strings.Clone(hdr.Linkname)
	case tar.TypeChar, tar.TypeBlock, tar.TypeFifo:
		n.mode = map[byte]uint16{
			tar.TypeChar: format.ModeChar, tar.TypeBlock: format.ModeBlock, tar.TypeFifo: format.ModeFIFO,
		}[hdr.Typeflag]
		if hdr.Typeflag != tar.TypeFifo {
			var err error
			if n.device, err = deviceOf(hdr); err != nil {
				return err
			}
		}
		if hdr.Typeflag == tar.TypeChar && n.device == 0 {
			n = whiteout() // what overlayfs takes it for
		}
	case tar.TypeXGlobalHeader:
		return nil // as containerd: it took the place, and is nothing
	default:
		return fmt.Errorf("entry type %q: %w", hdr.Typeflag, errdefs.ErrNotImplemented)
	}
	if err := a.count(base + n.target); err != nil {
		return err
	}
	dir.set(base, n)
	if n.isWhiteout() {
		return nil
	}
	return a.attributes(n, hdr)
}

// link gives a file another name. A symbolic link on the way to it is followed inside
// the root; one that is the target gets the name itself.
func (a *applier) link(dir *node, base string, hdr *tar.Header) error {
	parent, name := filepath.Split(hdr.Linkname)
	rel, err := resolve(a.root, parent)
	if err != nil {
		return fmt.Errorf("link to %q: %w", shown(hdr.Linkname), err)
	}
	target := path.Join("/", rel, name)[1:]
	n := find(a.root, target)
	switch {
	case target == "" || n != nil && n.isDir():
		return fmt.Errorf("link to %q: is a directory", shown(hdr.Linkname))
	case n == nil || n == dir.children[base] && dir == find(a.root, path.Dir("/" + target)[1:]) && path.Base(target) == base:
		return fmt.Errorf("link to %q: %w", shown(hdr.Linkname), unix.ENOENT)
	case n.isWhiteout():
		return fmt.Errorf("link to %q: a whiteout", shown(hdr.Linkname))
	}
	if err := a.count(base); err != nil {
		return err
	}
	dir.set(base, n)
	return a.attributes(n, hdr)
}

// count takes a name, and the inode that comes with it, from the budget.
func (a *applier) count(name string) error { return a.budget.take(1, len(name)) }
