package convert

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"

	"github.com/darter-p2p/darter/plugin/rafs/format"
)

// A blob is the chunks' data and behind it, for nydusd, what the bootstrap does not tell
// it: each part is followed by a tar header with its name and length.
//
//	image.blob     the data
//	blob.meta      16 bytes a chunk (chunkInfo), then a header of 4096 bytes
//	blob.digest    32 bytes a chunk
//	rafs.blob.toc  128 bytes for each of the parts above, the header for itself
const (
	partData   = "image.blob"
	partMeta   = "blob.meta"
	partHeader = "blob.meta.header"
	partDigest = "blob.digest"
	partTOC    = "rafs.blob.toc"

	tarHeaderSize  = 512
	metaHeaderSize = 4096
	metaMagic      = 0xb10bb10b
	tocEntrySize   = 128
	tocPlain       = 1 // flag of an entry: the part is not compressed as a whole
)

// blobFeatures are the features of a blob that this package writes.
const blobFeatures = format.BlobAligned | format.BlobInlinedDigests |
	format.BlobTarHeader | format.BlobTOC | format.BlobCapTarTOC

// blobTail is what stands behind the data of a blob.
type blobTail struct {
	bytes     []byte
	metaAt    uint64 // of the chunk infos, in the blob
	metaSize  uint64
	toc       uint32 // length of the table of contents and its tar header
	tocDigest [32]byte
}

// newTail makes what stands behind the data and its tar header. sum is the sha256 of
// those two, size the length of the data, device that of the device.
func newTail(chunks []chunk, size, device uint64, sum [32]byte) blobTail {
	t := blobTail{metaAt: size + tarHeaderSize, metaSize: uint64(len(chunks)) * 16}
	at := func() uint64 { return t.metaAt + uint64(len(t.bytes)) }
	var toc []byte
	part := func(name string, offset, packed, plain uint64, sum [32]byte) {
		toc = appendTOCEntry(toc, name, offset, packed, plain, sum)
	}
	// nydus gives the end of the data for its offset; readers know that it is 0.
	part(partData, size, size, device, sum)

	le := binary.LittleEndian
	var info []byte
	for _, c := range chunks {
		info = le.AppendUint64(info, uint64(c.size-1)<<44|c.device)
		info = le.AppendUint64(info, uint64(c.packed-1)<<44|c.at)
	}
	part(partMeta, at(), t.metaSize, t.metaSize, sha256.Sum256(info))
	t.bytes = append(t.bytes, info...)

	meta := metaHeader(len(chunks), t.metaAt, t.metaSize)
	part(partHeader, at(), metaHeaderSize, metaHeaderSize, sha256.Sum256(meta))
	t.bytes = append(t.bytes, meta...)
	t.bytes = append(t.bytes, tarHeader(partMeta, t.metaSize+metaHeaderSize)...)

	var digests []byte
	for _, c := range chunks {
		digests = append(digests, c.digest[:]...)
	}
	n := uint64(len(digests))
	part(partDigest, at(), n, n, sha256.Sum256(digests))
	t.bytes = append(t.bytes, digests...)
	t.bytes = append(t.bytes, tarHeader(partDigest, n)...)

	toc = append(toc, tarHeader(partTOC, uint64(len(toc)))...)
	t.bytes = append(t.bytes, toc...)
	t.toc, t.tocDigest = uint32(len(toc)), sha256.Sum256(toc)
	return t
}

// metaHeader is the header of blob.meta, which stands behind it.
func metaHeader(chunks int, offset, size uint64) []byte {
	le := binary.LittleEndian
	b := le.AppendUint32(make([]byte, 0, metaHeaderSize), metaMagic)
	b = le.AppendUint32(b, blobFeatures)
	b = le.AppendUint32(b, uint32(format.CompressNone))
	b = le.AppendUint32(b, uint32(chunks))
	b = le.AppendUint64(b, offset)
	b = le.AppendUint64(b, size) // compressed
	b = le.AppendUint64(b, size)
	b = append(b, make([]byte, metaHeaderSize-4-len(b))...)
	return le.AppendUint32(b, metaMagic)
}

// appendTOCEntry appends an entry of the table of contents.
func appendTOCEntry(b []byte, name string, offset, packed, plain uint64, sum [32]byte) []byte {
	le := binary.LittleEndian
	b = le.AppendUint32(b, tocPlain)
	b = le.AppendUint32(b, 0)
	b = append(b, name...)
	b = append(b, make([]byte, 16-len(name))...)
	b = append(b, sum[:]...)
	for _, n := range []uint64{offset, packed, plain} {
		b = le.AppendUint64(b, n)
	}
	return append(b, make([]byte, tocEntrySize-80)...)
}

// tarHeader is the header of a part: GNU format, with nothing but name, size and type.
func tarHeader(name string, size uint64) []byte {
	b := make([]byte, tarHeaderSize)
	copy(b, name)
	if size < 1<<33 {
		copy(b[124:], fmt.Sprintf("%011o", size))
	} else { // GNU's form for large files
		binary.BigEndian.PutUint64(b[128:], size)
		b[124] = 0x80
	}
	copy(b[136:], "00000000000")
	b[156] = '0'
	copy(b[257:], "ustar  ")
	sum := 8 * int(' ')
	for _, c := range b {
		sum += int(c)
	}
	copy(b[148:], fmt.Sprintf("%07o", sum))
	return b
}
