package rafs

import (
	"bytes"
	"encoding/binary"
	"runtime"
	"testing"

	"github.com/darter-p2p/darter/plugin/rafs/format"
)

// BenchmarkOpen opens a bootstrap of 60,000 chunks, which is a large image, and
// says what it keeps in memory.
func BenchmarkOpen(b *testing.B) {
	const chunks = 60000
	small := read(b, "small.boot")
	table := len(small)
	file := append(small, make([]byte, (chunks*format.ChunkEntrySize+4095)&^4095)...)
	for i := range chunks {
		e := format.Chunk{Flags: 1, CompressedSize: 1, UncompressedSize: 4096, DeviceOffset: uint64(chunks-1-i) * 4096}
		copy(file[table+i*format.ChunkEntrySize:], e.AppendTo(nil))
	}
	binary.LittleEndian.PutUint32(file[format.DeviceOffset+64:], chunks)
	binary.LittleEndian.PutUint32(file[4096+72:], chunks)
	binary.LittleEndian.PutUint64(file[format.ExtensionOffset+24:], uint64(table))
	binary.LittleEndian.PutUint64(file[format.ExtensionOffset+32:], chunks*format.ChunkEntrySize)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	im := open(b, file)
	runtime.GC()
	runtime.ReadMemStats(&after)
	runtime.KeepAlive(im)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Open(bytes.NewReader(file), int64(len(file)), DefaultLimits()); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/chunks, "B/chunk")
}

// BenchmarkDecode makes and verifies chunks of 1 MiB.
func BenchmarkDecode(b *testing.B) {
	content := text(1, 1<<20)
	for c := format.CompressNone; c <= format.CompressZstd; c++ {
		b.Run(c.String(), func(b *testing.B) {
			packed := pack(c, content)
			blob := &Blob{Compressor: c, decompress: &decompressor{}, chunks: []Chunk{{
				CompressedSize: uint32(len(packed)), Size: 1 << 20, flags: format.ChunkCompressed, Digest: digestOf(content),
			}}}
			dst := make([]byte, 1<<20)
			b.SetBytes(1 << 20)
			b.ReportAllocs()
			for b.Loop() {
				if err := blob.Decode(0, packed, dst); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkWalk visits the 3,517 inodes of a real image.
func BenchmarkWalk(b *testing.B) {
	im := open(b, read(b, "debian.boot"))
	for b.Loop() {
		if err := im.Walk(func(string, *Inode) error { return nil }); err != nil {
			b.Fatal(err)
		}
	}
}
