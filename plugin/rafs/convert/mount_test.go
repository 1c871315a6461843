package convert

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/zeebo/blake3"
	"golang.org/x/sys/unix"

	"github.com/darter-p2p/darter/plugin/layer"
	"github.com/darter-p2p/darter/plugin/layer/layertest"
	"github.com/darter-p2p/darter/plugin/rafs/format"
)

// mounted converts the layers and lets the kernel alone mount the result, with every
// blob unpacked into a plain file.
func mounted(t *testing.T, layers [][]byte, o Options) (string, *Image) {
	t.Helper()
	needMounts(t)
	img := converted(t, layers, o)
	mnt := t.TempDir()
	var options []string
	for _, d := range devices(t, img) {
		options = append(options, "device="+d)
	}
	if err := unix.Mount(img.Bootstrap, mnt, "erofs", unix.MS_RDONLY, strings.Join(options, ",")); err != nil {
		t.Fatalf("mount %s: %v", img.Bootstrap, err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(mnt, 0); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	return mnt, img
}

func converted(t testing.TB, layers [][]byte, o Options) *Image {
	t.Helper()
	var in []Layer
	for _, b := range layers {
		in = append(in, layerOf(b))
	}
	img, err := Convert(t.Context(), in, t.TempDir(), o)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// devices unpacks every blob by the chunk table of the bootstrap.
func devices(t testing.TB, img *Image) []string {
	t.Helper()
	boot, err := os.ReadFile(img.Bootstrap)
	if err != nil {
		t.Fatal(err)
	}
	ext, err := format.ParseExtension(boot[format.ExtensionOffset:])
	if err != nil {
		t.Fatal(err)
	}
	dec, err := zstd.NewReader(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer dec.Close()
	var blobs, files []*os.File
	var paths []string
	for i, b := range img.Blobs {
		e, err := format.ParseBlob(boot[ext.BlobTable.Offset+uint64(i)*format.BlobSize:])
		if err != nil {
			t.Fatal(err)
		}
		if e.ID != b.Digest.Encoded() || e.CompressedSize != uint64(b.Size) {
			t.Fatalf("blob %d: the table says %s, %d bytes", i, e.ID, e.CompressedSize)
		}
		in, err := os.Open(b.Path)
		if err != nil {
			t.Fatal(err)
		}
		defer in.Close()
		out, err := os.Create(filepath.Join(t.TempDir(), "device"))
		if err != nil {
			t.Fatal(err)
		}
		defer out.Close()
		if err := out.Truncate(int64(e.UncompressedSize)); err != nil {
			t.Fatal(err)
		}
		blobs, files, paths = append(blobs, in), append(files, out), append(paths, out.Name())
	}
	for at := ext.ChunkTable.Offset; at < ext.ChunkTable.Offset+ext.ChunkTable.Size; at += format.ChunkEntrySize {
		c, err := format.ParseChunk(boot[at:])
		if err != nil {
			t.Fatal(err)
		}
		raw := make([]byte, c.CompressedSize)
		if _, err := blobs[c.Blob].ReadAt(raw, int64(c.CompressedOffset)); err != nil {
			t.Fatal(err)
		}
		if c.Flags&format.ChunkCompressed != 0 {
			if raw, err = dec.DecodeAll(raw, nil); err != nil {
				t.Fatal(err)
			}
		}
		if len(raw) != int(c.UncompressedSize) || blake3.Sum256(raw) != c.Digest {
			t.Fatalf("chunk %d of blob %d: %d bytes do not have their digest", c.Index, c.Blob, len(raw))
		}
		if _, err := files[c.Blob].WriteAt(raw, int64(c.DeviceOffset)); err != nil {
			t.Fatal(err)
		}
	}
	return paths
}

// overlay unpacks the layers as the snapshot door does and mounts them.
func overlay(t *testing.T, layers [][]byte) string {
	t.Helper()
	mnt, err := tryOverlay(t, layers)
	if err != nil {
		t.Fatal(err)
	}
	return mnt
}

// errSettle marks layers that containerd cannot put over one another.
var errSettle = errors.New("settle")

// tryOverlay returns the error of unpacking.
func tryOverlay(t *testing.T, layers [][]byte) (string, error) {
	t.Helper()
	needMounts(t)
	root := t.TempDir()
	var dirs []string // the nearest first
	for i, b := range layers {
		dir := filepath.Join(root, fmt.Sprint(i))
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		res, err := layer.Unpack(t.Context(), bytes.NewReader(b), typeTar, dir, layer.Options{Bottom: i == 0})
		if err != nil {
			return "", err
		}
		if err := layer.Settle(t.Context(), dir, res.Implicit, dirs); err != nil {
			return "", fmt.Errorf("%w: %w", errSettle, err)
		}
		dirs = append([]string{dir}, dirs...)
	}
	empty := filepath.Join(root, "empty")
	mnt := filepath.Join(root, "mnt")
	for _, d := range []string{empty, mnt} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	dirs = append(dirs, empty)
	if err := unix.Mount("overlay", mnt, "overlay", unix.MS_RDONLY, "lowerdir="+strings.Join(dirs, ":")); err != nil {
		t.Fatalf("mount overlay: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(mnt, 0); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	return mnt, nil
}

// same converts layers and compares what the kernel shows, and what package rafs reads,
// with an overlay of the unpacked layers, file by file.
func same(t *testing.T, layers [][]byte, o Options) {
	t.Helper()
	start := time.Now().Add(-time.Second)
	want := look(t, overlay(t, layers), start)
	mnt, img := mounted(t, layers, o)
	compare(t, look(t, mnt, start), want)
	compare(t, readBack(t, img), want)
	t.Logf("%d files compared", len(want))
}

// compare reports what differs.
func compare(t *testing.T, got, want map[string]string) {
	t.Helper()
	for path, w := range want {
		g, ok := got[path]
		if strings.Contains(w, "mtime=now") {
			w, g = withoutTime(w), withoutTime(g)
		}
		switch {
		case !ok:
			t.Errorf("%q is missing: %s", path, w)
		case g != w:
			t.Errorf("%q\n got %s\nwant %s", path, g, w)
		}
	}
	for path, g := range got {
		if _, ok := want[path]; !ok {
			t.Errorf("%q is too much: %s", path, g)
		}
	}
}

// withoutTime takes out the time of what the unpacking itself touched.
func withoutTime(line string) string {
	before, rest, _ := strings.Cut(line, "mtime=")
	_, after, _ := strings.Cut(rest, " ")
	return before + after
}

// look describes a tree, by path, with everything that can be seen of a file.
func look(t testing.TB, root string, start time.Time) map[string]string {
	t.Helper()
	names := map[uint64][]string{} // of inodes with several
	links := map[uint64]uint64{}
	found := map[string]string{}
	var walk func(rel string)
	walk = func(rel string) {
		p := filepath.Join(root, rel)
		var st unix.Stat_t
		err := unix.Lstat(p, &st)
		if errors.Is(err, unix.ENOENT) {
			return // overlayfs lists whiteouts of directories that are in one layer only
		}
		if err != nil {
			t.Fatalf("lstat %s: %v", p, err)
		}
		when := "now"
		if at := time.Unix(st.Mtim.Unix()); at.Before(start) {
			when = fmt.Sprint(at.UnixNano())
		}
		if rel == "." {
			when = "" // an image says nothing of its root
		}
		line := fmt.Sprintf("mode=%o owner=%d:%d mtime=%s xattrs=%s", st.Mode, st.Uid, st.Gid, when, layertest.XattrsOf(t, p))
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFREG:
			line += fmt.Sprintf(" size=%d sha256=%x", st.Size, layertest.SumOf(t, p))
		case unix.S_IFLNK:
			to, err := os.Readlink(p)
			if err != nil {
				t.Fatal(err)
			}
			line += fmt.Sprintf(" size=%d to=%q", st.Size, to)
		case unix.S_IFCHR, unix.S_IFBLK:
			line += fmt.Sprintf(" device=%d:%d", unix.Major(st.Rdev), unix.Minor(st.Rdev))
		case unix.S_IFDIR:
			list, err := os.ReadDir(p)
			if err != nil {
				t.Fatal(err)
			}
			for _, n := range list {
				walk(filepath.Join(rel, n.Name()))
			}
		}
		if st.Mode&unix.S_IFMT != unix.S_IFDIR && st.Nlink > 1 {
			names[st.Ino] = append(names[st.Ino], rel)
			links[st.Ino] = st.Nlink
		}
		found[rel] = line
	}
	walk(".")
	for ino, list := range names {
		sort.Strings(list)
		if len(list) > 1 {
			for _, rel := range list {
				found[rel] += fmt.Sprintf(" same=%q", list)
			}
		}
		if isEROFS(t, root) && links[ino] != uint64(len(list)) {
			t.Errorf("%q: %d links, %d names", list, links[ino], len(list))
		}
	}
	return found
}

func isEROFS(t testing.TB, path string) bool {
	t.Helper()
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		t.Fatal(err)
	}
	return st.Type == format.Magic
}

// needMounts skips a test where the kernel cannot mount EROFS from a file.
func needMounts(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root to mount and to set owners")
	}
	list, err := os.ReadFile("/proc/filesystems")
	if err != nil || !strings.Contains(string(list), "erofs") || !strings.Contains(string(list), "overlay") {
		t.Skip("needs the kernel's EROFS and overlayfs")
	}
}
