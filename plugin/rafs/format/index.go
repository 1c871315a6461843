package format

import "math/bits"

// ChunkFormat is the Union of a chunked inode. It says how many bytes of the
// file one chunk index covers: a power of two, at least a block. A file that
// lies in one piece on one device may have one index for all of it, whatever
// the chunk size of the image.
type ChunkFormat uint32

const (
	chunkFormatBits    = 0x1f
	chunkFormatIndexes = 0x20 // entries are ChunkIndex; else bare block numbers
)

// NewChunkFormat returns the format of indexes that cover span bytes each, a
// power of two of at least BlockSize.
func NewChunkFormat(span uint64) ChunkFormat {
	return ChunkFormat(bits.TrailingZeros64(span)-BlockBits) | chunkFormatIndexes
}

// Span returns how many bytes of the file an index covers.
func (f ChunkFormat) Span() (uint64, error) {
	if f&^(chunkFormatBits|chunkFormatIndexes) != 0 {
		return 0, unsupported("inode: chunk format %#x", uint32(f))
	}
	if f&chunkFormatIndexes == 0 {
		return 0, unsupported("inode: chunks without a device (format %#x)", uint32(f))
	}
	return 1 << (BlockBits + f&chunkFormatBits), nil
}

// ChunkIndexSize is the length of a chunk index.
const ChunkIndexSize = 8

// NoBlock is the block of a hole: the file's bytes are zeros.
const NoBlock = 0xffffffff

// ChunkIndex says where a span of a file lies.
type ChunkIndex struct {
	Device uint8  // 1 is the first blob, 0 is this file
	Chunk  uint32 // Chunk.Index of the span's first chunk, 24 bits; EROFS ignores it
	Block  uint32 // in the device, or NoBlock
}

// ParseChunkIndex reads an index from the first 8 bytes of b.
func ParseChunkIndex(b []byte) (ChunkIndex, error) {
	if err := need(b, ChunkIndexSize, "chunk index"); err != nil {
		return ChunkIndex{}, err
	}
	high := le.Uint16(b[2:])
	return ChunkIndex{
		Device: uint8(high),
		Chunk:  uint32(high>>8)<<16 | uint32(le.Uint16(b)),
		Block:  le.Uint32(b[4:]),
	}, nil
}

// AppendTo appends the 8 bytes of the index to b.
func (x ChunkIndex) AppendTo(b []byte) []byte {
	b = le.AppendUint16(b, uint16(x.Chunk))
	b = le.AppendUint16(b, uint16(x.Chunk>>16)<<8|uint16(x.Device))
	return le.AppendUint32(b, x.Block)
}
