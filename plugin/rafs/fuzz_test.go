package rafs

import (
	"bytes"
	"errors"
	"testing"

	"github.com/containerd/errdefs"

	"github.com/darter-p2p/darter/plugin/rafs/format"
)

// FuzzOpen reads all that can be read of a bootstrap. What Open accepts keeps
// its promises: chunks sorted, inside their blob and device, none over another.
func FuzzOpen(f *testing.F) {
	f.Add(read(f, "small.boot"))
	b, _ := mixed(f)
	f.Add(b.bytes())
	limits := Limits{Bytes: 1 << 20, Blobs: 254, Chunks: 1 << 12, Entries: 1 << 10, Depth: 16}
	f.Fuzz(func(t *testing.T, file []byte) {
		im, err := Open(bytes.NewReader(file), int64(len(file)), limits)
		if err != nil {
			known(t, err)
			return
		}
		for _, blob := range im.Blobs() {
			end := int64(0)
			for i, c := range blob.Chunks() {
				if c.DeviceOffset() < end || c.DeviceEnd() > blob.DeviceSize || c.CompressedOffset+int64(c.CompressedSize) > blob.CompressedSize {
					t.Fatalf("chunk %d of %+v lies wrong: %+v", i, blob, c)
				}
				if first, last := blob.Range(c.DeviceOffset(), int64(c.Size)); first != i || last != i+1 {
					t.Fatalf("the range of chunk %d is %d to %d", i, first, last)
				}
				end = c.DeviceEnd()
			}
		}
		steps := 0
		err = im.Walk(func(_ string, in *Inode) error {
			_, err := im.Xattrs(in)
			known(t, err)
			if in.IsSymlink() {
				_, err := im.Readlink(in)
				known(t, err)
			}
			for x, err := range im.Extents(in) {
				known(t, err)
				if err == nil && x.Blob != Hole && x.DeviceOffset+x.Length > im.Blobs()[x.Blob].DeviceSize {
					t.Fatalf("extent %+v lies outside", x)
				}
				if steps++; steps > 1<<12 {
					break
				}
			}
			return nil
		})
		known(t, err)
		im.Prefetch(100)
	})
}

// FuzzDecode gives any bytes to each decompressor: they never write more than
// the chunk, never say that rubbish is right, and do not panic.
func FuzzDecode(f *testing.F) {
	for c := format.CompressNone; c <= format.CompressZstd; c++ {
		f.Add(uint8(c), uint16(5000), pack(c, text(9, 5000)))
	}
	blob := &Blob{decompress: &decompressor{}}
	f.Fuzz(func(t *testing.T, c uint8, size uint16, packed []byte) {
		b := *blob
		b.Compressor = format.Compressor(c % 4)
		b.Digester = format.Digester(c / 4 % 2)
		b.chunks = []Chunk{{CompressedSize: uint32(len(packed)), Size: uint32(size), flags: format.ChunkCompressed}}
		whole := bytes.Repeat([]byte{0xee}, int(size)+16)
		err := b.Decode(0, packed, whole[:size])
		if !errors.Is(err, errdefs.ErrDataLoss) {
			t.Fatalf("%v: %v", b.Compressor, err)
		}
		if !bytes.Equal(whole[size:], bytes.Repeat([]byte{0xee}, 16)) {
			t.Fatalf("%v wrote behind the chunk", b.Compressor)
		}
	})
}

// known checks that an error says whose fault it is.
func known(t *testing.T, err error) {
	t.Helper()
	if err != nil && !errors.Is(err, errdefs.ErrInvalidArgument) && !errors.Is(err, errdefs.ErrNotImplemented) && !errors.Is(err, errdefs.ErrResourceExhausted) {
		t.Fatalf("error of no class: %v", err)
	}
}
