package convert

import (
	"archive/tar"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"
)

// TestRefused has layers that cannot be converted, and the class of the error.
func TestRefused(t *testing.T) {
	deep := strings.Repeat("d/", maxDepth+1) + "f"
	for _, c := range []struct {
		name   string
		layers [][]entry
		limits Limits
		is     func(error) bool
	}{
		{"below a file", [][]entry{{file("a", "x"), file("a/b", "x")}}, Limits{}, errdefs.IsInvalidArgument},
		{"link to nothing", [][]entry{{hardlink("a", "b")}}, Limits{}, errdefs.IsInvalidArgument},
		{"link to itself", [][]entry{{file("a", "x"), hardlink("a", "a")}}, Limits{}, errdefs.IsInvalidArgument},
		{"link to a directory", [][]entry{{dir("d", 0o755), hardlink("a", "d")}}, Limits{}, errdefs.IsInvalidArgument},
		{"link to a layer below", [][]entry{{file("a", "x")}, {hardlink("b", "a")}}, Limits{}, errdefs.IsInvalidArgument},
		{"loop of links", [][]entry{{symlink("a", "b"), symlink("b", "a"), file("a/f", "x")}}, Limits{}, errdefs.IsInvalidArgument},
		{"whiteout of what the layer has", [][]entry{{}, {file("a", "x"), file(".wh.a", "")}}, Limits{}, errdefs.IsInvalidArgument},
		{"whiteout of nothing", [][]entry{{file(".wh.", "")}}, Limits{}, errdefs.IsInvalidArgument},
		{"directory gone at the end", [][]entry{{dir("d", 0o755), file(".wh.d", "")}}, Limits{}, errdefs.IsInvalidArgument},
		{"long name", [][]entry{{file(strings.Repeat("n", 256), "")}}, Limits{}, errdefs.IsInvalidArgument},
		{"deep", [][]entry{{file(deep, "")}}, Limits{}, errdefs.IsInvalidArgument},
		{"device number", [][]entry{{device("d", tar.TypeChar, 5000, 1)}}, Limits{}, errdefs.IsInvalidArgument},
		{"entry type", [][]entry{{entry{Header: tar.Header{Name: "a", Typeflag: tar.TypeCont}}}}, Limits{}, errdefs.IsNotImplemented},
		{"too many files", [][]entry{{file("a", ""), file("b", "")}, {file("c", "")}},
			Limits{Inodes: 2, TextBytes: 1 << 20, Chunks: 9, References: 9}, errdefs.IsResourceExhausted},
		{"implied directories count", [][]entry{{file("a/b/c/d", "")}},
			Limits{Inodes: 3, TextBytes: 1 << 20, Chunks: 9, References: 9}, errdefs.IsResourceExhausted},
		{"too long names", [][]entry{{file(strings.Repeat("a", 100), "")}},
			Limits{Inodes: 9, TextBytes: 50, Chunks: 9, References: 9}, errdefs.IsResourceExhausted},
		{"too much content", [][]entry{{file("a", "1"), file("b", "2")}},
			Limits{Inodes: 9, TextBytes: 1 << 20, Chunks: 1, References: 9}, errdefs.IsResourceExhausted},
		{"too much of the same", [][]entry{{file("a", "1"), file("b", "1")}},
			Limits{Inodes: 9, TextBytes: 1 << 20, Chunks: 9, References: 1}, errdefs.IsResourceExhausted},
	} {
		t.Run(c.name, func(t *testing.T) {
			var layers []Layer
			for _, l := range c.layers {
				layers = append(layers, layerOf(archiveOf(t, l...)))
			}
			_, err := Convert(t.Context(), layers, t.TempDir(), Options{Limits: c.limits})
			if err == nil || !c.is(err) {
				t.Fatalf("error %v", err)
			}
			t.Log(err)
		})
	}
}

// TestSourceFails sees that a failure of the source, and of the context, stays what it is.
func TestSourceFails(t *testing.T) {
	b := archiveOf(t, file("a", strings.Repeat("random", 1<<20)))
	lost := errors.New("lost")
	open := func(r io.Reader) func(context.Context) (io.ReadCloser, error) {
		return func(context.Context) (io.ReadCloser, error) { return io.NopCloser(r), nil }
	}
	cut := func() io.Reader { return strings.NewReader(string(b[:len(b)/2])) }
	for _, c := range []struct {
		name  string
		layer Layer
		is    func(error) bool
	}{
		{"open", Layer{MediaType: typeTar, Open: func(context.Context) (io.ReadCloser, error) { return nil, lost }},
			func(err error) bool { return errors.Is(err, lost) }},
		{"read", Layer{MediaType: typeTar, Open: open(io.MultiReader(cut(), failing{lost}))},
			func(err error) bool { return errors.Is(err, lost) && !errdefs.IsInvalidArgument(err) }},
		{"cut", Layer{MediaType: typeTar, Open: open(cut())}, errdefs.IsInvalidArgument},
		{"cut gzip", Layer{MediaType: typeGzip, Open: open(strings.NewReader(string(gzipped(t, b)[:2000])))}, errdefs.IsDataLoss},
		{"wrong diffID", Layer{MediaType: typeTar, DiffID: digest.FromString("other"), Open: layerOf(b).Open}, errdefs.IsDataLoss},
		{"no layer", Layer{MediaType: "text/plain", Open: layerOf(b).Open}, errdefs.IsNotImplemented},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			_, err := Convert(t.Context(), []Layer{c.layer}, dir, Options{})
			if err == nil || !c.is(err) {
				t.Errorf("error %v", err)
			}
			if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
				t.Errorf("left behind: %v, %v", left, err)
			}
		})
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(lost)
	if _, err := Convert(ctx, []Layer{layerOf(b)}, t.TempDir(), Options{}); !errors.Is(err, lost) && !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// TestDiskFull converts into a file system of 2 MiB.
func TestDiskFull(t *testing.T) {
	needMounts(t)
	dir := filepath.Join(t.TempDir(), "small")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("darter-test", dir, "tmpfs", 0, "size=2m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	noise := make([]byte, 16<<20)
	state := uint64(1)
	for i := range noise { // what does not compress
		state = state*6364136223846793005 + 1442695040888963407
		noise[i] = byte(state >> 56)
	}
	_, err := Convert(t.Context(), []Layer{layerOf(archiveOf(t, file("a", string(noise))))}, dir, Options{})
	if !errdefs.IsResourceExhausted(err) || !errors.Is(err, unix.ENOSPC) {
		t.Errorf("error %v", err)
	}
}
