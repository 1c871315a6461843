package format

import (
	"fmt"
	"math/bits"
	"strings"
)

// Compressor says how chunks are compressed, each for itself.
type Compressor uint32

// The compressors.
const (
	CompressNone Compressor = 0
	CompressLZ4  Compressor = 1 // one LZ4 block without a frame
	CompressGzip Compressor = 2 // one gzip member
	CompressZstd Compressor = 3 // one zstd frame
)

func (c Compressor) String() string {
	switch c {
	case CompressNone:
		return "none"
	case CompressLZ4:
		return "lz4_block"
	case CompressGzip:
		return "gzip"
	case CompressZstd:
		return "zstd"
	}
	return fmt.Sprintf("compressor %d", uint32(c))
}

// Digester says what a chunk's digest is.
type Digester uint32

// The digesters. Both give 32 bytes.
const (
	DigestBlake3 Digester = 0
	DigestSHA256 Digester = 1
)

func (d Digester) String() string {
	switch d {
	case DigestBlake3:
		return "blake3"
	case DigestSHA256:
		return "sha256"
	}
	return fmt.Sprintf("digester %d", uint32(d))
}

// Feature bits of a blob.
const (
	BlobAligned        = 0x00000001 // chunks start at blocks of the device
	BlobInlinedFSMeta  = 0x00000002 // a bootstrap is in the blob, too
	BlobChunkInfoV2    = 0x00000004 // blob.meta has entries of 24 bytes
	BlobZran           = 0x00000008 // the blob is an ordinary gzip layer
	BlobSeparate       = 0x00000010 // blob.meta is a blob of its own
	BlobInlinedDigests = 0x00000020 // blob.digest is in the blob
	BlobTarfs          = 0x00000040 // the blob is a plain tar file
	BlobBatch          = 0x00000080 // small chunks are compressed together
	BlobEncrypted      = 0x00000100
	BlobTarHeader      = 0x10000000 // tar headers between the parts of the blob
	BlobTOC            = 0x20000000 // a table of contents at the end
	BlobCapTarTOC      = 0x40000000 // written by a builder that knows the two above

	// The features with which a chunk can be read by its entry in the chunk
	// table alone. Chunk dictionaries set 0x200 and change nothing here.
	blobReadable = BlobAligned | BlobInlinedFSMeta | BlobChunkInfoV2 | BlobSeparate | BlobInlinedDigests |
		BlobTarHeader | BlobTOC | BlobCapTarTOC | 0x00000200
)

const (
	// BlobSize is the length of an entry of the blob table.
	BlobSize = 256
	// BlobIDSize is the length of a blob's name, its sha256 in hexadecimal.
	BlobIDSize = 64
	// MaxBlobs is how many blobs an image can have: a chunk index counts its
	// device in eight bits, from 1 on.
	MaxBlobs = 254
)

// Blob is an entry of the blob table, 256 bytes.
type Blob struct {
	ID               string // sha256 of the blob, hexadecimal
	Index            uint32 // place in the table, from 0
	ChunkSize        uint32
	Chunks           uint32 // entries that the chunk table has of this blob
	Compressor       Compressor
	Digester         Digester
	Features         uint32 // Blob… bits
	CompressedSize   uint64 // bytes of the blob that chunks can lie in
	UncompressedSize uint64 // bytes of the device
	TOCSize          uint32
	MetaCompressor   Compressor // of blob.meta
	Meta             Region     // blob.meta in the blob, compressed
	MetaUncompressed uint64
	TOCDigest        [32]byte
	MetaDigest       [32]byte
	MetaSize         uint64
}

// ParseBlob reads an entry of the blob table from the first 256 bytes of b. It
// refuses blobs whose chunks cannot be read by the chunk table alone.
func ParseBlob(b []byte) (Blob, error) {
	if err := need(b, BlobSize, "blob entry"); err != nil {
		return Blob{}, err
	}
	id, err := parseBlobID(b)
	if err != nil {
		return Blob{}, err
	}
	e := Blob{
		ID:               id,
		Index:            le.Uint32(b[64:]),
		ChunkSize:        le.Uint32(b[68:]),
		Chunks:           le.Uint32(b[72:]),
		Compressor:       Compressor(le.Uint32(b[76:])),
		Digester:         Digester(le.Uint32(b[80:])),
		Features:         le.Uint32(b[84:]),
		CompressedSize:   le.Uint64(b[88:]),
		UncompressedSize: le.Uint64(b[96:]),
		TOCSize:          le.Uint32(b[104:]),
		MetaCompressor:   Compressor(le.Uint32(b[108:])),
		Meta:             Region{Offset: le.Uint64(b[112:]), Size: le.Uint64(b[120:])},
		MetaUncompressed: le.Uint64(b[128:]),
		TOCDigest:        [32]byte(b[136:168]),
		MetaDigest:       [32]byte(b[168:200]),
		MetaSize:         le.Uint64(b[200:]),
	}
	if err := e.readable(le.Uint32(b[216:])); err != nil {
		return Blob{}, fmt.Errorf("blob %s: %w", id, err)
	}
	return e, nil
}

func (e Blob) readable(cipher uint32) error {
	switch {
	case e.Features&BlobZran != 0:
		return unsupported("a zran blob (an ordinary gzip layer with an index)")
	case e.Features&BlobBatch != 0:
		return unsupported("a blob with batch chunks (several chunks compressed together)")
	case e.Features&BlobEncrypted != 0 || cipher != 0:
		return unsupported("an encrypted blob")
	case e.Features&BlobTarfs != 0:
		return unsupported("a tarfs blob (a plain tar file)")
	case e.Features&^blobReadable != 0:
		return unsupported("unknown features %#x", e.Features&^blobReadable)
	case e.Features&BlobAligned == 0:
		return unsupported("chunks that are not aligned to blocks")
	case e.Compressor > CompressZstd:
		return unsupported("%v", e.Compressor)
	case e.Digester > DigestSHA256:
		return unsupported("%v", e.Digester)
	case bits.OnesCount32(e.ChunkSize) != 1 || e.ChunkSize < MinChunkSize || e.ChunkSize > MaxChunkSize:
		return malformed("chunk size %d is no power of two from %d to %d", e.ChunkSize, MinChunkSize, MaxChunkSize)
	case e.CompressedSize > 1<<40:
		return malformed("%d bytes, the format allows 1 TiB", e.CompressedSize)
	case e.UncompressedSize > 1<<44:
		return malformed("a device of %d bytes, the format allows 16 TiB", e.UncompressedSize)
	}
	return nil
}

// AppendTo appends the 256 bytes of the entry to b. ID must be valid.
func (e Blob) AppendTo(b []byte) []byte {
	var o [BlobSize]byte
	copy(o[:BlobIDSize], e.ID)
	le.PutUint32(o[64:], e.Index)
	le.PutUint32(o[68:], e.ChunkSize)
	le.PutUint32(o[72:], e.Chunks)
	le.PutUint32(o[76:], uint32(e.Compressor))
	le.PutUint32(o[80:], uint32(e.Digester))
	le.PutUint32(o[84:], e.Features)
	le.PutUint64(o[88:], e.CompressedSize)
	le.PutUint64(o[96:], e.UncompressedSize)
	le.PutUint32(o[104:], e.TOCSize)
	le.PutUint32(o[108:], uint32(e.MetaCompressor))
	le.PutUint64(o[112:], e.Meta.Offset)
	le.PutUint64(o[120:], e.Meta.Size)
	le.PutUint64(o[128:], e.MetaUncompressed)
	copy(o[136:], e.TOCDigest[:])
	copy(o[168:], e.MetaDigest[:])
	le.PutUint64(o[200:], e.MetaSize)
	return append(b, o[:]...)
}

// DeviceSlotSize is the length of an entry of the device table.
const DeviceSlotSize = 128

// DeviceSlot is an entry of the device table: what EROFS knows of a blob.
type DeviceSlot struct {
	ID          string // sha256 of the blob, hexadecimal
	Blocks      uint32 // length of the device
	MappedBlock uint32 // where it lies when all devices are taken for one; chunk indexes do not use it
}

// ParseDeviceSlot reads an entry of the device table from the first 128 bytes
// of b.
func ParseDeviceSlot(b []byte) (DeviceSlot, error) {
	if err := need(b, DeviceSlotSize, "device slot"); err != nil {
		return DeviceSlot{}, err
	}
	id, err := parseBlobID(b)
	if err != nil {
		return DeviceSlot{}, err
	}
	return DeviceSlot{ID: id, Blocks: le.Uint32(b[64:]), MappedBlock: le.Uint32(b[68:])}, nil
}

// AppendTo appends the 128 bytes of the slot to b.
func (d DeviceSlot) AppendTo(b []byte) []byte {
	var o [DeviceSlotSize]byte
	copy(o[:BlobIDSize], d.ID)
	le.PutUint32(o[64:], d.Blocks)
	le.PutUint32(o[68:], d.MappedBlock)
	return append(b, o[:]...)
}

// parseBlobID reads a blob's name, which becomes part of URLs and of file
// names: 64 lower-case hexadecimal digits and nothing else.
func parseBlobID(b []byte) (string, error) {
	id := string(b[:BlobIDSize])
	if strings.Trim(id, "0123456789abcdef") != "" {
		return "", malformed("blob name %q is no sha256 in hexadecimal", id)
	}
	return id, nil
}
