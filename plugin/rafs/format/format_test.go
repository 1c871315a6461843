package format

import (
	"bytes"
	"errors"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
)

func bootstrap(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile("../testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// What nydus-image wrote is read, and written again byte for byte.
func TestNydusStructures(t *testing.T) {
	for _, name := range []string{"small.boot", "debian.boot"} {
		t.Run(name, func(t *testing.T) {
			b := bootstrap(t, name)
			s, err := ParseSuperblock(b[SuperblockOffset:])
			if err != nil {
				t.Fatal(err)
			}
			same(t, "superblock", s.AppendTo(nil), b[SuperblockOffset:])
			e, err := ParseExtension(b[ExtensionOffset:])
			if err != nil {
				t.Fatal(err)
			}
			same(t, "extension", e.AppendTo(nil), b[ExtensionOffset:])
			d, err := ParseDeviceSlot(b[DeviceOffset:])
			if err != nil {
				t.Fatal(err)
			}
			same(t, "device slot", d.AppendTo(nil), b[DeviceOffset:])
			blob, err := ParseBlob(b[e.BlobTable.Offset:])
			if err != nil {
				t.Fatal(err)
			}
			same(t, "blob", blob.AppendTo(nil), b[e.BlobTable.Offset:])
			for at := e.ChunkTable.Offset; at < e.ChunkTable.Offset+e.ChunkTable.Size; at += ChunkEntrySize {
				c, err := ParseChunk(b[at:])
				if err != nil {
					t.Fatal(err)
				}
				same(t, "chunk", c.AppendTo(nil), b[at:])
			}
			at, _ := s.NodeOffset(uint64(s.RootNode))
			root, err := ParseInode(b[at:])
			if err != nil {
				t.Fatal(err)
			}
			same(t, "root inode", root.AppendTo(nil), b[at:])
			if TypeOf(root.Mode) != TypeDir {
				t.Fatalf("root is %+v", root)
			}
		})
	}
}

func same(t *testing.T, what string, got, want []byte) {
	t.Helper()
	if !bytes.Equal(got, want[:len(got)]) {
		t.Errorf("%s: written\n%x, read\n%x", what, got, want[:len(got)])
	}
}

func TestInodes(t *testing.T) {
	for name, i := range map[string]Inode{
		"compact file":   {Layout: LayoutChunked, Mode: ModeRegular | 0o644, Size: 1<<32 - 1, Union: uint32(NewChunkFormat(1 << 20)), Number: 7, UID: 65535, GID: 1, Seconds: 5, Links: 3},
		"extended file":  {Extended: true, Layout: LayoutChunked, Mode: ModeRegular | 0o4755, Size: 1 << 40, Number: 1 << 31, UID: 1 << 31, GID: 1 << 20, Seconds: -5, Nanos: 999999999, Links: 1 << 20},
		"extended dir":   {Extended: true, Layout: LayoutInline, XattrCount: 9, Mode: ModeDir | 0o1777, Size: 99, Links: 2},
		"compact device": {Mode: ModeChar | 0o600, Union: DeviceUnion(1, 3), Links: 1},
	} {
		t.Run(name, func(t *testing.T) {
			b := i.AppendTo(nil)
			if len(b) != i.HeaderSize() {
				t.Errorf("%d bytes, not %d", len(b), i.HeaderSize())
			}
			got, err := ParseInode(b)
			if err != nil || got != i {
				t.Errorf("read %+v, %v", got, err)
			}
		})
	}
}

func TestDevice(t *testing.T) {
	for _, d := range [][2]uint32{{0, 0}, {1, 3}, {4095, 1<<20 - 1}, {259, 256}, {8, 255}} {
		if major, minor := (Inode{Union: DeviceUnion(d[0], d[1])}).Device(); major != d[0] || minor != d[1] {
			t.Errorf("%v is read as %d, %d", d, major, minor)
		}
	}
	if got := DeviceUnion(8, 1); got != 0x801 {
		t.Errorf("sda1 is %#x", got)
	}
}

func TestChunkIndex(t *testing.T) {
	for _, x := range []ChunkIndex{{}, {Device: 254, Chunk: 0xabcdef, Block: 0x12345678}, {Device: 1, Chunk: 1, Block: NoBlock}} {
		got, err := ParseChunkIndex(x.AppendTo(nil))
		if err != nil || got != x {
			t.Errorf("%+v is read as %+v, %v", x, got, err)
		}
	}
	for _, span := range []uint64{4096, 1 << 20, 1 << 43} {
		if got, err := NewChunkFormat(span).Span(); err != nil || got != span {
			t.Errorf("span %d is read as %d, %v", span, got, err)
		}
	}
	if NewChunkFormat(1<<20) != 0x28 {
		t.Errorf("1 MiB is %#x", NewChunkFormat(1<<20))
	}
}

func TestDirs(t *testing.T) {
	var many []Dirent
	for i := range 300 {
		name := string(rune('a'+i/100)) + strings.Repeat(string(rune('a'+i/10%10)), 5+i%200) + string(rune('0'+i%10))
		many = append(many, Dirent{Node: uint64(i) << 33, Type: TypeRegular, Name: name})
	}
	many = append(many, Dirent{Node: 1, Type: TypeDir, Name: strings.Repeat("z", MaxName)})
	sortDirents(many)
	for name, want := range map[string][]Dirent{
		"empty":      {{5, TypeDir, "."}, {5, TypeDir, ".."}},
		"bytes":      {{5, TypeDir, "."}, {5, TypeDir, ".."}, {9, TypeSymlink, "\xff\n"}},
		"full block": {{1, TypeDir, "."}, {1, TypeRegular, strings.Repeat("a", 255)}},
		"many":       many,
	} {
		t.Run(name, func(t *testing.T) {
			var got []Dirent
			b := AppendDir(nil, want)
			for at := 0; at < len(b); at += BlockSize {
				entries, err := ParseDirBlock(b[at:])
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, entries...)
			}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("read %v", got)
			}
		})
	}
}

func sortDirents(d []Dirent) {
	for i := range d {
		for j := i; j > 0 && d[j].Name < d[j-1].Name; j-- {
			d[j], d[j-1] = d[j-1], d[j]
		}
	}
}

func TestMalformedDirs(t *testing.T) {
	dir := func(change func(b []byte)) []byte {
		b := AppendDir(nil, []Dirent{{5, TypeDir, "."}, {5, TypeDir, ".."}, {6, TypeRegular, "file"}})
		change(b)
		return b
	}
	for name, b := range map[string][]byte{
		"no bytes":       nil,
		"half an entry":  make([]byte, 11),
		"zeros":          make([]byte, 4096),
		"names outside":  dir(func(b []byte) { le.PutUint16(b[8:], 4092) }),
		"odd start":      dir(func(b []byte) { le.PutUint16(b[8:], 35) }),
		"name backwards": dir(func(b []byte) { le.PutUint16(b[20:], 35) }),
		"name beyond":    dir(func(b []byte) { le.PutUint16(b[32:], 4000) }),
		"slash":          dir(func(b []byte) { b[len(b)-2] = '/' }),
		"zero inside":    dir(func(b []byte) { b[len(b)-3] = 0 }),
		"empty name":     dir(func(b []byte) { copy(b[len(b)-4:], "\x00\x00\x00\x00") }),
		"twice":          dir(func(b []byte) { copy(b[len(b)-4:], "..\x00\x00") }),
		"order":          dir(func(b []byte) { b[len(b)-4] = '!' }),
		"type 0":         dir(func(b []byte) { b[10] = 0 }),
		"type 8":         dir(func(b []byte) { b[10] = 8 }),
	} {
		t.Run(name, func(t *testing.T) {
			if got, err := ParseDirBlock(b); !errors.Is(err, errdefs.ErrInvalidArgument) {
				t.Errorf("read %v, %v", got, err)
			}
		})
	}
}

func TestXattrs(t *testing.T) {
	want := []Xattr{
		{"user.a", []byte{1}},
		{"security.capability", []byte("01234567890123456789")},
		{"system.posix_acl_access", bytes.Repeat([]byte{7}, 44)},
		{"trusted.overlay.opaque", []byte("y")},
	}
	count, err := XattrCount(want)
	if err != nil {
		t.Fatal(err)
	}
	b := AppendXattrs(nil, want)
	if len(b) != XattrSize(count) {
		t.Fatalf("%d bytes, the inode says %d", len(b), XattrSize(count))
	}
	got, err := ParseXattrs(b)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("read %v, %v", got, err)
	}
	for name, x := range map[string][]Xattr{
		"unknown":     {{"com.apple", nil}},
		"no acl":      {{"system.posix_acl_access2", nil}},
		"long name":   {{"user." + strings.Repeat("a", 256), nil}},
		"long value":  {{"user.a", make([]byte, 65536)}},
		"too many":    {{"user.a", make([]byte, 65535)}, {"user.b", make([]byte, 65535)}, {"user.c", make([]byte, 65535)}, {"user.d", make([]byte, 65535)}},
		"prefix only": {{"user.", nil}},
	} {
		if n, err := XattrCount(x); !errors.Is(err, errdefs.ErrNotImplemented) {
			t.Errorf("%s: count %d, %v", name, n, err)
		}
	}
	for name, change := range map[string]func([]byte) []byte{
		"header cut":    func(b []byte) []byte { return b[:11] },
		"shared":        func(b []byte) []byte { b[4] = 1; return b },
		"prefix 0":      func(b []byte) []byte { b[13] = 0; return b },
		"prefix long":   func(b []byte) []byte { b[13] = 0x81; return b },
		"named acl":     func(b []byte) []byte { b[13] = 2; return b },
		"value cut":     func(b []byte) []byte { return b[:len(b)-4] },
		"value too big": func(b []byte) []byte { le.PutUint16(b[14:], 65535); return b },
	} {
		if got, err := ParseXattrs(change(bytes.Clone(b))); err == nil {
			t.Errorf("%s: read %v", name, got)
		}
	}
}

// Every refusal of a single structure: one field is changed, the error has the
// right class and says what it is.
func TestRefusals(t *testing.T) {
	file := bootstrap(t, "small.boot")
	super, ext := file[SuperblockOffset:][:SuperblockSize], file[ExtensionOffset:][:ExtensionSize]
	blob, slot, chunk := file[4096:][:BlobSize], file[DeviceOffset:][:DeviceSlotSize], file[16384:][:ChunkEntrySize]
	parse := map[string]func([]byte) error{
		"super": func(b []byte) error { _, err := ParseSuperblock(b); return err },
		"ext":   func(b []byte) error { _, err := ParseExtension(b); return err },
		"blob":  func(b []byte) error { _, err := ParseBlob(b); return err },
		"slot":  func(b []byte) error { _, err := ParseDeviceSlot(b); return err },
		"chunk": func(b []byte) error { _, err := ParseChunk(b); return err },
	}
	good := map[string][]byte{"super": super, "ext": ext, "blob": blob, "slot": slot, "chunk": chunk}
	u32 := func(v uint32) []byte { return le.AppendUint32(nil, v) }
	u64 := func(v uint64) []byte { return le.AppendUint64(nil, v) }
	for _, c := range []struct {
		of    string
		at    int
		bytes []byte
		says  string
		is    error
	}{
		{"super", 0, u32(0x52414653), "not that of EROFS", errdefs.ErrInvalidArgument},
		{"super", 8, u32(0), "without RAFS v6", errdefs.ErrNotImplemented},
		{"super", 80, u32(0x1c), "incompatible features", errdefs.ErrNotImplemented},
		{"super", 12, []byte{9}, "tarfs", errdefs.ErrNotImplemented},
		{"super", 12, []byte{16}, "blocks of", errdefs.ErrNotImplemented},
		{"super", 13, []byte{1}, "extension slots", errdefs.ErrNotImplemented},
		{"super", 84, []byte{1}, "compression", errdefs.ErrNotImplemented},
		{"super", 44, u32(3), "shared", errdefs.ErrNotImplemented},
		{"super", 90, []byte{1}, "directory blocks", errdefs.ErrNotImplemented},
		{"super", 32, u32(1e9), "nanoseconds", errdefs.ErrInvalidArgument},
		{"ext", 0, u64(0x200), "tarfs", errdefs.ErrNotImplemented},
		{"ext", 0, u64(0x2000000), "encrypted", errdefs.ErrNotImplemented},
		{"ext", 20, u32(3 << 19), "chunk size", errdefs.ErrInvalidArgument},
		{"ext", 20, u32(1 << 25), "chunk size", errdefs.ErrInvalidArgument},
		{"ext", 20, u32(0), "chunk size", errdefs.ErrInvalidArgument},
		{"ext", 16, u32(255), "blob table", errdefs.ErrInvalidArgument},
		{"ext", 32, u64(81), "chunk table", errdefs.ErrInvalidArgument},
		{"ext", 48, u32(3), "prefetch table", errdefs.ErrInvalidArgument},
		{"blob", 0, []byte("../../etc"), "no sha256", errdefs.ErrInvalidArgument},
		{"blob", 10, []byte{0}, "no sha256", errdefs.ErrInvalidArgument},
		{"blob", 84, u32(BlobAligned | BlobZran), "zran", errdefs.ErrNotImplemented},
		{"blob", 84, u32(BlobAligned | BlobBatch), "batch", errdefs.ErrNotImplemented},
		{"blob", 84, u32(BlobAligned | BlobEncrypted), "encrypted", errdefs.ErrNotImplemented},
		{"blob", 216, u32(1), "encrypted", errdefs.ErrNotImplemented},
		{"blob", 84, u32(BlobTarfs), "tarfs", errdefs.ErrNotImplemented},
		{"blob", 84, u32(BlobAligned | 0x400), "unknown features", errdefs.ErrNotImplemented},
		{"blob", 84, u32(0), "aligned", errdefs.ErrNotImplemented},
		{"blob", 76, u32(4), "compressor 4", errdefs.ErrNotImplemented},
		{"blob", 80, u32(2), "digester 2", errdefs.ErrNotImplemented},
		{"blob", 68, u32(100), "chunk size", errdefs.ErrInvalidArgument},
		{"blob", 88, u64(1<<40 + 1), "1 TiB", errdefs.ErrInvalidArgument},
		{"blob", 96, u64(1<<44 + 1), "16 TiB", errdefs.ErrInvalidArgument},
		{"slot", 63, []byte("G"), "no sha256", errdefs.ErrInvalidArgument},
		{"chunk", 36, u32(ChunkEncrypted), "encrypted", errdefs.ErrNotImplemented},
		{"chunk", 36, u32(ChunkBatch | 1), "batch", errdefs.ErrNotImplemented},
		{"chunk", 36, u32(0x20), "unknown flags", errdefs.ErrNotImplemented},
		{"chunk", 36, u32(0), "plain chunk", errdefs.ErrInvalidArgument},
		{"chunk", 40, u32(0), "compressed bytes", errdefs.ErrInvalidArgument},
		{"chunk", 40, u32(1 << 30), "compressed bytes", errdefs.ErrInvalidArgument},
		{"chunk", 44, u32(0), "a chunk of 0 bytes", errdefs.ErrInvalidArgument},
		{"chunk", 44, u32(1 << 25), "a chunk of", errdefs.ErrInvalidArgument},
		{"chunk", 56, u64(512), "not at a block", errdefs.ErrInvalidArgument},
	} {
		b := bytes.Clone(good[c.of])
		copy(b[c.at:], c.bytes)
		if err := parse[c.of](b); !errors.Is(err, c.is) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s with %x at %d: %v", c.of, c.bytes, c.at, err)
		}
	}
	for name, b := range good {
		if err := parse[name](b); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if err := parse[name](b[:len(b)-1]); !errors.Is(err, errdefs.ErrInvalidArgument) {
			t.Errorf("%s cut: %v", name, err)
		}
	}
}
