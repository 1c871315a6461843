package layer

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

// file makes a regular file.
func (a *applier) file(dirFD int, base string, hdr *tar.Header, r io.Reader) error {
	fd, err := unix.Openat(dirFD, base, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return fmt.Errorf("make file: %w", err)
	}
	if isSparse(hdr) {
		err = a.sparse(fd, hdr.Size, r)
	} else {
		err = a.contents(fd, r)
	}
	if err == nil {
		err = fileAttributes(fd, hdr)
	}
	if e := unix.Close(fd); err == nil && e != nil {
		err = fmt.Errorf("close: %w", e)
	}
	if err != nil {
		return err
	}
	return setTimes(dirFD, base, accessTime(hdr), bound(hdr.ModTime))
}

// contents writes what r has.
func (a *applier) contents(fd int, r io.Reader) error {
	for {
		n, err := readFull(r, a.buf)
		if e := writeAll(fd, a.buf[:n]); e != nil {
			return e
		}
		if err == io.EOF { //nolint:errorlint // the end of a file is io.EOF itself
			return nil
		}
		if err != nil {
			return fmt.Errorf("read contents: %w", err)
		}
	}
}

// sparse writes what r has, and leaves runs of zeros out. The size is the archive's word
// and costs it nothing, so what the disk could not hold as a plain file is refused.
func (a *applier) sparse(fd int, size int64, r io.Reader) error {
	var st unix.Statfs_t
	if err := unix.Fstatfs(fd, &st); err != nil {
		return fmt.Errorf("free space: %w", err)
	}
	if free := st.Bavail * uint64(st.Bsize); uint64(size) > free {
		return fmt.Errorf("sparse file of %d bytes, %d are free: %w", size, free, errdefs.ErrResourceExhausted)
	}
	if err := unix.Ftruncate(fd, size); err != nil {
		return fmt.Errorf("size of sparse file: %w", err)
	}
	zeros := make([]byte, len(a.buf))
	var at int64
	for {
		if a.ctx.Err() != nil { // zeros come from nowhere: the source does not notice
			return context.Cause(a.ctx)
		}
		n, err := readFull(r, a.buf)
		if b := a.buf[:n]; !bytes.Equal(b, zeros[:n]) {
			if _, e := unix.Seek(fd, at, io.SeekStart); e != nil {
				return fmt.Errorf("seek: %w", e)
			}
			if e := writeAll(fd, b); e != nil {
				return e
			}
		}
		at += int64(n)
		if err == io.EOF { //nolint:errorlint // the end of a file is io.EOF itself
			return nil
		}
		if err != nil {
			return fmt.Errorf("read contents: %w", err)
		}
	}
}

// isSparse knows the sparse files of PAX archives. (Those of the old GNU format have a
// type of their own, which containerd refuses.)
func isSparse(hdr *tar.Header) bool {
	for key := range hdr.PAXRecords {
		if strings.HasPrefix(key, "GNU.sparse.") {
			return true
		}
	}
	return false
}

func writeAll(fd int, b []byte) error {
	for len(b) > 0 {
		n, err := unix.Write(fd, b)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return fmt.Errorf("write: %w", err)
		}
		b = b[n:]
	}
	return nil
}
