package rafs

import (
	"encoding/binary"
	"io/fs"

	"github.com/darter-p2p/darter/plugin/rafs/format"
)

// readPrefetch reads the prefetch table. Old images without one have a size but
// no offset.
func (im *Image) readPrefetch() error {
	table := im.ext.PrefetchTable
	if table.Offset == 0 {
		return nil
	}
	if n := table.Size / format.PrefetchEntrySize; n > format.MaxPrefetch {
		return im.limits.exceeded("files to prefetch", n, format.MaxPrefetch)
	}
	b, err := im.readTable(table, "prefetch table")
	if err != nil {
		return err
	}
	for ; len(b) > 0; b = b[format.PrefetchEntrySize:] {
		im.prefetch = append(im.prefetch, binary.LittleEndian.Uint32(b))
	}
	return nil
}

// maxPrefetchSteps bounds the work of one Prefetch: inodes and chunks looked at.
// Nothing in the format keeps many files from having the same many chunks.
const maxPrefetchSteps = 1 << 20

// Prefetch returns the chunks of the files that the image's builder thought are
// read first, each once, in the order of the prefetch table; a directory there
// stands for all files below it. Entries that cannot be read are left out, for
// the table is advice; so is what follows the first most chunks.
func (im *Image) Prefetch(most int) []ChunkRef {
	var refs []ChunkRef
	steps, seen := 0, make(map[ChunkRef]bool)
	enough := func() bool {
		steps++
		return steps > maxPrefetchSteps || len(refs) >= most
	}
	add := func(_ string, in *Inode) error {
		if enough() {
			return fs.SkipAll
		}
		if !in.IsRegular() {
			return nil
		}
		for ref, err := range im.ChunksOf(in) {
			if err != nil || enough() {
				return err
			}
			if !seen[ref] {
				seen[ref] = true
				refs = append(refs, ref)
			}
		}
		return nil
	}
	for _, node := range im.prefetch {
		if enough() {
			break
		}
		if in, err := im.Inode(uint64(node)); err == nil {
			_ = im.WalkFrom(in, add)
		}
	}
	return refs
}
