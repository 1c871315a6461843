package convert

import (
	"bytes"
	"context"
	"fmt"
	"io"

	"github.com/containerd/errdefs"
	"github.com/zeebo/blake3"

	"github.com/darter-p2p/darter/plugin/rafs/format"
)

// Bounds of one blob: blob.meta holds offsets in 40 bits, a chunk index holds the
// chunk's number in 24.
const (
	maxBlobBytes  = 1 << 40
	maxBlobChunks = 1 << 24
)

// chunk is a stored part of a file: an entry of the chunk table to be.
type chunk struct {
	digest [32]byte
	blob   uint32 // place in the blob table
	index  uint32 // among the chunks of its blob
	size   uint32
	packed uint32 // bytes in the blob; less than size if compressed
	at     uint64 // in the blob
	device uint64 // in the blob's device
	file   uint64 // in the file that brought it
}

// chunkTable holds the chunks of all blobs, in the order of blobs and places, and finds
// those that are there already.
type chunkTable struct {
	chunks []chunk
	known  map[[32]byte]uint32
	budget *budget
}

// blobChunks cuts the files of one layer into chunks. New ones go to the blob.
type blobChunks struct {
	table  *chunkTable
	pack   *packer
	blob   uint32
	first  int    // the blob's first chunk in the table
	device uint64 // end of the device so far
	size   int    // of a chunk
	zeros  []byte // as long as a chunk
	hole   int64  // the chunk of zeros, -1 before there is one
}

// file implements contents.
func (b *blobChunks) file(ctx context.Context, r io.Reader) (size uint64, refs []uint32, err error) {
	for {
		if ctx.Err() != nil { // a sparse file's zeros come from nowhere: the source does not notice
			return 0, nil, context.Cause(ctx)
		}
		j, err := b.pack.job()
		if err != nil {
			return 0, nil, err
		}
		n, err := readFull(r, j.raw[:b.size])
		if n > 0 {
			if e := b.table.budget.reference(); e != nil {
				b.pack.giveBack(j)
				return 0, nil, e
			}
			ref, e := b.chunk(j, n, size)
			if e != nil {
				return 0, nil, e
			}
			refs = append(refs, ref)
			size += uint64(n)
		} else {
			b.pack.giveBack(j)
		}
		if err == io.EOF { //nolint:errorlint // the end of a file is io.EOF itself
			return size, refs, nil
		}
		if err != nil {
			return 0, nil, fmt.Errorf("read contents: %w", err)
		}
	}
}

// chunk returns the place in the table of the first n bytes of the job, which it stores
// unless the image has them. The job is not the caller's afterwards.
func (b *blobChunks) chunk(j *job, n int, fileOffset uint64) (uint32, error) {
	raw := j.raw[:n]
	zero := n == b.size && bytes.Equal(raw, b.zeros)
	if zero && b.hole >= 0 {
		b.pack.giveBack(j)
		return uint32(b.hole), nil
	}
	sum := blake3.Sum256(raw)
	ref, found := b.table.known[sum]
	if !found {
		var err error
		if ref, err = b.add(sum, n, fileOffset); err != nil {
			b.pack.giveBack(j)
			return 0, err
		}
	}
	if zero {
		b.hole = int64(ref)
	}
	if found {
		b.pack.giveBack(j)
		return ref, nil
	}
	return ref, b.pack.put(j, n)
}

// add gives a new chunk its place.
func (b *blobChunks) add(sum [32]byte, n int, fileOffset uint64) (uint32, error) {
	if err := b.table.budget.chunk(); err != nil {
		return 0, err
	}
	index := len(b.table.chunks) - b.first
	if index >= maxBlobChunks || b.device+uint64(n) > maxBlobBytes {
		return 0, fmt.Errorf("a layer of more than %d chunks or %d bytes: %w", maxBlobChunks, uint64(maxBlobBytes), errdefs.ErrNotImplemented)
	}
	ref := uint32(len(b.table.chunks))
	b.table.chunks = append(b.table.chunks, chunk{
		digest: sum, blob: b.blob, index: uint32(index), size: uint32(n), device: b.device, file: fileOffset,
	})
	b.table.known[sum] = ref
	b.device = alignUp(b.device+uint64(n), format.BlockSize)
	return ref, nil
}

func alignUp(n, to uint64) uint64 { return (n + to - 1) / to * to }

// readFull fills b unless r ends first. Unlike io.ReadFull it keeps r's error.
func readFull(r io.Reader, b []byte) (n int, err error) {
	for n < len(b) && err == nil {
		var k int
		k, err = r.Read(b[n:])
		n += k
	}
	return n, err
}
