// Package vfs is the piece store's one door to the disk: the few file operations
// that the store uses, an implementation on the operating system, one in memory
// whose power can be cut, and a wrapper that makes chosen operations fail.
package vfs

import (
	"io"
	"os"
	"time"
)

// FS is a file system. Names are slash-separated paths. Methods may block on the
// disk and may be called concurrently. Errors are those of package os: they match
// fs.ErrNotExist, fs.ErrExist, syscall.ENOSPC and so on under errors.Is.
//
// What is durable after a power cut: the bytes of a file up to its last Datasync,
// and the names in a directory up to its last SyncDir. Anything later may have
// survived, wholly, in part, and in any order.
type FS interface {
	// Create makes a file that did not exist, open for reading and writing.
	Create(name string) (File, error)
	// Open opens an existing file, for writing too if write is set.
	Open(name string, write bool) (File, error)
	// Stat describes a file.
	Stat(name string) (Info, error)
	// List names what is in a directory, in lexical order.
	List(dir string) ([]Entry, error)
	// Mkdir makes a directory. Its parent must exist.
	Mkdir(dir string) error
	// Rename gives a file another name in the same directory, replacing what had it.
	Rename(from, to string) error
	// Link gives a file a second name.
	Link(name, to string) error
	// Remove takes a file's name away. Open files stay readable.
	Remove(name string) error
	// SyncDir makes the names in a directory durable.
	SyncDir(dir string) error
	// Touch sets a file's modification time. It is never made durable by itself.
	Touch(name string, t time.Time) error
	// ReadOnly takes the permission to write from a file, for everyone (0444).
	ReadOnly(name string) error
	// Free returns the bytes that the file system of dir has left for us.
	Free(dir string) (int64, error)
	// Lock makes the file if needed and locks it against other processes until
	// the lock is closed or the process ends. It does not wait: a lock that is
	// taken is syscall.EWOULDBLOCK.
	Lock(name string) (io.Closer, error)
}

// File is an open file. Methods may be called concurrently.
type File interface {
	io.ReaderAt
	io.WriterAt
	// Allocate makes the file size bytes long and reserves the disk for them.
	// Where the file system cannot reserve, the file is sparse and reserved is false.
	Allocate(size int64) (reserved bool, err error)
	// Datasync makes the file's bytes and its length durable. After an error
	// nothing is known about what was written since the last success, and trying
	// again proves nothing: the kernel may have dropped the pages.
	Datasync() error
	// Size returns the file's length in bytes.
	Size() (int64, error)
	// OS returns the operating system's file, nil where there is none.
	OS() *os.File
	// Close closes the file without making anything durable.
	Close() error
}

// Info describes a file.
type Info struct {
	Size    int64
	ModTime time.Time
	Links   int // names of this file
}

// Entry is a name in a directory.
type Entry struct {
	Name string
	Dir  bool
}
