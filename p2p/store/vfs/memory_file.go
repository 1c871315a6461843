package vfs

import (
	"io"
	"io/fs"
	"os"
	"sync/atomic"
	"syscall"
	"time"
)

// memoryFile is an open file of a Memory.
type memoryFile struct {
	m        *Memory
	n        *node
	name     string
	writable bool
	closed   atomic.Bool
}

func (f *memoryFile) check(op string) error {
	if f.closed.Load() {
		return pathError(op, f.name, fs.ErrClosed)
	}
	return nil
}

func (f *memoryFile) ReadAt(b []byte, off int64) (int, error) {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if err := f.check("read"); err != nil {
		return 0, err
	}
	if off < 0 {
		return 0, pathError("read", f.name, syscall.EINVAL)
	}
	n := f.n.readAt(b, off)
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

// WriteAt writes what fits the capacity, as a disk does.
func (f *memoryFile) WriteAt(b []byte, off int64) (int, error) {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if err := f.check("write"); err != nil {
		return 0, err
	}
	if !f.writable || off < 0 {
		return 0, pathError("write", f.name, syscall.EINVAL)
	}
	fits := len(b)
	for i, charge := off/blockSize, int64(0); i*blockSize < off+int64(len(b)); i++ {
		if f.n.blocks[i] != nil || i*blockSize < f.n.reserved {
			continue
		}
		if charge += blockSize; f.m.capacity > 0 && f.m.used+charge > f.m.capacity {
			fits = int(max(i*blockSize-off, 0))
			break
		}
	}
	if fits > 0 {
		f.charge(off, int64(fits))
		f.m.seq++
		f.n.writeAt(b[:fits], off, f.m.seq)
		f.n.modified = time.Now()
	}
	if fits < len(b) {
		return fits, pathError("write", f.name, syscall.ENOSPC)
	}
	return fits, nil
}

// charge counts the blocks of [off, off+n) that are not paid for yet.
func (f *memoryFile) charge(off, n int64) {
	if f.n.links == 0 {
		return
	}
	for i := off / blockSize; i*blockSize < off+n; i++ {
		if f.n.blocks[i] == nil && i*blockSize >= f.n.reserved {
			f.m.used += blockSize
			f.n.charged += blockSize
		}
	}
}

func (f *memoryFile) Allocate(size int64) (bool, error) {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if err := f.check("allocate"); err != nil {
		return false, err
	}
	if !f.m.sparse {
		more := max(size-f.n.charged, 0)
		if f.m.capacity > 0 && f.m.used+more > f.m.capacity {
			return false, pathError("allocate", f.name, syscall.ENOSPC)
		}
		f.m.used += more
		f.n.charged += more
		f.n.reserved = size
	}
	f.m.seq++
	f.n.resize(size, f.m.seq)
	return !f.m.sparse, nil
}

func (f *memoryFile) Datasync() error {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if err := f.check("fdatasync"); err != nil {
		return err
	}
	f.n.sync()
	return nil
}

func (f *memoryFile) Size() (int64, error) {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	return f.n.size(), f.check("stat")
}

func (f *memoryFile) OS() *os.File { return nil }

func (f *memoryFile) Close() error {
	if f.closed.Swap(true) {
		return pathError("close", f.name, fs.ErrClosed)
	}
	return nil
}
