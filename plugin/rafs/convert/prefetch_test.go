package convert

import (
	"bytes"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"

	"github.com/darter-p2p/darter/plugin/rafs"
	"github.com/darter-p2p/darter/plugin/rafs/format"
)

// wanted is an image of two layers, what of it is to be read first, and what files these are.
func wanted(t testing.TB) (layers [][]byte, names, files, absent []string) {
	long := func(b byte) string { return strings.Repeat(string(b), 130<<10) + string(b+1) } // three chunks of 64 KiB
	lower := archiveOf(t, file("app/b", long('b')), file("app/a", "a"), file("app/gone", "gone"), file("usr/lib/x.so", long('x')),
		symlink("lib", "/usr/lib"), symlink("loop", "loop"), file("other", "other"), file("empty", ""))
	upper := archiveOf(t, file("app/.wh.gone", ""), file("unasked", "unasked"), file("late", "late"))
	names = []string{"/late", "lib/x.so", "/app/gone", "/app/b", "/loop", "app", "/nowhere/at/all", "/empty", "/late", "/app/../usr/lib/x.so", "../late", strings.Repeat("n", 5000)}
	return [][]byte{lower, upper}, names, []string{"late", "usr/lib/x.so", "app/b", "app/a"}, []string{"/app/gone", "/loop", "/nowhere/at/all", strings.Repeat("n", 5000)}
}

// The table names what was asked for, in that order, and a reader finds the chunks.
func TestPrefetchTable(t *testing.T) {
	layers, names, files, absent := wanted(t)
	img := converted(t, layers, Options{ChunkSize: 64 << 10, Prefetch: names})
	if img.Prefetch != 5 || !slices.Equal(img.Absent, absent) { // late, x.so, b, app, empty
		t.Errorf("%d entries, without %q", img.Prefetch, img.Absent)
	}
	boot, err := os.ReadFile(img.Bootstrap)
	if err != nil {
		t.Fatal(err)
	}
	im, err := rafs.Open(bytes.NewReader(boot), int64(len(boot)), rafs.DefaultLimits())
	if err != nil {
		t.Fatal(err)
	}
	var want []rafs.ChunkRef
	for _, path := range files {
		err := im.Walk(func(at string, in *rafs.Inode) error {
			if strings.TrimPrefix(at, "/") != path {
				return nil
			}
			for ref, err := range im.ChunksOf(in) {
				if err != nil {
					return err
				}
				if !slices.Contains(want, ref) { // chunks of the same bytes are one
					want = append(want, ref)
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if got := im.Prefetch(1000); len(want) < 6 || !slices.Equal(got, want) {
		t.Errorf("to be read first: %v, want %v", got, want)
	}

	plain := converted(t, layers, Options{ChunkSize: 64 << 10})
	if !slices.EqualFunc(img.Blobs, plain.Blobs, func(a, b Blob) bool { return a.Digest == b.Digest }) {
		t.Error("the blobs depend on the table")
	}
	compare(t, readBack(t, img), readBack(t, plain))
}

// The kernel mounts an image with a table, and shows the same.
func TestPrefetchMounted(t *testing.T) {
	layers, names, _, _ := wanted(t)
	mnt, img := mounted(t, layers, Options{ChunkSize: 64 << 10, Prefetch: names})
	compare(t, look(t, mnt, time.Now()), readBack(t, img))
}

func TestPrefetchRefused(t *testing.T) {
	_, err := Convert(t.Context(), nil, t.TempDir(), Options{Prefetch: make([]string, format.MaxPrefetch+1)})
	if !errdefs.IsInvalidArgument(err) {
		t.Errorf("a list that no reader reads: %v", err)
	}
}
