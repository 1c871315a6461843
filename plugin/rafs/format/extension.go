package format

import "math/bits"

// Flags of the extension.
const (
	FlagCompressNone   = 0x00000001
	FlagCompressLZ4    = 0x00000002
	FlagBlake3         = 0x00000004
	FlagSHA256         = 0x00000008
	FlagExplicitOwners = 0x00000010 // inodes carry user and group
	FlagXattrs         = 0x00000020 // inodes may have extended attributes
	FlagCompressGzip   = 0x00000040
	FlagCompressZstd   = 0x00000080
	FlagInlinedDigests = 0x00000100 // blobs carry the digests of their chunks, too
	FlagTarfs          = 0x00000200 // the blobs are plain tar files
	FlagEncryptNone    = 0x01000000
	FlagEncryptAES     = 0x02000000 // AES-128-XTS
)

// Bounds of a chunk, of a blob's parts and of a table.
const (
	MinChunkSize = BlockSize
	MaxChunkSize = 16 << 20
)

// The prefetch table: node numbers of 4 bytes.
const (
	PrefetchEntrySize = 4
	MaxPrefetch       = 1 << 18 // entries; more is refused
)

// Region is a part of the file, in bytes.
type Region struct {
	Offset uint64
	Size   uint64
}

// Extension is the RAFS superblock, 256 bytes at offset 1152.
type Extension struct {
	Flags         uint64 // Flag… bits
	BlobTable     Region // Blob entries
	ChunkSize     uint32 // a file is cut into chunks of this size, a power of two
	ChunkTable    Region // Chunk entries
	PrefetchTable Region // node numbers of PrefetchEntrySize bytes
}

// ParseExtension reads an extension from the first 256 bytes of b.
func ParseExtension(b []byte) (Extension, error) {
	if err := need(b, ExtensionSize, "RAFS superblock"); err != nil {
		return Extension{}, err
	}
	e := Extension{
		Flags:         le.Uint64(b),
		BlobTable:     Region{Offset: le.Uint64(b[8:]), Size: uint64(le.Uint32(b[16:]))},
		ChunkSize:     le.Uint32(b[20:]),
		ChunkTable:    Region{Offset: le.Uint64(b[24:]), Size: le.Uint64(b[32:])},
		PrefetchTable: Region{Offset: le.Uint64(b[40:]), Size: uint64(le.Uint32(b[48:]))},
	}
	switch {
	case e.Flags&FlagTarfs != 0:
		return Extension{}, unsupported("RAFS superblock: a tarfs image, whose blobs are plain tar files")
	case e.Flags&FlagEncryptAES != 0:
		return Extension{}, unsupported("RAFS superblock: an encrypted image")
	case bits.OnesCount32(e.ChunkSize) != 1 || e.ChunkSize < MinChunkSize || e.ChunkSize > MaxChunkSize:
		return Extension{}, malformed("RAFS superblock: chunk size %d is no power of two from %d to %d", e.ChunkSize, MinChunkSize, MaxChunkSize)
	case e.BlobTable.Size%BlobSize != 0:
		return Extension{}, malformed("RAFS superblock: blob table of %d bytes, entries have %d", e.BlobTable.Size, BlobSize)
	case e.ChunkTable.Size%ChunkEntrySize != 0:
		return Extension{}, malformed("RAFS superblock: chunk table of %d bytes, entries have %d", e.ChunkTable.Size, ChunkEntrySize)
	case e.PrefetchTable.Size%PrefetchEntrySize != 0:
		return Extension{}, malformed("RAFS superblock: prefetch table of %d bytes, entries have %d", e.PrefetchTable.Size, PrefetchEntrySize)
	}
	return e, nil
}

// AppendTo appends the 256 bytes of the extension to b. The blob table and the
// prefetch table must be shorter than 4 GiB.
func (e Extension) AppendTo(b []byte) []byte {
	var o [ExtensionSize]byte
	le.PutUint64(o[0:], e.Flags)
	le.PutUint64(o[8:], e.BlobTable.Offset)
	le.PutUint32(o[16:], uint32(e.BlobTable.Size))
	le.PutUint32(o[20:], e.ChunkSize)
	le.PutUint64(o[24:], e.ChunkTable.Offset)
	le.PutUint64(o[32:], e.ChunkTable.Size)
	le.PutUint64(o[40:], e.PrefetchTable.Offset)
	le.PutUint32(o[48:], uint32(e.PrefetchTable.Size))
	return append(b, o[:]...)
}
