package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/darter-p2p/darter/plugin/rafs"
)

// touched returns the compressed bytes of the chunks of which the page cache has
// something: of a mount whose pages nobody dropped, what was read, or read ahead by the
// kernel inside of a file that was read.
func touched(im *rafs.Image, mountpoint string) (bytes int64, err error) {
	seen := map[rafs.ChunkRef]bool{}
	err = im.Walk(func(path string, in *rafs.Inode) error {
		if !in.IsRegular() || in.Size == 0 {
			return nil
		}
		resident, err := residentPages(filepath.Join(mountpoint, path), in.Size)
		if err != nil {
			return err
		}
		for x, err := range im.Extents(in) {
			if err != nil {
				return err
			}
			if x.Blob == rafs.Hole {
				continue
			}
			blob := im.Blobs()[x.Blob]
			for at := int64(0); at < x.Length; at += page {
				if !resident[(x.FileOffset+at)/page] {
					continue
				}
				first, end := blob.Range(x.DeviceOffset+at, 1)
				for i := first; i < end; i++ {
					if ref := (rafs.ChunkRef{Blob: x.Blob, Chunk: i}); !seen[ref] {
						seen[ref] = true
						bytes += int64(blob.Chunks()[i].CompressedSize)
					}
				}
			}
		}
		return nil
	})
	return bytes, err
}

// residentPages says which pages of a file are in the page cache.
func residentPages(path string, size int64) (_ []bool, err error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	b, err := unix.Mmap(int(file.Fd()), 0, int(size), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map %s: %w", path, err)
	}
	defer func() { err = errors.Join(err, unix.Munmap(b)) }()
	in := make([]byte, (size+page-1)/page)
	_, _, errno := unix.Syscall(unix.SYS_MINCORE, uintptr(unsafe.Pointer(&b[0])), uintptr(size), uintptr(unsafe.Pointer(&in[0])))
	if errno != 0 {
		return nil, fmt.Errorf("mincore %s: %w", path, errno)
	}
	out := make([]bool, len(in))
	for i, v := range in {
		out[i] = v&1 != 0
	}
	return out, nil
}

// openBootstrap opens the bootstrap of a mount. The caller closes the file.
func openBootstrap(path string) (*rafs.Image, *os.File, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	info, err := file.Stat()
	if err != nil {
		return nil, nil, errors.Join(err, file.Close())
	}
	im, err := rafs.Open(file, info.Size(), rafs.DefaultLimits())
	if err != nil {
		return nil, nil, errors.Join(err, file.Close())
	}
	return im, file, nil
}
