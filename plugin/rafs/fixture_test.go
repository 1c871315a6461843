package rafs

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"testing"

	"github.com/darter-p2p/darter/plugin/rafs/format"
)

// smallBlob is the data blob of testdata/small.boot. Its name is what the
// bootstrap calls it; it is not the sha256 of the file.
const smallBlob = "be7d77eeb719f70884758d1aa800ed0fb09d701aaec469964e9d54325f0d5fef"

func read(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func open(t testing.TB, b []byte) *Image {
	t.Helper()
	im, err := Open(bytes.NewReader(b), int64(len(b)), DefaultLimits())
	if err != nil {
		t.Fatal(err)
	}
	return im
}

// device makes the content of a blob's device out of the blob.
func device(t testing.TB, b *Blob, blob []byte) []byte {
	t.Helper()
	d := make([]byte, b.DeviceSize)
	for i, c := range b.Chunks() {
		if err := b.Decode(i, blob[c.CompressedOffset:][:c.CompressedSize], d[c.DeviceOffset():c.DeviceEnd()]); err != nil {
			t.Fatal(err)
		}
	}
	return d
}

// A complete image of nydus-image 2.2 gives the right bytes.
func TestSmallImage(t *testing.T) {
	im := open(t, read(t, "small.boot"))
	if len(im.Blobs()) != 1 {
		t.Fatalf("%d blobs", len(im.Blobs()))
	}
	b := im.Blobs()[0]
	if b.ID != smallBlob || b.Compressor != format.CompressZstd || b.Digester != format.DigestBlake3 ||
		b.CompressedSize != 14554 || b.DeviceSize != 9*4096 || b.Features != 0x70000021 || len(b.Chunks()) != 2 {
		t.Errorf("blob %+v", b)
	}
	dev := device(t, b, read(t, smallBlob))
	got := map[string]string{}
	if err := im.Walk(func(path string, in *Inode) error {
		if !in.IsRegular() {
			return nil
		}
		var content []byte
		for x, err := range im.Extents(in) {
			if err != nil {
				return err
			}
			content = append(content, dev[x.DeviceOffset:][:x.Length]...)
		}
		sum := sha256.Sum256(content)
		got[path] = hex.EncodeToString(sum[:4])
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if len(got) != 2 || got["lib.rs"] != "1810eba8" || got["sync_io.rs"] != "e629ab26" {
		t.Errorf("files %v", got)
	}
	path, offset, err := im.FileOf(ChunkRef{Blob: 0, Chunk: 1})
	if err != nil || path != "sync_io.rs" || offset != 0 {
		t.Errorf("chunk 1 is of %s at %d, %v", path, offset, err)
	}
}

// The root file system of a real image: all inodes are reached, every file's
// chunks are there, and what was written down of some files is so.
func TestDebianImage(t *testing.T) {
	im := open(t, read(t, "debian.boot"))
	b := im.Blobs()[0]
	if b.Compressor != format.CompressLZ4 || len(b.Chunks()) != 2515 || b.DeviceSize != 20451*4096 {
		t.Errorf("blob %+v with %d chunks", b, len(b.Chunks()))
	}
	nodes := map[uint64]bool{}
	types := map[uint32]int{}
	used := map[ChunkRef]bool{}
	xattrs := 0
	byPath := map[string]*Inode{}
	err := im.Walk(func(path string, in *Inode) error {
		byPath[path] = in
		nodes[in.Node] = true
		types[in.Mode&format.ModeType]++
		x, err := im.Xattrs(in)
		if err != nil {
			return err
		}
		xattrs += len(x)
		if in.IsSymlink() {
			_, err := im.Readlink(in)
			return err
		}
		if !in.IsRegular() {
			return nil
		}
		for ref, err := range im.ChunksOf(in) {
			if err != nil {
				return err
			}
			used[ref] = true
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d nodes, %d paths, types %v, %d xattrs", len(nodes), len(byPath), types, xattrs)
	if uint64(len(nodes)) != im.Inodes() {
		t.Errorf("%d nodes, the superblock says %d", len(nodes), im.Inodes())
	}
	if len(used) != len(b.Chunks()) {
		t.Errorf("files use %d of %d chunks", len(used), len(b.Chunks()))
	}
	if target, err := im.Readlink(byPath["bin"]); err != nil || target != "usr/bin" {
		t.Errorf("bin points to %q, %v", target, err)
	}
}
