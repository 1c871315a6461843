package blobfs

import (
	"errors"
	"io"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/darter-p2p/darter/plugin/rafs/device"
)

// valid is how long the kernel may keep names and attributes: they do not change.
const valid = 24 * time.Hour

// block is the unit of an attribute's Blocks, in bytes.
const block = 512

// String names the file system in /proc/mounts.
func (*FS) String() string { return "darter-rafs" }

// Lookup answers the kernel's question for a name.
func (f *FS) Lookup(_ <-chan struct{}, in *fuse.InHeader, name string, out *fuse.EntryOut) fuse.Status {
	id := node(name)
	d := f.file(id)
	if in.NodeId != fuse.FUSE_ROOT_ID || d == nil {
		return fuse.ENOENT
	}
	out.NodeId, out.Generation = id, 1
	attr(&out.Attr, id, d)
	out.SetEntryTimeout(valid)
	out.SetAttrTimeout(valid)
	return fuse.OK
}

func attr(a *fuse.Attr, id uint64, d Device) {
	size := uint64(d.Size())
	*a = fuse.Attr{Ino: id, Size: size, Blocks: (size + block - 1) / block, Mode: unix.S_IFREG | 0o400, Nlink: 1, Blksize: 4096}
}

// GetAttr answers for the directory and its files.
func (f *FS) GetAttr(_ <-chan struct{}, in *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	out.SetTimeout(valid)
	if in.NodeId == fuse.FUSE_ROOT_ID {
		out.Attr = fuse.Attr{Ino: fuse.FUSE_ROOT_ID, Mode: unix.S_IFDIR | 0o500, Nlink: 2}
		return fuse.OK
	}
	d := f.file(in.NodeId)
	if d == nil {
		return fuse.ENOENT
	}
	attr(&out.Attr, in.NodeId, d)
	return fuse.OK
}

// Open lets the kernel keep pages: they do not change.
func (f *FS) Open(_ <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	if f.file(in.NodeId) == nil {
		return fuse.ENOENT
	}
	if in.Flags&unix.O_ACCMODE != unix.O_RDONLY {
		return fuse.EROFS
	}
	out.OpenFlags = fuse.FOPEN_KEEP_CACHE
	return fuse.OK
}

// Read brings the bytes and reads them from the device's file. It goes on
// when the kernel says that the reader got a signal: EROFS makes an I/O error of an
// interrupted read, and a Go program (runc, that starts a container) gets signals all the
// time. It ends when the reader is being killed. What it waits for is bounded by the device.
func (f *FS) Read(cancel <-chan struct{}, in *fuse.ReadIn, buf []byte) (fuse.ReadResult, fuse.Status) {
	d := f.begin(in.NodeId)
	if d == nil {
		return nil, fuse.EIO
	}
	defer d.readers.Done()
	off, n := int64(in.Offset), int64(in.Size)
	if off < 0 || off >= d.Size() {
		return fuse.ReadResultData(nil), fuse.OK
	}
	n = min(n, d.Size()-off, int64(len(buf)))
	w := newWaiter(cancel, in.Pid)
	err := d.Ensure(w, off, n)
	passed := errors.Is(err, device.ErrNotKept)
	if passed {
		err = d.ReadAt(w, buf[:n], off)
	}
	killed := w.end()
	f.leaveIfHalted()
	switch {
	case err == nil && passed:
		return fuse.ReadResultData(buf[:n]), fuse.OK
	case err == nil:
		k, err := d.File().ReadAt(buf[:n], off)
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, fuse.EIO
		}
		return fuse.ReadResultData(buf[:k]), fuse.OK
	case killed:
		return nil, fuse.EINTR
	}
	return nil, fuse.EIO // the device has logged why
}

// read fills b with bytes of a file if they are there and in memory, and says how many
// there are; -1 is all else, for which there is Read. It does not wait.
func (f *FS) read(in *fuse.ReadIn, b []byte) int {
	d := f.begin(in.NodeId)
	if d == nil {
		return -1
	}
	defer d.readers.Done()
	off, n := int64(in.Offset), int64(in.Size)
	if off < 0 || off >= d.Size() || n > int64(len(b)) || f.isHalted() {
		return -1
	}
	n = min(n, d.Size()-off)
	if !d.Ready(off, n) {
		return -1
	}
	k, err := unix.Preadv2(int(d.File().Fd()), [][]byte{b[:n]}, off, unix.RWF_NOWAIT)
	if err != nil || int64(k) != n {
		return -1
	}
	return k
}

// Release and Forget have nothing to let go.
func (*FS) Release(<-chan struct{}, *fuse.ReleaseIn) {}

// Forget implements fuse.RawFileSystem.
func (*FS) Forget(_, _ uint64) {}

// StatFs says nothing, without an error.
func (*FS) StatFs(_ <-chan struct{}, _ *fuse.InHeader, out *fuse.StatfsOut) fuse.Status {
	*out = fuse.StatfsOut{Bsize: 4096, NameLen: 255}
	return fuse.OK
}
