// Package pagecache makes files cold for a benchmark that shall read them from the disk.
package pagecache

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Drop writes the files below a folder to the disk and drops them, and only them,
// from the page cache. A file that vanishes meanwhile is nobody's failure.
func Drop(dir string) error {
	return filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) && path != dir {
			return nil
		}
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		err = drop(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
}

func drop(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	if err := file.Sync(); err != nil {
		return err
	}
	if err := unix.Fadvise(int(file.Fd()), 0, 0, unix.FADV_DONTNEED); err != nil {
		return &os.PathError{Op: "fadvise", Path: path, Err: err}
	}
	return nil
}

// Settle writes everything that the file system of a path has not written yet to
// the disk, so that what was done before does not run into what is measured next.
func Settle(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	if err := unix.Syncfs(int(file.Fd())); err != nil {
		return &os.PathError{Op: "syncfs", Path: path, Err: err}
	}
	return nil
}
