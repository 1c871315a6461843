// Package rootfs compares file trees as a container would see them: names, types,
// modes, owners, times, link counts, contents, devices, extended attributes.
package rootfs

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Tree is what a directory holds: by path, all that is to be seen of the file, in words.
type Tree map[string]string

// Read describes everything below a directory, the directory itself as ".".
func Read(dir string) (Tree, error) {
	tree := Tree{}
	first := map[uint64]string{} // inode → the path that it was seen at first
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		tree[name], err = describe(path, name, first)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read tree: %w", err)
	}
	return tree, nil
}

// recent is how old a directory may be that has no time of its own: it was not in the
// archive, and has the time at which it was unpacked.
const recent = time.Hour

// describe puts one file in words.
func describe(path, name string, first map[uint64]string) (string, error) {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); errors.Is(err, unix.ENOENT) {
		return "listed, but not there", nil // overlayfs lists whiteouts of what no lower layer has
	} else if err != nil {
		return "", &os.PathError{Op: "lstat", Path: path, Err: err}
	}
	var b strings.Builder
	kind := st.Mode & unix.S_IFMT
	fmt.Fprintf(&b, "mode %o owner %d:%d", st.Mode, st.Uid, st.Gid)
	if kind == unix.S_IFDIR && time.Since(time.Unix(st.Mtim.Unix())) < recent {
		b.WriteString(" time recent")
	} else {
		fmt.Fprintf(&b, " time %d.%09d", st.Mtim.Sec, st.Mtim.Nsec)
	}
	if kind != unix.S_IFDIR { // link counts and sizes of directories are the file system's business
		fmt.Fprintf(&b, " size %d links %d", st.Size, st.Nlink)
	}
	switch kind {
	case unix.S_IFREG:
		sum, err := sum(path)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&b, " content %x", sum)
		if st.Nlink > 1 {
			if _, ok := first[st.Ino]; !ok {
				first[st.Ino] = name
			}
			fmt.Fprintf(&b, " same as %s", first[st.Ino])
		}
	case unix.S_IFLNK:
		target, err := os.Readlink(path)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&b, " to %q", target)
	case unix.S_IFCHR, unix.S_IFBLK:
		fmt.Fprintf(&b, " device %d:%d", unix.Major(st.Rdev), unix.Minor(st.Rdev))
	}
	attributes, err := xattrs(path)
	fmt.Fprint(&b, attributes)
	return b.String(), err
}

func sum(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	h := sha256.New()
	_, err = io.Copy(h, file)
	return h.Sum(nil), err
}

// xattrs lists the extended attributes in the order of their names.
func xattrs(path string) (string, error) {
	var names [4096]byte
	n, err := unix.Llistxattr(path, names[:])
	if errors.Is(err, unix.ENOTSUP) {
		return "", nil
	}
	if err != nil {
		return "", &os.PathError{Op: "listxattr", Path: path, Err: err}
	}
	var all []string
	for name := range bytes.SplitSeq(names[:n], []byte{0}) {
		if len(name) == 0 {
			continue
		}
		var value [4096]byte
		n, err := unix.Lgetxattr(path, string(name), value[:])
		if err != nil {
			return "", &os.PathError{Op: "getxattr", Path: path, Err: err}
		}
		all = append(all, fmt.Sprintf(" %s=%x", name, value[:n]))
	}
	slices.Sort(all)
	return strings.Join(all, ""), nil
}

// shown is how many differences Compare puts in words.
const shown = 20

// Compare says what differs between the tree that was got and the one that was
// wanted; nil if nothing.
func Compare(got, want Tree) error {
	var errs []error
	for name, g := range got {
		w, ok := want[name]
		if !ok {
			errs = append(errs, fmt.Errorf("%s: too much: %s", name, g))
		} else if g != w {
			errs = append(errs, fmt.Errorf("%s: %s; want %s", name, g, w))
		}
	}
	for name, w := range want {
		if _, ok := got[name]; !ok {
			errs = append(errs, fmt.Errorf("%s: missing: %s", name, w))
		}
	}
	slices.SortFunc(errs, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	if len(errs) > shown {
		errs = append(errs[:shown], fmt.Errorf("and %d more", len(errs)-shown))
	}
	return errors.Join(errs...)
}
