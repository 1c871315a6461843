package convert

import (
	"bytes"
	"crypto/sha256"
	"os"
	"testing"

	"github.com/darter-p2p/darter/plugin/rafs/format"
)

// The complete image that nydus-image 2.2 wrote.
const (
	fixtureBoot = "../testdata/small.boot"
	fixtureBlob = "../testdata/be7d77eeb719f70884758d1aa800ed0fb09d701aaec469964e9d54325f0d5fef"
)

// TestTailAsNydus makes the parts behind the data of a blob of nydus-image and compares
// them with what stands there.
func TestTailAsNydus(t *testing.T) {
	boot, err := os.ReadFile(fixtureBoot)
	if err != nil {
		t.Fatal(err)
	}
	blob, err := os.ReadFile(fixtureBlob)
	if err != nil {
		t.Fatal(err)
	}
	ext, err := format.ParseExtension(boot[format.ExtensionOffset:])
	if err != nil {
		t.Fatal(err)
	}
	entry, err := format.ParseBlob(boot[ext.BlobTable.Offset:])
	if err != nil {
		t.Fatal(err)
	}
	chunks := make([]chunk, entry.Chunks)
	var size uint64
	for i := range chunks {
		c, err := format.ParseChunk(boot[ext.ChunkTable.Offset+uint64(i)*format.ChunkEntrySize:])
		if err != nil {
			t.Fatal(err)
		}
		chunks[c.Index] = chunk{
			digest: c.Digest, index: c.Index, size: c.UncompressedSize, packed: c.CompressedSize,
			at: c.CompressedOffset, device: c.DeviceOffset,
		}
		size = max(size, c.CompressedOffset+uint64(c.CompressedSize))
	}
	header := tarHeader(partData, size)
	if want := blob[size:][:tarHeaderSize]; !bytes.Equal(header, want) {
		t.Errorf("tar header of the data:\n got %x\nwant %x", header, want)
	}
	tail := newTail(chunks, size, entry.UncompressedSize, sha256.Sum256(blob[:size+tarHeaderSize]))
	want := blob[size+tarHeaderSize:]
	if len(tail.bytes) != len(want) {
		t.Fatalf("%d bytes, nydus-image has %d", len(tail.bytes), len(want))
	}
	toc := len(want) - int(entry.TOCSize)
	got := bytes.Clone(tail.bytes)
	for i := 1; i <= 4; i++ { // nydus-image leaves what was in memory at the end of an entry
		copy(got[toc+i*tocEntrySize-4:], want[toc+i*tocEntrySize-4:][:4])
	}
	for i := range got {
		if got[i] != want[i] {
			t.Fatalf("byte %d of the tail (the table of contents starts at %d): %x, nydus-image has %x", i, toc, got[i:][:16], want[i:][:16])
		}
	}
	if tail.metaAt != entry.Meta.Offset || tail.metaSize != entry.Meta.Size || tail.toc != entry.TOCSize {
		t.Errorf("the tail says %+v, the blob table %+v", tail, entry)
	}
	if sum := sha256.Sum256(want[toc:]); sum != entry.TOCDigest {
		t.Errorf("the blob table's digest of the table of contents is not of these bytes")
	}
	if entry.Features != blobFeatures {
		t.Errorf("features %#x, nydus-image has %#x", blobFeatures, entry.Features)
	}
}
