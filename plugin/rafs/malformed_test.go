package rafs

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"io"
	"runtime"
	"strings"
	"testing"

	"github.com/containerd/errdefs"

	"github.com/darter-p2p/darter/plugin/rafs/format"
)

// look opens a bootstrap and reads all of it: what Open does not see, the walk
// must.
func look(b []byte) error {
	im, err := Open(bytes.NewReader(b), int64(len(b)), DefaultLimits())
	if err != nil {
		return err
	}
	return im.Walk(func(_ string, in *Inode) error {
		if _, err := im.Xattrs(in); err != nil {
			return err
		}
		if in.IsSymlink() {
			_, err := im.Readlink(in)
			return err
		}
		if !in.IsRegular() {
			return nil
		}
		for _, err := range im.ChunksOf(in) {
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// Files that are no RAFS v6 bootstrap are told apart.
func TestForeign(t *testing.T) {
	small := read(t, "small.boot")
	plainEROFS := bytes.Clone(small)
	binary.LittleEndian.PutUint32(plainEROFS[1024+8:], 0)
	tarFile := make([]byte, 10240)
	copy(tarFile[257:], "ustar")
	for name, c := range map[string]struct {
		file []byte
		says string
		is   error
	}{
		"empty":           {nil, "empty", errdefs.ErrInvalidArgument},
		"one byte":        {[]byte{1}, "too few", errdefs.ErrInvalidArgument},
		"RAFS v5":         {read(t, "v5-head.boot"), "RAFS v5", errdefs.ErrNotImplemented},
		"layer":           {read(t, "readme.tar.gz"), "image/image.boot", errdefs.ErrInvalidArgument},
		"README":          {inside(t, "readme.tar.gz"), "", errdefs.ErrInvalidArgument},
		"cut bootstrap":   {inside(t, "cut.tar.gz"), "", errdefs.ErrInvalidArgument},
		"zstd layer":      {append([]byte("\x28\xb5\x2f\xfd"), make([]byte, 8192)...), "image/image.boot", errdefs.ErrInvalidArgument},
		"tar":             {tarFile, "image/image.boot", errdefs.ErrInvalidArgument},
		"squashfs":        {append([]byte("hsqs"), make([]byte, 8192)...), "squashfs", errdefs.ErrNotImplemented},
		"zeros":           {make([]byte, 8192), "not that of EROFS", errdefs.ErrInvalidArgument},
		"EROFS":           {plainEROFS, "without RAFS v6", errdefs.ErrNotImplemented},
		"half a head":     {small[:1100], "too few", errdefs.ErrInvalidArgument},
		"odd length":      {small[:len(small)-1], "cut off", errdefs.ErrInvalidArgument},
		"one block":       {small[:4096], "cut off: the blob table", errdefs.ErrInvalidArgument},
		"no chunk table":  {small[:len(small)-4096], "cut off: the chunk table", errdefs.ErrInvalidArgument},
		"blob in between": {read(t, smallBlob), "", errdefs.ErrInvalidArgument},
	} {
		if err := look(c.file); !errors.Is(err, c.is) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// inside returns the last file of a tar.gz.
func inside(t *testing.T, name string) []byte {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(read(t, name)))
	if err != nil {
		t.Fatal(err)
	}
	var last []byte
	for r := tar.NewReader(z); ; {
		if _, err := r.Next(); err != nil {
			return last
		}
		if last, err = io.ReadAll(r); err != nil {
			t.Fatal(err)
		}
	}
}

// Every length that a real bootstrap can be cut to gives an error, not a panic
// and not an image.
func TestCutOff(t *testing.T) {
	b, _ := mixed(t)
	file := b.bytes()
	for n := 0; n < len(file); n += 512 {
		if err := look(file[:n]); !errors.Is(err, errdefs.ErrInvalidArgument) {
			t.Errorf("%d bytes of %d: %v", n, len(file), err)
		}
	}
	if err := look(file); err != nil {
		t.Error(err)
	}
}

// One thing of a good image is wrong.
func TestMalformed(t *testing.T) {
	le := binary.LittleEndian
	const super, ext, slot, blob = format.SuperblockOffset, format.ExtensionOffset, format.DeviceOffset, format.BlockSize
	invalid, other, much := errdefs.ErrInvalidArgument, errdefs.ErrNotImplemented, errdefs.ErrResourceExhausted
	for name, c := range map[string]struct {
		build func(b *built)           // before the image is laid out
		file  func(b *built, f []byte) // after
		says  string
		is    error
	}{
		"a device more":          {file: func(_ *built, f []byte) { le.PutUint16(f[super+86:], 5) }, says: "5 devices, but 4 blobs", is: invalid},
		"a device less":          {file: func(_ *built, f []byte) { le.PutUint16(f[super+86:], 3) }, says: "3 devices, but 4 blobs", is: invalid},
		"300 devices":            {file: func(_ *built, f []byte) { le.PutUint16(f[super+86:], 300) }, says: "at most 254", is: much},
		"device table outside":   {file: func(_ *built, f []byte) { le.PutUint16(f[super+88:], 65535) }, says: "device table", is: invalid},
		"device table over head": {file: func(_ *built, f []byte) { le.PutUint16(f[super+88:], 1) }, says: "device table", is: invalid},
		"blob table outside":     {file: func(_ *built, f []byte) { le.PutUint64(f[ext+8:], 1<<63) }, says: "blob table", is: invalid},
		"blob table wraps":       {file: func(_ *built, f []byte) { le.PutUint64(f[ext+8:], 1<<64-1) }, says: "blob table", is: invalid},
		"chunk table outside":    {file: func(_ *built, f []byte) { le.PutUint64(f[ext+24:], 1<<40) }, says: "chunk table", is: invalid},
		"chunk table huge":       {file: func(_ *built, f []byte) { le.PutUint64(f[ext+32:], 80<<50) }, says: "chunk table", is: invalid},
		"chunk table short":      {file: func(_ *built, f []byte) { le.PutUint64(f[ext+32:], 80) }, says: "no chunk has", is: invalid},
		"prefetch table outside": {file: func(_ *built, f []byte) { le.PutUint64(f[ext+40:], 1<<40) }, says: "prefetch table", is: invalid},
		"blob of two names":      {file: func(_ *built, f []byte) { copy(f[slot:], "0000000") }, says: "in one table", is: invalid},
		"blob out of place":      {file: func(_ *built, f []byte) { le.PutUint32(f[blob+64:], 2) }, says: "is number 0", is: invalid},
		"other chunk size":       {file: func(_ *built, f []byte) { le.PutUint32(f[blob+68:], 4096) }, says: "chunks of 4096", is: invalid},
		"device too short":       {file: func(_ *built, f []byte) { le.PutUint32(f[slot+64:], 1) }, says: "its device 1 blocks", is: invalid},
		"root outside":           {file: func(_ *built, f []byte) { le.PutUint16(f[super+14:], 65535) }, says: "node 65535", is: invalid},
		"metadata outside":       {file: func(_ *built, f []byte) { le.PutUint32(f[super+40:], 1<<31) }, says: "not inside", is: invalid},

		"blob twice":             {build: func(b *built) { b.blobs[1].ID = b.blobs[0].ID }, says: "there twice", is: invalid},
		"zran":                   {build: func(b *built) { b.blobs[1].Features |= format.BlobZran }, says: "zran", is: other},
		"batch":                  {build: func(b *built) { b.blobs[1].Features |= format.BlobBatch }, says: "batch", is: other},
		"encrypted":              {build: func(b *built) { b.blobs[1].Features |= format.BlobEncrypted }, says: "encrypted", is: other},
		"chunk of no blob":       {build: func(b *built) { b.chunks[1].Blob = 4 }, says: "of blob 4", is: invalid},
		"chunk outside device":   {build: func(b *built) { b.chunks[1].DeviceOffset = 1 << 30 }, says: "inside the device", is: invalid},
		"chunk at the far end":   {build: func(b *built) { b.chunks[1].DeviceOffset = 1<<64 - 4096 }, says: "inside the device", is: invalid},
		"chunk outside blob":     {build: func(b *built) { b.chunks[1].CompressedOffset = 1 << 30 }, says: "inside the blob", is: invalid},
		"chunk far outside blob": {build: func(b *built) { b.chunks[1].CompressedOffset = 1<<64 - 1 }, says: "inside the blob", is: invalid},
		"chunk too long":         {build: func(b *built) { b.chunks[0].UncompressedSize, b.chunks[0].CompressedSize = 1<<20, 1<<20 }, says: "at most 16384", is: invalid},
		"chunks overlap":         {build: func(b *built) { b.chunks[1].DeviceOffset = 4096 }, says: "overlap", is: invalid},
		"chunk missing":          {build: func(b *built) { b.chunks = b.chunks[1:] }, says: "no chunk has byte 0", is: invalid},

		"root is a file":      {build: func(b *built) { b.nodes[0].in.Mode = format.ModeRegular }, says: "no directory", is: invalid},
		"root of no type":     {build: func(b *built) { b.nodes[0].in.Mode = 0o755 }, says: "of no type", is: invalid},
		"loop":                {build: func(b *built) { b.entry("dev").Node = 0 }, says: "a second time", is: invalid},
		"directory twice":     {build: func(b *built) { b.entry("lib").Node = b.entry("dev").Node }, says: "a second time", is: invalid},
		"other type":          {build: func(b *built) { b.entry("gzip").Type = format.TypeDir }, says: "says type 2", is: invalid},
		"name with a slash":   {build: func(b *built) { b.entry("gzip").Name = "../x" }, says: `name "../x"`, is: invalid},
		"name twice":          {build: func(b *built) { b.entry("gzip").Name = "empty" }, says: "comes after", is: invalid},
		"directory outside":   {file: func(b *built, f []byte) { le.PutUint32(f[b.of("lib").at+16:], 1<<31) }, says: "not inside", is: invalid},
		"directory longer":    {file: func(b *built, f []byte) { le.PutUint64(f[b.of("lib").at+8:], 1<<40) }, says: "directory", is: invalid},
		"directory in chunks": {build: func(b *built) { b.of("dev").in.Layout = format.LayoutChunked }, says: "in chunks", is: other},
		"node outside":        {file: func(b *built, f []byte) { le.PutUint64(f[b.of("dev").at+64+24:], 1<<60) }, says: "node 1152921504606846976", is: invalid},
		"order over blocks":   {file: func(b *built, f []byte) { f[b.firstName("lib", 1)] = ' ' }, says: "comes after", is: invalid},

		"symlink of 0 bytes":  {build: func(b *built) { b.of("link").in.Size = 0 }, says: "symbolic link of 0", is: invalid},
		"symlink of 5000":     {build: func(b *built) { b.of("link").in.Size = 5000 }, says: "symbolic link of 5000", is: invalid},
		"symlink with zeros":  {build: func(b *built) { b.of("link").tail = []byte("a\x00bbbbbbbb") }, says: "target", is: invalid},
		"symlink over blocks": {build: func(b *built) { b.of("link").in.Size = 4095 }, says: "crosses a block", is: invalid},

		"file too long":       {build: func(b *built) { b.of("gzip").in.Size = 1 << 50 }, says: "chunk indexes", is: invalid},
		"file inline":         {build: func(b *built) { b.of("gzip").in.Layout = format.LayoutInline }, says: "in the bootstrap", is: other},
		"compressed by EROFS": {build: func(b *built) { b.of("gzip").in.Layout = 3 }, says: "data layout 3", is: other},
		"48-bit chunks":       {build: func(b *built) { b.of("gzip").in.Union |= 0x40 }, says: "chunk format", is: other},
		"device 0":            {build: func(b *built) { b.of("gzip").tail = format.ChunkIndex{}.AppendTo(nil) }, says: "device 0", is: invalid},
		"device 5":            {build: func(b *built) { b.of("gzip").tail = format.ChunkIndex{Device: 5}.AppendTo(nil) }, says: "device 5", is: invalid},
		"block outside":       {build: func(b *built) { b.of("gzip").tail = format.ChunkIndex{Device: 1, Block: 8}.AppendTo(nil) }, says: "not inside device", is: invalid},
		"byte of no chunk":    {build: func(b *built) { b.of("gzip").in.Size = 2 * format.BlockSize }, says: "no chunk has byte 5000", is: invalid},
		"time":                {build: func(b *built) { b.of("gzip").in.Nanos = 1e9 }, says: "nanoseconds", is: invalid},
		"shared xattrs":       {file: func(b *built, f []byte) { f[b.of("zstd").at+64+4] = 1 }, says: "shared", is: other},
		"xattrs outside":      {file: func(b *built, f []byte) { le.PutUint16(f[b.of("zstd").at+2:], 65535) }, says: "not inside", is: invalid},
	} {
		t.Run(name, func(t *testing.T) {
			b, _ := mixed(t)
			if c.build != nil {
				c.build(b)
			}
			f := b.bytes()
			if c.file != nil {
				c.file(b, f)
			}
			if err := look(f); !errors.Is(err, c.is) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("error: %v", err)
			}
		})
	}
}

// entry returns a name in the root.
func (b *built) entry(name string) *format.Dirent {
	for i := range b.nodes[0].names {
		if e := &b.nodes[0].names[i]; e.Name == name {
			return e
		}
	}
	panic(name)
}

// of returns the inode that a name in the root is of.
func (b *built) of(name string) *builtNode { return b.nodes[b.entry(name).Node] }

// firstName returns where in the file the first name of a block of a directory
// starts.
func (b *built) firstName(dir string, block int) int64 {
	n := b.of(dir)
	first := binary.LittleEndian.Uint16(n.tail[block*format.BlockSize+8:])
	return (int64(n.in.Union)+int64(block))<<format.BlockBits + int64(first)
}

// A chunk whose bytes are not right is never given out, and nothing is written
// behind the place for it.
func TestDecodeRubbish(t *testing.T) {
	b, _ := mixed(t)
	im := open(t, b.bytes())
	for i, blob := range im.Blobs() {
		c := blob.Chunks()[0]
		good := b.data[i][c.CompressedOffset:][:c.CompressedSize]
		whole := bytes.Repeat([]byte{0xee}, int(c.Size)+64)
		dst := whole[:c.Size:c.Size]
		want := make([]byte, c.Size)
		if err := blob.Decode(0, good, want); err != nil {
			t.Fatal(err)
		}
		for at := 0; at < len(good); at += 1 + at/16 { // every byte of the head, then fewer
			bad := bytes.Clone(good)
			bad[at] ^= 0x55
			err := blob.Decode(0, bad, dst)
			if err == nil && bytes.Equal(dst, want) {
				continue // a byte without meaning, as the time in gzip's header
			}
			if !errors.Is(err, errdefs.ErrDataLoss) {
				t.Errorf("%v with byte %d changed: %v", blob.Compressor, at, err)
			}
		}
		if err := blob.Decode(0, bytes.Repeat([]byte{0}, len(good)), dst); !errors.Is(err, errdefs.ErrDataLoss) {
			t.Errorf("%v of zeros: %v", blob.Compressor, err)
		}
		if !bytes.Equal(whole[c.Size:], bytes.Repeat([]byte{0xee}, 64)) {
			t.Errorf("%v wrote behind the chunk", blob.Compressor)
		}
		for _, n := range []int{len(good) - 1, 0} {
			if err := blob.Decode(0, good[:n], dst); !errors.Is(err, errdefs.ErrInvalidArgument) {
				t.Errorf("%v of %d bytes: %v", blob.Compressor, n, err)
			}
		}
		if err := blob.Decode(0, good, dst[1:]); !errors.Is(err, errdefs.ErrInvalidArgument) {
			t.Errorf("%v into too few bytes: %v", blob.Compressor, err)
		}
		if err := blob.Decode(0, good, dst); err != nil {
			t.Errorf("%v after all that: %v", blob.Compressor, err)
		}
	}
}

// A stream that would grow without end stops at the chunk's size.
func TestDecodeBomb(t *testing.T) {
	for _, c := range []format.Compressor{format.CompressLZ4, format.CompressGzip, format.CompressZstd} {
		bomb := pack(c, make([]byte, 16<<20))
		blob := &Blob{Compressor: c, decompress: &decompressor{}, chunks: []Chunk{{CompressedSize: uint32(len(bomb)), Size: 4096, flags: format.ChunkCompressed}}}
		dst := make([]byte, 4096)
		var before, after runtime.MemStats
		const runs = 20
		for i := range runs + 1 {
			if i == 1 { // the first one makes the decoder
				runtime.ReadMemStats(&before)
			}
			if err := blob.Decode(0, bomb, dst); !errors.Is(err, errdefs.ErrDataLoss) {
				t.Errorf("%v: %v", c, err)
			}
		}
		runtime.ReadMemStats(&after)
		if each := (after.TotalAlloc - before.TotalAlloc) / runs; each > 1<<20 {
			t.Errorf("%v: %d bytes for a chunk of 4096", c, each)
		}
	}
}

// What fails below is said as it is: it is not the file's fault.
func TestReadError(t *testing.T) {
	b, _ := mixed(t)
	file := b.bytes()
	failed := errors.New("disk")
	for good := range 40 {
		im, err := Open(&failing{file: bytes.NewReader(file), good: good, err: failed}, int64(len(file)), DefaultLimits())
		if err == nil {
			err = im.Walk(func(string, *Inode) error { return nil })
		}
		if !errors.Is(err, failed) || errors.Is(err, errdefs.ErrInvalidArgument) {
			t.Errorf("after %d reads: %v", good, err)
		}
	}
	if _, err := Open(bytes.NewReader(file[:8192]), int64(len(file)), DefaultLimits()); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a file shorter than it was: %v", err)
	}
}

type failing struct {
	file *bytes.Reader
	good int
	err  error
}

func (f *failing) ReadAt(b []byte, offset int64) (int, error) {
	if f.good--; f.good < 0 {
		return 0, f.err
	}
	return f.file.ReadAt(b, offset)
}
