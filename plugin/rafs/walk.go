package rafs

import (
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"path"

	"github.com/darter-p2p/darter/plugin/rafs/format"
)

// WalkFunc is called with each file of an image. Its path is relative to the
// root, whose own path is ".", and valid in the sense of io/fs but for names
// that are not UTF-8. It may return fs.SkipDir and fs.SkipAll, which mean what
// they mean to fs.WalkDir; any other error ends the walk.
type WalkFunc func(path string, in *Inode) error

// Walk calls fn with the root and with all that is below it, directories before
// what they hold, names in order. An inode with several names is visited once for
// each. A directory that is met twice, as in a loop, is an error, and so is more
// work than the limits allow.
func (im *Image) Walk(fn WalkFunc) error {
	root, err := im.Root()
	if err != nil {
		return err
	}
	return im.WalkFrom(root, fn)
}

// WalkFrom is Walk from one inode on, whose path is ".".
func (im *Image) WalkFrom(in *Inode, fn WalkFunc) error {
	w := &walk{im: im, fn: fn, seen: make(map[uint64]bool)}
	defer w.leave(0)
	err := w.run(in)
	if errors.Is(err, fs.SkipAll) || errors.Is(err, fs.SkipDir) {
		return nil
	}
	return err
}

type walk struct {
	im      *Image
	fn      WalkFunc
	seen    map[uint64]bool // directories
	entries int
	stack   []openDir
}

type openDir struct {
	path string
	next func() (format.Dirent, error, bool)
	stop func()
}

func (w *walk) run(start *Inode) error {
	if err := w.visit(".", start); err != nil {
		return err
	}
	for len(w.stack) > 0 {
		dir := w.stack[len(w.stack)-1]
		e, err, ok := dir.next()
		if !ok {
			w.leave(len(w.stack) - 1)
			continue
		}
		if err != nil {
			return fmt.Errorf("%s: %w", dir.path, err)
		}
		if w.entries++; w.entries > w.im.limits.Entries {
			return w.im.limits.exceeded("directory entries", w.entries, w.im.limits.Entries)
		}
		at := path.Join(dir.path, e.Name)
		in, err := w.im.open(e)
		if err != nil {
			return fmt.Errorf("%s: %w", at, err)
		}
		if err := w.visit(at, in); err != nil && !errors.Is(err, fs.SkipDir) {
			return err
		}
	}
	return nil
}

// visit calls fn and enters a directory. An fs.SkipDir about a file skips the
// rest of the directory that it is in.
func (w *walk) visit(at string, in *Inode) error {
	if in.IsDir() && w.seen[in.Node] {
		return malformed("%s: directory node %d is met a second time", at, in.Node)
	}
	if err := w.fn(at, in); err != nil {
		if errors.Is(err, fs.SkipDir) && !in.IsDir() && len(w.stack) > 0 {
			w.leave(len(w.stack) - 1)
		}
		return err
	}
	if !in.IsDir() {
		return nil
	}
	w.seen[in.Node] = true
	if len(w.stack) >= w.im.limits.Depth {
		return w.im.limits.exceeded(at+": directories inside directories", len(w.stack)+1, w.im.limits.Depth)
	}
	next, stop := iter.Pull2(w.im.ReadDir(in))
	w.stack = append(w.stack, openDir{path: at, next: next, stop: stop})
	return nil
}

// leave ends the reading of all directories on the stack from keep on.
func (w *walk) leave(keep int) {
	for len(w.stack) > keep {
		w.stack[len(w.stack)-1].stop()
		w.stack = w.stack[:len(w.stack)-1]
	}
}
