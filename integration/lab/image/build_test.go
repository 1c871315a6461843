package image

import (
	"archive/tar"
	"errors"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

// machine makes a small tree of files that compress to about half.
func machine(t *testing.T, bytes int) string {
	t.Helper()
	root := t.TempDir()
	random := rand.New(rand.NewPCG(1, 2))
	for n := 0; bytes > 0; n++ {
		size := 1 + random.IntN(32<<10)
		bytes -= size
		content := make([]byte, size)
		for i := range size / 2 {
			content[i] = byte(random.Uint32())
		}
		path := filepath.Join(root, strings.Repeat("d/", n%4), string(rune('a'+n%26)), "file", string(rune('a'+n/26%26)), "x"+string(rune('a'+n/676%26)))
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, content, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("a/file", filepath.Join(root, "link")); err != nil {
		t.Fatal(err)
	}
	return root
}

func open(t *testing.T, dir string) v1.Image {
	t.Helper()
	index, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	image, err := index.Image(manifest.Manifests[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	return image
}

func TestBuild(t *testing.T) {
	for _, r := range []Recipe{
		{Layers: 5, Bytes: 4 << 20, Compression: Gzip},
		{Layers: 3, Bytes: 4 << 20, Compression: Zstd, Salt: "other"},
	} {
		t.Run(string(r.Compression), func(t *testing.T) {
			root := machine(t, 3<<20) // less than the image needs: files are taken again
			dirs := [2]string{filepath.Join(t.TempDir(), "one"), filepath.Join(t.TempDir(), "two")}
			var digests [2]v1.Hash
			for i, dir := range dirs {
				if err := build(t.Context(), r, []string{root}, dir); err != nil {
					t.Fatal(err)
				}
				var err error
				if digests[i], err = open(t, dir).Digest(); err != nil {
					t.Fatal(err)
				}
			}
			if digests[0] != digests[1] {
				t.Error("the same recipe gave two images")
			}
			image := open(t, dirs[0])
			if r.Compression == Gzip { // validate knows no zstd
				if err := validate.Image(image); err != nil {
					t.Error(err)
				}
			}
			layers, err := image.Layers()
			if err != nil {
				t.Fatal(err)
			}
			if len(layers) != r.Layers {
				t.Errorf("%d layers, want %d", len(layers), r.Layers)
			}
			var total int64
			kinds := map[byte]int{}
			whiteouts := 0
			for _, l := range layers {
				size, err := l.Size()
				if err != nil {
					t.Fatal(err)
				}
				total += size
				if diff, err := l.DiffID(); err != nil || diff != plainDigest(t, l) {
					t.Errorf("diffID %v, %v; the content has %v", diff, err, plainDigest(t, l))
				}
				for _, h := range headers(t, l) {
					kinds[h.Typeflag]++
					if strings.HasPrefix(filepath.Base(h.Name), ".wh.") {
						whiteouts++
					}
				}
			}
			if off := math.Abs(float64(total)/float64(r.Bytes) - 1); off > 0.1 {
				t.Errorf("layers of %d bytes, want %d", total, r.Bytes)
			}
			if kinds[tar.TypeLink] != r.Layers-1 || kinds[tar.TypeSymlink] < r.Layers || kinds[tar.TypeDir] == 0 || whiteouts != 2 {
				t.Errorf("entries by kind: %v, whiteouts: %d", kinds, whiteouts)
			}
			if left, _ := filepath.Glob(filepath.Join(dirs[0], "layer-*")); left != nil {
				t.Errorf("left in the layout: %v", left)
			}
		})
	}
}

func plainDigest(t *testing.T, l v1.Layer) v1.Hash {
	t.Helper()
	content, err := l.Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	defer content.Close()
	sum, _, err := v1.SHA256(content)
	if err != nil {
		t.Fatal(err)
	}
	return sum
}

func headers(t *testing.T, l v1.Layer) []*tar.Header {
	t.Helper()
	content, err := l.Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	defer content.Close()
	var all []*tar.Header
	for reader := tar.NewReader(content); ; {
		h, err := reader.Next()
		if err == io.EOF {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, h)
	}
}

func TestBuildWithoutFiles(t *testing.T) {
	r := Recipe{Layers: 2, Bytes: 1 << 20, Compression: Gzip}
	dir := filepath.Join(t.TempDir(), "image")
	if err := build(t.Context(), r, []string{t.TempDir()}, dir); err == nil {
		t.Error("an image from no files: no error")
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(dir), "*")); left != nil {
		t.Errorf("left behind: %v", left)
	}
}

func TestRecipe(t *testing.T) {
	for _, bad := range []Recipe{
		{Layers: 1, Bytes: 1 << 20, Compression: Gzip},
		{Layers: 2, Bytes: 1, Compression: Gzip},
		{Layers: 2, Bytes: 1 << 20, Compression: "lzma"},
	} {
		if bad.Validate() == nil {
			t.Errorf("%+v passes", bad)
		}
	}
}
