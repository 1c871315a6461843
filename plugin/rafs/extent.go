package rafs

import (
	"fmt"
	"iter"

	"github.com/darter-p2p/darter/plugin/rafs/format"
)

// Extent is a part of a regular file and where the kernel reads it.
type Extent struct {
	FileOffset   int64
	Length       int64
	Blob         int   // index of Image.Blobs, or Hole
	DeviceOffset int64 // at a block
}

// Hole is the Blob of an extent whose bytes are zeros.
const Hole = -1

// Extents returns the parts of a regular file in order, without gaps. It ends
// with the first error. A file whose content lies in the bootstrap itself, which
// RAFS does not write, is errdefs.ErrNotImplemented.
func (im *Image) Extents(in *Inode) iter.Seq2[Extent, error] {
	return func(yield func(Extent, error) bool) {
		fail := func(err error) { yield(Extent{}, fmt.Errorf("file, node %d: %w", in.Node, err)) }
		if !in.IsRegular() {
			fail(malformed("mode %#o is no regular file", in.Mode))
			return
		}
		if in.Size == 0 {
			return
		}
		span, err := im.span(in)
		if err != nil {
			fail(err)
			return
		}
		for at := int64(0); at < in.Size; at += span {
			x, err := im.extent(in, at, span)
			if err != nil {
				fail(err)
				return
			}
			if !yield(x, nil) {
				return
			}
		}
	}
}

// span returns how many bytes each of the file's indexes covers, after checking
// that all indexes are in the bootstrap.
func (im *Image) span(in *Inode) (int64, error) {
	if in.disk.Layout != format.LayoutChunked {
		return 0, unsupported("its %d bytes lie in the bootstrap", in.Size)
	}
	span, err := format.ChunkFormat(in.disk.Union).Span()
	if err != nil {
		return 0, err
	}
	count := (uint64(in.Size) + span - 1) / span
	if first := in.at + int64(in.disk.ChunksAt()); first > im.size || count > uint64(im.size-first)/format.ChunkIndexSize {
		return 0, malformed("cut off: %d chunk indexes at %d are not inside the bootstrap", count, first)
	}
	return int64(span), nil
}

func (im *Image) extent(in *Inode, at, span int64) (Extent, error) {
	var b [format.ChunkIndexSize]byte
	if err := im.readFull(b[:], in.at+int64(in.disk.ChunksAt())+at/span*format.ChunkIndexSize); err != nil {
		return Extent{}, err
	}
	index, err := format.ParseChunkIndex(b[:])
	if err != nil {
		return Extent{}, err
	}
	x := Extent{FileOffset: at, Length: min(span, in.Size-at), Blob: Hole}
	if index.Block == format.NoBlock {
		return x, nil
	}
	x.Blob, x.DeviceOffset = int(index.Device)-1, int64(index.Block)<<format.BlockBits
	if x.Blob < 0 || x.Blob >= len(im.blobs) {
		return Extent{}, malformed("at %d: device %d, the image has %d", at, index.Device, len(im.blobs))
	}
	if size := im.blobs[x.Blob].DeviceSize; x.DeviceOffset > size || x.Length > size-x.DeviceOffset {
		return Extent{}, malformed("at %d: %d bytes at %d are not inside device %d of %d bytes", at, x.Length, x.DeviceOffset, index.Device, size)
	}
	return x, nil
}

// ChunkRef names a chunk of an image.
type ChunkRef struct {
	Blob  int // index of Image.Blobs
	Chunk int // index of Blob.Chunks
}

// ChunksOf returns the chunks that a regular file's bytes come from, in the
// file's order; a chunk that the file has several times is named as often. Holes
// have none. It ends with the first error; bytes of the file that no chunk has
// are one.
func (im *Image) ChunksOf(in *Inode) iter.Seq2[ChunkRef, error] {
	return func(yield func(ChunkRef, error) bool) {
		for x, err := range im.Extents(in) {
			if err == nil && x.Blob != Hole {
				err = im.covered(x)
			}
			if err != nil {
				yield(ChunkRef{}, err)
				return
			}
			if x.Blob == Hole {
				continue
			}
			first, end := im.blobs[x.Blob].Range(x.DeviceOffset, x.Length)
			for i := first; i < end; i++ {
				if !yield(ChunkRef{Blob: x.Blob, Chunk: i}, nil) {
					return
				}
			}
		}
	}
}

// covered checks that every byte of an extent belongs to a chunk.
func (im *Image) covered(x Extent) error {
	b := im.blobs[x.Blob]
	first, end := b.Range(x.DeviceOffset, x.Length)
	at := x.DeviceOffset
	for _, c := range b.chunks[first:end] {
		if c.DeviceOffset() > at {
			break
		}
		at = c.DeviceEnd()
	}
	if at < x.DeviceOffset+x.Length {
		return malformed("file at %d: no chunk has byte %d of blob %s's device", x.FileOffset+at-x.DeviceOffset, at, b.ID)
	}
	return nil
}
