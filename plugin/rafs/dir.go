package rafs

import (
	"fmt"
	"iter"

	"github.com/darter-p2p/darter/plugin/rafs/format"
)

// ReadDir returns the entries of a directory, sorted by name, without "." and
// "..". It reads one block at a time and ends with the first error.
func (im *Image) ReadDir(in *Inode) iter.Seq2[format.Dirent, error] {
	return func(yield func(format.Dirent, error) bool) {
		if !in.IsDir() {
			yield(format.Dirent{}, malformed("node %d: mode %#o is no directory", in.Node, in.Mode))
			return
		}
		last := ""
		for at := int64(0); at < in.Size; at += format.BlockSize {
			entries, err := im.readDirBlock(in, at)
			if err == nil && entries[0].Name <= last {
				err = malformed("%q comes after %q", entries[0].Name, last)
			}
			if err != nil {
				yield(format.Dirent{}, fmt.Errorf("directory, node %d: %w", in.Node, err))
				return
			}
			for _, e := range entries {
				last = e.Name
				if e.Name != "." && e.Name != ".." && !yield(e, nil) {
					return
				}
			}
		}
	}
}

func (im *Image) readDirBlock(in *Inode, at int64) ([]format.Dirent, error) {
	b := make([]byte, min(format.BlockSize, in.Size-at))
	if err := im.readPlain(in, b, at); err != nil {
		return nil, err
	}
	return format.ParseDirBlock(b)
}

// open reads the inode of a directory entry, which must be of the type that the
// entry says.
func (im *Image) open(e format.Dirent) (*Inode, error) {
	in, err := im.Inode(e.Node)
	if err == nil && format.TypeOf(uint16(in.Mode)) != e.Type {
		err = malformed("node %d: mode %#o, the directory entry says type %d", in.Node, in.Mode, e.Type)
	}
	return in, err
}
