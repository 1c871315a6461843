// Package blobfs serves devices as the files of one FUSE file system, so that the
// kernel's EROFS can have them as device= files while their bytes are still coming.
//
// The file system has no state that the kernel would miss: a file's node number is a
// hash of its name, and there are no file handles. So a process can hand its connection
// (Session.Device, Session.Init) to another, which goes on with Resume. Readers of the
// files do not notice but for the time that it takes.
package blobfs

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"os"
	"sync"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// Device is a file. Its methods may be called concurrently.
type Device interface {
	// Size returns the length of the file in bytes, which never changes.
	Size() int64
	// Ready reports whether bytes are in File, and does not wait.
	Ready(off, n int64) bool
	// Ensure waits until bytes are in File, or until ctx ends.
	Ensure(ctx context.Context, off, n int64) error
	// ReadAt fills p with bytes from off on, in File or not. It is called when Ensure
	// says device.ErrNotKept.
	ReadAt(ctx context.Context, p []byte, off int64) error
	// File returns the file that the bytes are read from.
	File() *os.File
}

// FS is the file system's one directory. Its methods may be called concurrently.
type FS struct {
	fuse.RawFileSystem // answers ENOSYS to what is not here

	halted chan struct{} // closed when nothing is answered any more

	mu    sync.RWMutex
	files map[uint64]*file // by node number
}

// file is a Device and its readers.
type file struct {
	Device
	readers sync.WaitGroup
}

// New returns an FS without files.
func New() *FS {
	return &FS{RawFileSystem: fuse.NewDefaultRawFileSystem(), files: map[uint64]*file{}, halted: make(chan struct{})}
}

// node returns the node number of a name: neither 0, nor the root's, nor go-fuse's own.
func node(name string) uint64 {
	sum := sha256.Sum256([]byte(name))
	return binary.LittleEndian.Uint64(sum[:])&^(1<<63) | 1<<62
}

// Add makes a file. A name always stands for the same bytes.
func (f *FS) Add(name string, d Device) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if old := f.files[node(name)]; old == nil || old.Device != d {
		f.files[node(name)] = &file{Device: d}
	}
}

// Remove takes a file away that nothing is mounted from; who still reads it gets an
// error. It waits for reads that have begun: the device's Ensure must have an end. Then
// the device's File may be closed.
func (f *FS) Remove(name string) {
	f.mu.Lock()
	old := f.files[node(name)]
	delete(f.files, node(name))
	f.mu.Unlock()
	if old != nil {
		old.readers.Wait()
	}
}

// Halt leaves every read unanswered from now on: the process is about to end, and
// another to Resume. It must be called at most once.
func (f *FS) Halt() { close(f.halted) }

func (f *FS) isHalted() bool {
	select {
	case <-f.halted:
		return true
	default:
		return false
	}
}

// leaveIfHalted does not return after Halt.
func (f *FS) leaveIfHalted() {
	if f.isHalted() {
		select {} // for good
	}
}

func (f *FS) file(id uint64) *file {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.files[id]
}

// begin returns a file for a read, whose end is told to its readers.
func (f *FS) begin(id uint64) *file {
	f.mu.RLock()
	defer f.mu.RUnlock()
	d := f.files[id]
	if d != nil {
		d.readers.Add(1)
	}
	return d
}
