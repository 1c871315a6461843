package rafs

import (
	"cmp"
	"fmt"
	"slices"
	"sort"

	"github.com/darter-p2p/darter/plugin/rafs/format"
)

// Chunk is a part of a device and the part of the blob that it is made of. Its
// 56 bytes are what a chunk costs in memory.
type Chunk struct {
	Digest           [32]byte // of the uncompressed bytes
	CompressedOffset int64    // in the blob
	CompressedSize   uint32
	Size             uint32 // in the device
	block            uint32
	flags            uint32
}

// DeviceOffset returns where the chunk starts in the device, at a block.
func (c *Chunk) DeviceOffset() int64 { return int64(c.block) << format.BlockBits }

// DeviceEnd returns where the chunk ends in the device. What lies between it and
// the next chunk is zeros.
func (c *Chunk) DeviceEnd() int64 { return c.DeviceOffset() + int64(c.Size) }

// Compressed reports whether the chunk is compressed by the blob's compressor.
func (c *Chunk) Compressed() bool { return c.flags&format.ChunkCompressed != 0 }

// Chunks returns the chunks of the blob, sorted by DeviceOffset, none of which
// overlap in the device. They need not lie in the same order in the blob. Do not
// change the slice.
func (b *Blob) Chunks() []Chunk { return b.chunks }

// Range returns the chunks, as indexes from first up to but not with end, that
// have a byte of the device's part of length bytes at offset.
func (b *Blob) Range(offset, length int64) (first, end int) {
	if length <= 0 {
		return 0, 0
	}
	first = sort.Search(len(b.chunks), func(i int) bool { return b.chunks[i].DeviceEnd() > offset })
	end = first
	for end < len(b.chunks) && b.chunks[end].DeviceOffset() < offset+length {
		end++
	}
	return first, end
}

// readChunks reads the chunk table, which has the chunks of all blobs in any
// order, and gives each blob its own.
func (im *Image) readChunks() error {
	offset, size, err := im.region(im.ext.ChunkTable, "chunk table")
	if err != nil {
		return err
	}
	total := toInt(uint64(size) / format.ChunkEntrySize)
	if total > im.limits.Chunks {
		return im.limits.exceeded("chunks", total, im.limits.Chunks)
	}
	left := total
	for _, b := range im.blobs { // a lie about the number costs time, not memory
		n := min(int(b.announced), left)
		b.chunks = make([]Chunk, 0, n)
		left -= n
	}
	if err := im.eachChunk(offset, total, func(i int, c format.Chunk) error {
		b, err := im.place(c)
		if err != nil {
			return fmt.Errorf("chunk %d: %w", i, err)
		}
		b.chunks = append(b.chunks, Chunk{
			Digest:           c.Digest,
			CompressedOffset: int64(c.CompressedOffset),
			CompressedSize:   c.CompressedSize,
			Size:             c.UncompressedSize,
			block:            uint32(c.DeviceOffset >> format.BlockBits),
			flags:            c.Flags,
		})
		return nil
	}); err != nil {
		return err
	}
	for _, b := range im.blobs {
		if err := b.sort(); err != nil {
			return err
		}
	}
	return nil
}

// eachChunk calls fn with the entries of the chunk table, one buffer at a time.
func (im *Image) eachChunk(offset int64, total int, fn func(int, format.Chunk) error) error {
	const batch = 1024
	buf := make([]byte, min(total, batch)*format.ChunkEntrySize)
	for i := 0; i < total; {
		n := min(total-i, batch)
		if err := im.readFull(buf[:n*format.ChunkEntrySize], offset+int64(i)*format.ChunkEntrySize); err != nil {
			return err
		}
		for k := range n {
			c, err := format.ParseChunk(buf[k*format.ChunkEntrySize:])
			if err != nil {
				return fmt.Errorf("chunk %d: %w", i+k, err)
			}
			if err := fn(i+k, c); err != nil {
				return err
			}
		}
		i += n
	}
	return nil
}

// place returns the blob of a chunk, inside of which it must lie.
func (im *Image) place(c format.Chunk) (*Blob, error) {
	if c.Blob >= uint32(len(im.blobs)) {
		return nil, malformed("of blob %d, the image has %d", c.Blob, len(im.blobs))
	}
	b := im.blobs[c.Blob]
	switch {
	case c.UncompressedSize > im.ext.ChunkSize:
		return nil, malformed("%d bytes, the image's chunks have at most %d", c.UncompressedSize, im.ext.ChunkSize)
	case c.DeviceOffset > uint64(b.DeviceSize) || uint64(c.UncompressedSize) > uint64(b.DeviceSize)-c.DeviceOffset:
		return nil, malformed("%d bytes at %d are not inside the device of %d bytes", c.UncompressedSize, c.DeviceOffset, b.DeviceSize)
	case c.CompressedOffset > uint64(b.CompressedSize) || uint64(c.CompressedSize) > uint64(b.CompressedSize)-c.CompressedOffset:
		return nil, malformed("%d bytes at %d are not inside the blob of %d bytes", c.CompressedSize, c.CompressedOffset, b.CompressedSize)
	}
	return b, nil
}

// sort orders the chunks by device offset, drops entries that are there twice,
// and refuses chunks that overlap: the device would depend on who writes last.
func (b *Blob) sort() error {
	slices.SortFunc(b.chunks, func(x, y Chunk) int { return cmp.Compare(x.block, y.block) })
	b.chunks = slices.Compact(b.chunks)
	for i := 1; i < len(b.chunks); i++ {
		last, this := &b.chunks[i-1], &b.chunks[i]
		if last.DeviceEnd() > this.DeviceOffset() {
			return malformed("blob %s: two chunks overlap at %d of the device", b.ID, this.DeviceOffset())
		}
	}
	return nil
}
