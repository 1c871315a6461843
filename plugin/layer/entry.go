package layer

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"math"
	"path"
	"path/filepath"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

// directory applies the entry of a directory. One that is there keeps what is in it.
func (a *applier) directory(dir *node, base string, hdr *tar.Header) error {
	n := dir.child(base)
	if n == nil {
		var err error
		n, err = a.tree.mkdir(dir, base)
		if errors.Is(err, unix.EEXIST) {
			if err = a.tree.remove(dir, base); err == nil {
				n, err = a.tree.mkdir(dir, base)
			}
		}
		if err != nil {
			return fmt.Errorf("make directory: %w", err)
		}
	}
	n.named = true
	fd, err := a.tree.enter(dir)
	if err != nil {
		return err
	}
	return attributes(fd, base, hdr)
}

// leaf makes anything but a directory, in the place of what has that name.
func (a *applier) leaf(dir *node, base string, hdr *tar.Header, r io.Reader) error {
	err := a.create(dir, base, hdr, r)
	if errors.Is(err, unix.EEXIST) {
		if err = a.tree.remove(dir, base); err == nil {
			err = a.create(dir, base, hdr, r)
		}
	}
	return err
}

// create makes a new name. EEXIST means that nothing was done and nothing read.
func (a *applier) create(dir *node, base string, hdr *tar.Header, r io.Reader) error {
	if hdr.Typeflag == tar.TypeLink {
		return a.link(dir, base, hdr)
	}
	fd, err := a.tree.enter(dir)
	if err != nil {
		return err
	}
	dir.changed = true
	switch hdr.Typeflag {
	case tar.TypeReg:
		return a.file(fd, base, hdr, r)
	case tar.TypeSymlink:
		err = unix.Symlinkat(hdr.Linkname, fd, base)
	case tar.TypeChar, tar.TypeBlock, tar.TypeFifo:
		err = mknod(fd, base, hdr)
	case tar.TypeXGlobalHeader:
		return a.tree.remove(dir, base) // as containerd: it takes the place, and is nothing
	default:
		return fmt.Errorf("entry type %q: %w", hdr.Typeflag, errdefs.ErrNotImplemented)
	}
	if err != nil {
		return fmt.Errorf("make %s: %w", kinds[hdr.Typeflag], err)
	}
	return attributes(fd, base, hdr)
}

// kinds are the words for messages.
var kinds = map[byte]string{
	tar.TypeSymlink: "symbolic link", tar.TypeChar: "device", tar.TypeBlock: "device", tar.TypeFifo: "fifo",
}

func mknod(fd int, base string, hdr *tar.Header) error {
	for _, n := range []int64{hdr.Devmajor, hdr.Devminor} {
		if n < 0 || n > math.MaxUint32 {
			return fmt.Errorf("device number %d: %w", n, unix.EINVAL)
		}
	}
	mode := map[byte]uint32{
		tar.TypeChar: unix.S_IFCHR, tar.TypeBlock: unix.S_IFBLK, tar.TypeFifo: unix.S_IFIFO,
	}[hdr.Typeflag]
	dev := unix.Mkdev(uint32(hdr.Devmajor), uint32(hdr.Devminor))
	return unix.Mknodat(fd, base, mode|perm(hdr), int(dev))
}

// link makes a hard link. A symbolic link on the way to its target is followed inside the
// root; one that is the target is linked itself.
func (a *applier) link(dir *node, base string, hdr *tar.Header) error {
	parent, name := filepath.Split(hdr.Linkname)
	rel, err := a.tree.resolve(parent)
	if err != nil {
		return fmt.Errorf("link to %q: %w", shown(hdr.Linkname), err)
	}
	target := path.Join("/", rel, name)[1:]
	parent, name = path.Split(target)
	from, rest := a.tree.root.find(path.Clean("/" + parent)[1:])
	if rest != "" {
		return fmt.Errorf("link to %q: %w", shown(hdr.Linkname), unix.ENOENT)
	}
	if name == "" || from.child(name) != nil {
		return invalid(fmt.Errorf("link to %q: is a directory", shown(hdr.Linkname)))
	}
	fromFD, err := a.tree.enter(from)
	if err != nil {
		return err
	}
	if from != dir { // enter gives back what it gave before: keep this one
		if fromFD, err = unix.FcntlInt(uintptr(fromFD), unix.F_DUPFD_CLOEXEC, 0); err != nil {
			return fmt.Errorf("keep directory: %w", err)
		}
		defer unix.Close(fromFD) //nolint:errcheck // a directory that was only read
	}
	fd, err := a.tree.enter(dir)
	if err != nil {
		return err
	}
	dir.changed = true
	if err := unix.Linkat(fromFD, name, fd, base, 0); err != nil {
		return fmt.Errorf("link to %q: %w", shown(hdr.Linkname), err)
	}
	return attributes(fd, base, hdr)
}
