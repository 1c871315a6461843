package layer

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// copySize is the buffer between archive and file, in bytes.
const copySize = 128 << 10

// applier makes the tree out of the archive's entries.
type applier struct {
	ctx     context.Context
	tree    *tree
	bottom  bool
	entries int
	dirs    []dirTimes // in the archive's order
	buf     []byte
}

// dirTimes are a directory's times, set at the end: what is made in it changes them.
type dirTimes struct {
	name         string
	atime, mtime time.Time
}

// apply reads the archive to its end mark, or to the end of r.
func (a *applier) apply(r io.Reader) error {
	ctx := a.ctx
	a.buf = make([]byte, copySize)
	tr := tar.NewReader(r)
	for {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		hdr, err := tr.Next()
		if err == io.EOF { // the end of an archive
			break
		}
		if err != nil {
			return archiveError(ctx, fmt.Errorf("entry %d: %w", a.entries+1, err))
		}
		a.entries++
		if err := a.entry(hdr, tr); err != nil {
			return archiveError(ctx, fmt.Errorf("entry %d, %q: %w", a.entries, shown(hdr.Name), err))
		}
	}
	for _, d := range a.dirs {
		if err := a.setTimes(d); err != nil {
			return archiveError(ctx, fmt.Errorf("times of %q: %w", shown(d.name), err))
		}
	}
	return nil
}

// entry applies one entry.
func (a *applier) entry(hdr *tar.Header, r io.Reader) error {
	hdr.Name = filepath.Clean(hdr.Name)
	parent, base := filepath.Split(hdr.Name)
	rel, err := a.tree.resolve(parent)
	if err != nil {
		return err
	}
	if base == "" || base == "." || base == ".." {
		return nil // the root itself, which is not the layer's to change
	}
	if len(a.tree.dir)+len(rel)+len(base)+2 >= unix.PathMax {
		return unix.ENAMETOOLONG
	}
	dir, err := a.tree.reach(rel)
	if err != nil {
		return err
	}
	if mark, err := markOf(base); err != nil {
		return err
	} else if mark != (marker{}) {
		return a.whiteout(dir, mark, hdr)
	}
	if hdr.Typeflag == tar.TypeDir {
		if err := a.directory(dir, base, hdr); err != nil {
			return err
		}
		a.dirs = append(a.dirs, dirTimes{hdr.Name, accessTime(hdr), bound(hdr.ModTime)})
		return nil
	}
	if dir.child(base) != nil { // a directory makes way for anything else
		if err := a.tree.remove(dir, base); err != nil {
			return err
		}
	}
	return a.leaf(dir, base, hdr, r)
}

// setTimes finds the directory again, as the whole archive has left it.
func (a *applier) setTimes(d dirTimes) error {
	rel, err := a.tree.resolve(d.name)
	if err != nil {
		return err
	}
	parent, base := filepath.Split(rel)
	dir, rest := a.tree.root.find(strings.TrimSuffix(parent, "/"))
	if rest != "" {
		return unix.ENOENT
	}
	fd, err := a.tree.enter(dir)
	if err != nil {
		return err
	}
	if base == "" {
		base = "."
	}
	return setTimes(fd, base, d.atime, d.mtime)
}

// shown cuts a name down to what a message can bear.
func shown(name string) string {
	const most = 256
	if len(name) > most {
		return name[:most] + "…"
	}
	return name
}

// archiveError gives an error of applying its class: a full disk is no fault of the
// archive, and the source's own error keeps its class.
func archiveError(ctx context.Context, err error) error {
	var no syscall.Errno
	switch {
	case ctx.Err() != nil || classified(err):
		return err
	case errors.As(err, &no):
		return withClass(no, err)
	}
	return invalid(err) // archive/tar's own
}
