package convert

import (
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
)

// TestSameAsSource converts parts of this machine's own system and of the Go
// distribution, packed by GNU tar, and compares with the files themselves, which the
// kernel shows from the image alone.
func TestSameAsSource(t *testing.T) {
	t.Run("go", func(t *testing.T) { sameAsSource(t, goRoot(t), "src/net", "src/cmd/go", "lib") })
	t.Run("debian", func(t *testing.T) {
		sameAsSource(t, "/", "etc", "usr/bin/passwd", "usr/bin/su", "usr/share/zoneinfo", "usr/lib/python3")
	})
}

// TestStressSameAsSource takes the whole Go distribution, and the tree that DARTER_TREE
// names (made by debootstrap, say) or most of the system.
func TestStressSameAsSource(t *testing.T) {
	if os.Getenv("DARTER_STRESS") == "" {
		t.Skip("set DARTER_STRESS=1 for gigabytes")
	}
	t.Run("go", func(t *testing.T) { sameAsSource(t, goRoot(t), ".") })
	t.Run("debian", func(t *testing.T) {
		if tree := os.Getenv("DARTER_TREE"); tree != "" {
			sameAsSource(t, tree, ".")
			return
		}
		sameAsSource(t, "/", "etc", "usr/bin", "usr/sbin", "usr/lib", "usr/share", "var/lib/dpkg")
	})
}

// sameAsSource copies what is there first, so that nothing changes between.
func sameAsSource(t *testing.T, root string, paths ...string) {
	needMounts(t)
	var have []string
	for _, p := range paths {
		if _, err := os.Lstat(filepath.Join(root, p)); err == nil {
			have = append(have, p)
		}
	}
	args := append([]string{"--format=pax", "--xattrs", "--xattrs-include=*", "--numeric-owner"}, have...)
	b := packedTree(t, root, args...)
	src := t.TempDir()
	cmd := exec.CommandContext(t.Context(), "tar", "-C", src, "--xattrs", "--xattrs-include=*", "-xpf", "-")
	cmd.Stdin = bytes.NewReader(b)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("tar: %v: %s", err, out)
	}
	start := time.Now().Add(time.Hour) // every time is in the archive
	want := look(t, src, start)
	mnt, _ := mounted(t, [][]byte{b}, Options{})
	got := look(t, mnt, start)
	implied := impliedBy(have)
	for path, w := range want {
		g := got[path]
		if implied[path] { // the archive says nothing of them
			continue
		}
		if g != w {
			t.Errorf("%q\n got %s\nwant %s", path, g, w)
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d files, the source has %d", len(got), len(want))
	}
	t.Logf("%d files compared", len(want))
}

// impliedBy returns the parents of paths, which tar does not pack, and the root.
func impliedBy(paths []string) map[string]bool {
	m := map[string]bool{".": true}
	for _, p := range paths {
		for d := filepath.Dir(p); d != "."; d = filepath.Dir(d) {
			m[d] = true
		}
	}
	return m
}

// goRoot is where the Go distribution lies.
func goRoot(t testing.TB) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatalf("go env: %v", err)
	}
	return strings.TrimSpace(string(out))
}

// BenchmarkConvert converts a gzip layer of the Go distribution.
func BenchmarkConvert(b *testing.B) {
	raw := packedTree(b, goRoot(b), "src")
	packed := gzipped(b, raw)
	l := Layer{MediaType: typeGzip, DiffID: digest.FromBytes(raw), Open: func(context.Context) (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(packed)), nil
	}}
	b.SetBytes(int64(len(raw)))
	for b.Loop() {
		img, err := Convert(b.Context(), []Layer{l}, b.TempDir(), Options{})
		if err != nil {
			b.Fatal(err)
		}
		boot, err := os.Stat(img.Bootstrap)
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(img.Blobs[0].Size)/float64(len(packed)), "blob/gzip")
		b.ReportMetric(float64(boot.Size())/float64(len(packed)), "bootstrap/gzip")
	}
}

// TestSparse has a file with holes, as GNU tar packs it, whose list of chunks is longer
// than a block.
func TestSparse(t *testing.T) {
	src := t.TempDir()
	f, err := os.Create(filepath.Join(src, "sparse"))
	if err != nil {
		t.Fatal(err)
	}
	for _, at := range []int64{0, 20<<20 + 3, 48 << 20} {
		if _, err := f.WriteAt([]byte("data"), at); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	b := packedTree(t, src, "--format=pax", "--sparse", "sparse")
	if len(b) > 1<<20 {
		t.Fatalf("the archive is not sparse: %d bytes", len(b))
	}
	needMounts(t)
	mnt, img := mounted(t, [][]byte{b}, Options{ChunkSize: MinChunkSize})
	start := time.Now().Add(time.Hour)
	want, got := look(t, src, start), look(t, mnt, start)
	if got["sparse"] != want["sparse"] {
		t.Errorf("got %s\nwant %s", got["sparse"], want["sparse"])
	}
	// The two chunks with data, one of zeros, and the short one at the end.
	if l := img.Layers[0]; l.Chunks != 4 {
		t.Errorf("%d chunks stored", l.Chunks)
	}
}
