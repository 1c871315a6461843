package rafs

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/containerd/errdefs"
)

// FileOf returns the first file, in the order of Walk, that has a byte of a
// chunk, and where in the file the chunk starts. It walks the tree: ask it to
// explain a failure, not on the way of a read. A chunk that no file has is
// errdefs.ErrNotFound.
func (im *Image) FileOf(ref ChunkRef) (path string, offset int64, err error) {
	if ref.Blob < 0 || ref.Blob >= len(im.blobs) || ref.Chunk < 0 || ref.Chunk >= len(im.blobs[ref.Blob].chunks) {
		return "", 0, fmt.Errorf("find file: no chunk %d of blob %d: %w", ref.Chunk, ref.Blob, errdefs.ErrNotFound)
	}
	c := &im.blobs[ref.Blob].chunks[ref.Chunk]
	found, steps := false, 0
	err = im.Walk(func(at string, in *Inode) error {
		if !in.IsRegular() {
			return nil
		}
		for x, err := range im.Extents(in) {
			if errors.Is(err, errdefs.ErrNotImplemented) {
				break // it has no chunks
			}
			if err != nil {
				return err
			}
			if steps++; steps > im.limits.Entries {
				return im.limits.exceeded("parts of files", steps, im.limits.Entries)
			}
			if x.Blob == ref.Blob && c.DeviceOffset() < x.DeviceOffset+x.Length && x.DeviceOffset < c.DeviceEnd() {
				path, offset, found = at, x.FileOffset+c.DeviceOffset()-x.DeviceOffset, true
				return fs.SkipAll
			}
		}
		return nil
	})
	if err == nil && !found {
		err = fmt.Errorf("find file: no file has chunk %d of blob %s: %w", ref.Chunk, im.blobs[ref.Blob].ID, errdefs.ErrNotFound)
	}
	return path, offset, err
}
