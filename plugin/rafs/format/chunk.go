package format

// ChunkEntrySize is the length of an entry of the chunk table.
const ChunkEntrySize = 80

// Flags of a chunk.
const (
	ChunkCompressed = 0x01 // by the blob's compressor; else the bytes are plain
	ChunkEncrypted  = 0x04
	ChunkBatch      = 0x08 // compressed together with others
	ChunkCRC32      = 0x10 // CRC32 is set
)

// Chunk is an entry of the chunk table: a part of a device and where its bytes
// come from.
type Chunk struct {
	Digest           [32]byte // of the uncompressed bytes, by the blob's digester
	Blob             uint32   // index in the blob table
	Flags            uint32   // Chunk… bits
	CompressedSize   uint32
	UncompressedSize uint32
	CompressedOffset uint64 // in the blob
	DeviceOffset     uint64 // in the device, at a block
	FileOffset       uint64 // in the first file that has it
	Index            uint32 // place among the chunks of its blob
	CRC32            uint32
}

// ParseChunk reads an entry of the chunk table from the first 80 bytes of b.
func ParseChunk(b []byte) (Chunk, error) {
	if err := need(b, ChunkEntrySize, "chunk entry"); err != nil {
		return Chunk{}, err
	}
	c := Chunk{
		Digest:           [32]byte(b[:32]),
		Blob:             le.Uint32(b[32:]),
		Flags:            le.Uint32(b[36:]),
		CompressedSize:   le.Uint32(b[40:]),
		UncompressedSize: le.Uint32(b[44:]),
		CompressedOffset: le.Uint64(b[48:]),
		DeviceOffset:     le.Uint64(b[56:]),
		FileOffset:       le.Uint64(b[64:]),
		Index:            le.Uint32(b[72:]),
		CRC32:            le.Uint32(b[76:]),
	}
	switch {
	case c.Flags&ChunkEncrypted != 0:
		return Chunk{}, unsupported("an encrypted chunk")
	case c.Flags&ChunkBatch != 0:
		return Chunk{}, unsupported("a batch chunk (compressed together with others)")
	case c.Flags&^(ChunkCompressed|ChunkCRC32) != 0:
		return Chunk{}, unsupported("a chunk with unknown flags %#x", c.Flags)
	case c.UncompressedSize == 0 || c.UncompressedSize > MaxChunkSize:
		return Chunk{}, malformed("a chunk of %d bytes, the format allows 1 to %d", c.UncompressedSize, MaxChunkSize)
	case c.CompressedSize == 0 || c.CompressedSize > 2*MaxChunkSize:
		return Chunk{}, malformed("a chunk of %d compressed bytes", c.CompressedSize)
	case c.Flags&ChunkCompressed == 0 && c.CompressedSize != c.UncompressedSize:
		return Chunk{}, malformed("a plain chunk of %d bytes takes %d in the blob", c.UncompressedSize, c.CompressedSize)
	case c.DeviceOffset%BlockSize != 0:
		return Chunk{}, malformed("a chunk at %d of the device, not at a block", c.DeviceOffset)
	}
	return c, nil
}

// AppendTo appends the 80 bytes of the entry to b.
func (c Chunk) AppendTo(b []byte) []byte {
	var o [ChunkEntrySize]byte
	copy(o[:32], c.Digest[:])
	le.PutUint32(o[32:], c.Blob)
	le.PutUint32(o[36:], c.Flags)
	le.PutUint32(o[40:], c.CompressedSize)
	le.PutUint32(o[44:], c.UncompressedSize)
	le.PutUint64(o[48:], c.CompressedOffset)
	le.PutUint64(o[56:], c.DeviceOffset)
	le.PutUint64(o[64:], c.FileOffset)
	le.PutUint32(o[72:], c.Index)
	le.PutUint32(o[76:], c.CRC32)
	return append(b, o[:]...)
}
