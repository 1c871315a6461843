package rafs

import (
	"bytes"
	"errors"
	"io/fs"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"

	"github.com/darter-p2p/darter/plugin/rafs/format"
)

// contents returns every regular file of an image, put together from the
// devices.
func contents(t testing.TB, im *Image, devices [][]byte) map[string][]byte {
	t.Helper()
	got := map[string][]byte{}
	if err := im.Walk(func(path string, in *Inode) error {
		if !in.IsRegular() {
			return nil
		}
		got[path] = nil
		for x, err := range im.Extents(in) {
			if err != nil {
				return err
			}
			part := make([]byte, x.Length)
			if x.Blob != Hole {
				copy(part, devices[x.Blob][x.DeviceOffset:])
			}
			got[path] = append(got[path], part...)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return got
}

// All compressors and digests, several blobs, holes, hard links: the files come
// out as they went in.
func TestMixedImage(t *testing.T) {
	b, files := mixed(t)
	im := open(t, b.bytes())
	var devices [][]byte
	for i, blob := range im.Blobs() {
		devices = append(devices, device(t, blob, b.data[i]))
	}
	if got := contents(t, im, devices); !reflect.DeepEqual(got, files) {
		for name := range files {
			if !bytes.Equal(got[name], files[name]) {
				t.Errorf("%s: %d bytes, not the %d", name, len(got[name]), len(files[name]))
			}
		}
		t.Errorf("%d files, not %d", len(got), len(files))
	}
}

func TestAttributes(t *testing.T) {
	b, _ := mixed(t)
	im := open(t, b.bytes())
	all := map[string]*Inode{}
	if err := im.Walk(func(path string, in *Inode) error { all[path] = in; return nil }); err != nil {
		t.Fatal(err)
	}
	if in := all["zstd"]; in.UID != 1<<20 || in.GID != 7 || in.Links != 2 || !in.ModTime.Equal(time.Unix(1700000000, 5)) || in.Node != all["hard"].Node {
		t.Errorf("extended inode %+v", in)
	}
	if in := all["empty"]; in.Mode != 0o104711 || in.UID != 3 || in.GID != 4 || !in.ModTime.Equal(time.Unix(1600000000, 9)) {
		t.Errorf("compact inode %+v", in)
	}
	if in := all["dev/null"]; in.Major != 1 || in.Minor != 3 {
		t.Errorf("device %+v", in)
	}
	if target, err := im.Readlink(all["link"]); err != nil || target != "lib/target" {
		t.Errorf("link to %q, %v", target, err)
	}
	if _, err := im.Readlink(all["zstd"]); !errors.Is(err, errdefs.ErrInvalidArgument) {
		t.Errorf("a file is a link: %v", err)
	}
	x, err := im.Xattrs(all["zstd"])
	want := []format.Xattr{{Name: "security.capability", Value: []byte(capability)}, {Name: "user.a", Value: []byte{}}}
	if err != nil || !reflect.DeepEqual(x, want) {
		t.Errorf("xattrs %v, %v", x, err)
	}
}

func TestRange(t *testing.T) {
	b, _ := mixed(t)
	zstd := open(t, b.bytes()).Blobs()[3] // chunks of 4, 4 and 4 blocks and one byte
	for _, c := range []struct {
		offset, length int64
		first, end     int
	}{
		{0, 1, 0, 1},
		{0, 0, 0, 0},
		{0, builtChunk, 0, 1},
		{builtChunk - 1, 2, 0, 2},
		{builtChunk, 1, 1, 2},
		{0, 1 << 40, 0, 4},
		{3 * builtChunk, 1, 3, 4},
		{3*builtChunk + 1, 4095, 4, 4}, // zeros behind the last byte
		{1 << 40, 1, 4, 4},
	} {
		if first, end := zstd.Range(c.offset, c.length); first != c.first || end != c.end {
			t.Errorf("%d bytes at %d: chunks %d to %d, not %d to %d", c.length, c.offset, first, end, c.first, c.end)
		}
	}
}

func TestWalk(t *testing.T) {
	b, _ := mixed(t)
	im := open(t, b.bytes())
	walk := func(stop string, with error) (paths []string) {
		if err := im.Walk(func(path string, _ *Inode) error {
			if !strings.HasPrefix(path, "lib/") {
				paths = append(paths, path)
			}
			if path == stop {
				return with
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		return paths
	}
	whole := []string{".", "dev", "dev/null", "empty", "gzip", "hard", "hole", "lib", "link", "lz4", "plain", "zstd"}
	if got := walk("", nil); !slices.Equal(got, whole) {
		t.Errorf("walked %q", got)
	}
	if got := walk("dev", fs.SkipDir); !slices.Equal(got, slices.Concat(whole[:2], whole[3:])) {
		t.Errorf("without dev: %q", got)
	}
	if got := walk("dev/null", fs.SkipDir); !slices.Equal(got, whole) {
		t.Errorf("without the rest of dev: %q", got)
	}
	if got := walk("gzip", fs.SkipDir); !slices.Equal(got, whole[:5]) {
		t.Errorf("without the rest of the root: %q", got)
	}
	if got := walk("hole", fs.SkipAll); !slices.Equal(got, whole[:7]) {
		t.Errorf("up to hole: %q", got)
	}
	if got := walk(".", fs.SkipDir); !slices.Equal(got, whole[:1]) {
		t.Errorf("the root alone: %q", got)
	}
	failed := errors.New("no")
	if err := im.Walk(func(string, *Inode) error { return failed }); !errors.Is(err, failed) {
		t.Errorf("error %v", err)
	}
}

func TestFileOf(t *testing.T) {
	b, _ := mixed(t)
	im := open(t, b.bytes())
	for _, c := range []struct {
		ref    ChunkRef
		path   string
		offset int64
	}{
		{ChunkRef{0, 1}, "plain", builtChunk},
		{ChunkRef{1, 0}, "hole", 0},
		{ChunkRef{2, 0}, "gzip", 0},
		{ChunkRef{3, 3}, "hard", 3 * builtChunk},
	} {
		if path, offset, err := im.FileOf(c.ref); err != nil || path != c.path || offset != c.offset {
			t.Errorf("%v is of %s at %d, %v", c.ref, path, offset, err)
		}
	}
	for _, ref := range []ChunkRef{{4, 0}, {-1, 0}, {0, 2}, {0, -1}} {
		if path, _, err := im.FileOf(ref); !errors.Is(err, errdefs.ErrNotFound) {
			t.Errorf("%v is of %s, %v", ref, path, err)
		}
	}
}

func TestPrefetch(t *testing.T) {
	b, _ := mixed(t)
	im := open(t, b.bytes())
	want := []ChunkRef{{3, 0}, {3, 1}, {3, 2}, {3, 3}, {2, 0}, {1, 0}, {0, 0}, {0, 1}}
	for _, most := range []int{100, 8, 3, 0} {
		if got := im.Prefetch(most); !slices.Equal(got, want[:min(most, 8)]) {
			t.Errorf("the first %d: %v", most, got)
		}
	}
	b.prefetch = []uint32{0, 1} // the root, and once more what is below it
	if got := open(t, b.bytes()).Prefetch(100); len(got) != 8 {
		t.Errorf("of the root: %v", got)
	}
}

func TestCheckBlobs(t *testing.T) {
	b, _ := mixed(t)
	im := open(t, b.bytes())
	var layers []digest.Digest
	for _, blob := range im.Blobs() {
		layers = append(layers, blob.Digest())
	}
	if err := im.CheckBlobs(append(layers, digest.FromString("bootstrap"))); err != nil {
		t.Error(err)
	}
	err := im.CheckBlobs(layers[1:])
	if !errors.Is(err, errdefs.ErrInvalidArgument) || !strings.Contains(err.Error(), layers[0].String()) {
		t.Errorf("with a blob of another image: %v", err)
	}
}

func TestLimits(t *testing.T) {
	b, _ := mixed(t)
	file := b.bytes()
	for name, lower := range map[string]func(*Limits){
		"bytes":  func(l *Limits) { l.Bytes = int64(len(file)) - 1 },
		"blobs":  func(l *Limits) { l.Blobs = 3 },
		"chunks": func(l *Limits) { l.Chunks = 7 },
		"walk":   func(l *Limits) { l.Entries = 20 },
		"depth":  func(l *Limits) { l.Depth = 1 },
	} {
		l := DefaultLimits()
		lower(&l)
		im, err := Open(bytes.NewReader(file), int64(len(file)), l)
		if err == nil {
			err = im.Walk(func(string, *Inode) error { return nil })
		}
		if !errors.Is(err, errdefs.ErrResourceExhausted) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A chunk is 56 bytes: what an image costs in memory is known.
func TestChunkSize(t *testing.T) {
	if size := reflect.TypeFor[Chunk]().Size(); size != 56 {
		t.Errorf("a chunk takes %d bytes", size)
	}
}
