package vfs

import (
	"io"
	"time"
)

// Op is one operation on a file system, as a hook of WithFaults sees it.
type Op struct {
	Kind Kind
	Name string // of the file or directory
}

// Kind is the kind of an operation.
type Kind string

// The kinds of operations, named after the methods of FS and File.
const (
	OpCreate   Kind = "create"
	OpOpen     Kind = "open"
	OpStat     Kind = "stat"
	OpList     Kind = "list"
	OpMkdir    Kind = "mkdir"
	OpRename   Kind = "rename"
	OpLink     Kind = "link"
	OpRemove   Kind = "remove"
	OpSyncDir  Kind = "syncdir"
	OpTouch    Kind = "touch"
	OpReadOnly Kind = "readonly"
	OpFree     Kind = "free"
	OpRead     Kind = "read"
	OpWrite    Kind = "write"
	OpAllocate Kind = "allocate"
	OpDatasync Kind = "datasync"
)

// WithFaults calls hook before every operation on under. An error of the hook is
// the operation's result and nothing is done, except that a failed write has
// written the first half of its bytes, as disks do. The hook is called by the
// goroutine that operates, so it can also count, or cut the power.
func WithFaults(under FS, hook func(Op) error) FS {
	return faultyFS{under, hook}
}

type faultyFS struct {
	FS
	hook func(Op) error
}

func (f faultyFS) do(kind Kind, name string, op func() error) error {
	if err := f.hook(Op{kind, name}); err != nil {
		return pathError(string(kind), name, err)
	}
	return op()
}

func (f faultyFS) wrap(file File, name string, err error) (File, error) {
	if err != nil {
		return nil, err
	}
	return faultyFile{file, f, name}, nil
}

func (f faultyFS) Create(name string) (File, error) {
	var file File
	err := f.do(OpCreate, name, func() (err error) { file, err = f.FS.Create(name); return err })
	return f.wrap(file, name, err)
}

func (f faultyFS) Open(name string, write bool) (File, error) {
	var file File
	err := f.do(OpOpen, name, func() (err error) { file, err = f.FS.Open(name, write); return err })
	return f.wrap(file, name, err)
}

func (f faultyFS) Stat(name string) (info Info, err error) {
	err = f.do(OpStat, name, func() (err error) { info, err = f.FS.Stat(name); return err })
	return info, err
}

func (f faultyFS) List(dir string) (entries []Entry, err error) {
	err = f.do(OpList, dir, func() (err error) { entries, err = f.FS.List(dir); return err })
	return entries, err
}

func (f faultyFS) Mkdir(dir string) error {
	return f.do(OpMkdir, dir, func() error { return f.FS.Mkdir(dir) })
}

func (f faultyFS) Rename(from, to string) error {
	return f.do(OpRename, to, func() error { return f.FS.Rename(from, to) })
}

func (f faultyFS) Link(name, to string) error {
	return f.do(OpLink, to, func() error { return f.FS.Link(name, to) })
}

func (f faultyFS) Remove(name string) error {
	return f.do(OpRemove, name, func() error { return f.FS.Remove(name) })
}

func (f faultyFS) SyncDir(dir string) error {
	return f.do(OpSyncDir, dir, func() error { return f.FS.SyncDir(dir) })
}

func (f faultyFS) Touch(name string, t time.Time) error {
	return f.do(OpTouch, name, func() error { return f.FS.Touch(name, t) })
}

func (f faultyFS) ReadOnly(name string) error {
	return f.do(OpReadOnly, name, func() error { return f.FS.ReadOnly(name) })
}

func (f faultyFS) Free(dir string) (free int64, err error) {
	err = f.do(OpFree, dir, func() (err error) { free, err = f.FS.Free(dir); return err })
	return free, err
}

func (f faultyFS) Lock(name string) (io.Closer, error) { return f.FS.Lock(name) }

type faultyFile struct {
	File
	fs   faultyFS
	name string
}

func (f faultyFile) ReadAt(b []byte, off int64) (n int, err error) {
	err = f.fs.do(OpRead, f.name, func() (err error) { n, err = f.File.ReadAt(b, off); return err })
	return n, err
}

func (f faultyFile) WriteAt(b []byte, off int64) (int, error) {
	if err := f.fs.hook(Op{OpWrite, f.name}); err != nil {
		n, _ := f.File.WriteAt(b[:len(b)/2], off)
		return n, pathError("write", f.name, err)
	}
	return f.File.WriteAt(b, off)
}

func (f faultyFile) Allocate(size int64) (reserved bool, err error) {
	err = f.fs.do(OpAllocate, f.name, func() (err error) { reserved, err = f.File.Allocate(size); return err })
	return reserved, err
}

func (f faultyFile) Datasync() error {
	return f.fs.do(OpDatasync, f.name, f.File.Datasync)
}
