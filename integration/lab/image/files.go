package image

import (
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"unicode/utf8"
)

// maxFile is the largest file taken, in bytes; files are held in memory.
const maxFile = 32 << 20

const (
	// smallFile is what counts as a small file, in bytes, of which only one in
	// smallShare is taken: the machine's sources have far more of them than images
	// have, and unpacking would be about creating files.
	smallFile  = 8 << 10
	smallShare = 8
)

// source is one file of the machine.
type source struct {
	path string
	info fs.FileInfo
}

// defaultRoots are the folders that files are taken from, in this order. A fresh
// Debian with Go has about 200 MB there when compressed; the module cache of
// someone who builds darter has as much again.
func defaultRoots() []string {
	roots := []string{"/usr/local/go", "/usr/lib", "/usr/share", "/usr/bin"}
	if home, err := os.UserHomeDir(); err == nil {
		roots = append(roots, filepath.Join(home, "go/pkg/mod"))
	}
	return roots
}

// files yields the regular files and symbolic links below the roots in the
// order of their names. What cannot be read is left out, and so are most small files.
func files(roots []string) iter.Seq[source] {
	return func(yield func(source) bool) {
		small := 0
		for _, root := range roots {
			stopped := false
			_ = filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
				if err != nil {
					return nil //nolint:nilerr // left out
				}
				if !utf8.ValidString(path) {
					return nil
				}
				if !entry.Type().IsRegular() && entry.Type() != fs.ModeSymlink {
					return nil
				}
				info, err := entry.Info()
				if err != nil {
					return nil //nolint:nilerr // left out
				}
				if info.Size() > maxFile {
					return nil
				}
				if info.Size() < smallFile && entry.Type().IsRegular() {
					if small++; small%smallShare != 1 {
						return nil
					}
				}
				if !yield(source{path, info}) {
					stopped = true
					return fs.SkipAll
				}
				return nil
			})
			if stopped {
				return
			}
		}
	}
}
