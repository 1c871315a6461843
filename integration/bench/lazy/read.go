package main

import (
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// page is what is read at a random place, in bytes.
const page = 4096

// reader reads a file at random places, without the kernel's read-ahead.
type reader struct{ file *os.File }

func openReader(path string) (reader, error) {
	file, err := os.Open(path)
	if err != nil {
		return reader{}, err
	}
	if err := unix.Fadvise(int(file.Fd()), 0, 0, unix.FADV_RANDOM); err != nil {
		return reader{}, errors.Join(err, file.Close())
	}
	return reader{file}, nil
}

// forget drops the file's pages.
func (r reader) forget() error { return unix.Fadvise(int(r.file.Fd()), 0, 0, unix.FADV_DONTNEED) }

// pages reads a page at each offset, and returns p50 and p99 in microseconds.
func (r reader) pages(offsets []int64) (p50, p99 float64, err error) {
	b := make([]byte, page)
	took := make([]time.Duration, 0, len(offsets))
	fd := int(r.file.Fd())
	for _, off := range offsets {
		begin := time.Now()
		n, err := unix.Pread(fd, b, off)
		for errors.Is(err, unix.EINTR) {
			n, err = unix.Pread(fd, b, off)
		}
		if err != nil {
			return 0, 0, &os.PathError{Op: "read", Path: r.file.Name(), Err: err}
		}
		if n == 0 {
			return 0, 0, &os.PathError{Op: "read", Path: r.file.Name(), Err: errors.New("it ends before")}
		}
		took = append(took, time.Since(begin))
	}
	slices.Sort(took)
	at := func(percent int) float64 { return float64(took[(len(took)-1)*percent/100].Nanoseconds()) / 1000 }
	return at(50), at(99), nil
}

// strides are offsets of one page in each stride of a file, shuffled.
func strides(size, stride int64, r *rand.Rand) []int64 {
	var all []int64
	for at := int64(0); at+stride <= size; at += stride {
		all = append(all, at)
	}
	r.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all
}

// within are offsets of pages in the chunks that begin at the offsets, each once.
func within(offsets []int64, chunk int64, count int, r *rand.Rand) []int64 {
	var all []int64
	for _, off := range offsets {
		for at := int64(0); at < chunk; at += page {
			all = append(all, off+at)
		}
	}
	r.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all[:min(count, len(all))]
}

// readThrough reads a file in order and returns how many bytes it has.
func readThrough(path string, b []byte) (int64, error) {
	file, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer file.Close()
	var size int64
	for {
		n, err := unix.Read(int(file.Fd()), b)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return size, &os.PathError{Op: "read", Path: path, Err: err}
		case n == 0:
			return size, nil
		}
		size += int64(n)
	}
}

// readTree reads every file below a folder and returns how many there are.
func readTree(dir string) (files int, err error) {
	b := make([]byte, 128<<10)
	return files, eachFile(dir, func(path string) error {
		files++
		_, err := readThrough(path, b)
		return err
	})
}

// forgetTree drops the pages of every file below a folder.
func forgetTree(dir string) error {
	return eachFile(dir, func(path string) error {
		file, err := os.Open(path)
		if err != nil {
			return err
		}
		defer file.Close()
		return unix.Fadvise(int(file.Fd()), 0, 0, unix.FADV_DONTNEED)
	})
}

func eachFile(dir string, f func(path string) error) error {
	return filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		return f(path)
	})
}
