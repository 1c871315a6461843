package main

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/klauspost/compress/zstd"

	"github.com/darter-p2p/darter/integration/lab/image"
	"github.com/darter-p2p/darter/plugin/rafs/convert"
	"github.com/darter-p2p/darter/plugin/rafs/convert/oci"
)

// built are the OCI layouts of one image.
type built struct{ ordinary, nydus string }

// build makes a recipe's image, ordinary (zstd layers) and as a Nydus image. What is in
// the cache is not made again.
func (r recipe) build(ctx context.Context, out io.Writer) (built, error) {
	cache, err := image.CacheDir()
	if err != nil {
		return built{}, err
	}
	cache = filepath.Join(filepath.Dir(cache), "bench-lazy")
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return built{}, err
	}
	plain := r
	plain.Chunk = 0
	b := built{filepath.Join(cache, r.Name+"-"+key(plain)), filepath.Join(cache, r.Name+"-"+key(r)+"-nydus")}
	if _, err := os.Stat(b.ordinary); err != nil {
		fmt.Fprintf(out, "lazy: making image %s, once …\n", r.Name)
		if err := whole(b.ordinary, func(dir string) error { return r.write(ctx, dir) }); err != nil {
			return built{}, fmt.Errorf("image %s: %w", r.Name, err)
		}
	}
	if _, err := os.Stat(b.nydus); err != nil {
		fmt.Fprintf(out, "lazy: converting image %s, once …\n", r.Name)
		if err := whole(b.nydus, func(dir string) error {
			o := oci.Options{Platform: "linux/" + runtime.GOARCH, WorkDir: cache, Convert: convert.Default()}
			if r.Chunk > 0 {
				o.Convert.ChunkSize = r.Chunk
			}
			_, err := oci.Run(ctx, "oci:"+b.ordinary, "oci:"+dir, o)
			return err
		}); err != nil {
			return built{}, fmt.Errorf("convert image %s: %w", r.Name, err)
		}
	}
	return b, nil
}

func key(r recipe) string {
	sum := sha256.Sum256([]byte(r.identity()))
	return fmt.Sprintf("%x", sum[:6])
}

// whole has make fill a folder beside dir and renames it, so that dir is whole or not there.
func whole(dir string, fill func(dir string) error) error {
	unfinished, err := os.MkdirTemp(filepath.Dir(dir), ".building-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(unfinished)
	inner := filepath.Join(unfinished, "layout")
	if err := fill(inner); err != nil {
		return err
	}
	return os.Rename(inner, dir)
}

// write writes the ordinary image as an OCI layout.
func (r recipe) write(ctx context.Context, dir string) error {
	busybox, err := image.Busybox()
	if err != nil {
		return err
	}
	base, err := image.Crafted{Layers: []image.CraftedLayer{busybox}, Cmd: []string{"/bin/true"}}.Image()
	if err != nil {
		return err
	}
	for i, entries := range r.layers() {
		path := filepath.Join(filepath.Dir(dir), fmt.Sprintf("layer%d", i))
		l, err := writeLayer(path, func(w *tar.Writer) error { return entries(ctx, w) })
		if err != nil {
			return err
		}
		if base, err = mutate.Append(base, mutate.Addendum{Layer: l, MediaType: types.OCILayerZStd}); err != nil {
			return err
		}
	}
	index := mutate.AppendManifests(empty.Index, mutate.IndexAddendum{
		Add: base, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: runtime.GOARCH}},
	})
	_, err = layout.Write(dir, index)
	return err
}

// packed is a layer in a file.
type packed struct {
	path         string
	digest, diff v1.Hash
	size         int64
}

// writeLayer writes a layer to a file.
func writeLayer(path string, entries func(*tar.Writer) error) (*packed, error) {
	file, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	defer file.Close() // a second time
	compressed, plain := sha256.New(), sha256.New()
	zip, err := zstd.NewWriter(io.MultiWriter(file, compressed), zstd.WithEncoderLevel(zstd.SpeedFastest))
	if err != nil {
		return nil, err
	}
	w := tar.NewWriter(io.MultiWriter(zip, plain))
	if err := errors.Join(entries(w), w.Close(), zip.Close()); err != nil {
		return nil, err
	}
	size, err := file.Seek(0, io.SeekCurrent)
	hash := func(sum []byte) v1.Hash { return v1.Hash{Algorithm: "sha256", Hex: fmt.Sprintf("%x", sum)} }
	return &packed{path, hash(compressed.Sum(nil)), hash(plain.Sum(nil)), size}, errors.Join(err, file.Close())
}

// Digest implements v1.Layer.
func (p *packed) Digest() (v1.Hash, error) { return p.digest, nil }

// DiffID implements v1.Layer.
func (p *packed) DiffID() (v1.Hash, error) { return p.diff, nil }

// Compressed implements v1.Layer.
func (p *packed) Compressed() (io.ReadCloser, error) { return os.Open(p.path) }

// Uncompressed implements v1.Layer; nobody asks for it.
func (p *packed) Uncompressed() (io.ReadCloser, error) { return nil, errors.ErrUnsupported }

// Size implements v1.Layer.
func (p *packed) Size() (int64, error) { return p.size, nil }

// MediaType implements v1.Layer.
func (p *packed) MediaType() (types.MediaType, error) { return types.OCILayerZStd, nil }

// output runs a command to its end and returns what it printed.
func output(ctx context.Context, argv ...string) (string, error) {
	out, err := exec.CommandContext(ctx, argv[0], argv[1:]...).Output()
	var failed *exec.ExitError
	if errors.As(err, &failed) {
		return "", fmt.Errorf("%s: %w: %s", strings.Join(argv, " "), err, failed.Stderr)
	}
	return string(out), err
}
