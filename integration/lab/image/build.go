package image

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"os"
	"path"
	"path/filepath"
	"runtime"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	imagespec "github.com/opencontainers/image-spec/specs-go/v1"
)

// CacheDir is where built images are kept: $XDG_CACHE_HOME/darter/images.
func CacheDir() (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("image cache: %w", err)
	}
	return filepath.Join(cache, "darter", "images"), nil
}

// Build returns the folder of an OCI layout that holds the recipe's image alone.
// An image in the cache is not built again.
func Build(ctx context.Context, r Recipe, cacheDir string) (string, error) {
	if err := r.Validate(); err != nil {
		return "", err
	}
	dir := filepath.Join(cacheDir, r.key())
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	if err := build(ctx, r, defaultRoots(), dir); err != nil {
		return "", fmt.Errorf("build image: %w", err)
	}
	return dir, nil
}

// build makes the layout beside dir and renames it, so that dir is whole or not there.
func build(ctx context.Context, r Recipe, roots []string, dir string) error {
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return err
	}
	unfinished, err := os.MkdirTemp(filepath.Dir(dir), ".building-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(unfinished)
	b := builder{recipe: r, roots: roots, dir: unfinished}
	if err := b.build(ctx); err != nil {
		return err
	}
	if err := os.Chmod(unfinished, 0o755); err != nil {
		return err
	}
	err = os.Rename(unfinished, dir)
	if _, there := os.Stat(dir); there == nil {
		return nil // ours, or that of another process that was faster
	}
	return err
}

type builder struct {
	recipe Recipe
	roots  []string
	dir    string // of the layout

	round  int // how often all files have been taken
	layers []imagespec.Descriptor
	diffs  []digest.Digest
	hidden string // a file of the first layer, for the whiteout
	opaque string // a folder of the first layer
}

func (b *builder) build(ctx context.Context) error {
	if err := os.MkdirAll(filepath.Join(b.dir, "blobs", "sha256"), 0o755); err != nil {
		return err
	}
	next, stop := iter.Pull(files(b.roots))
	defer func() { stop() }()
	for i, size := range b.recipe.sizes() {
		err := b.layer(func(l *layer) error {
			empty := 0
			for l.size < size {
				if ctx.Err() != nil {
					return ctx.Err()
				}
				file, ok := next()
				if !ok {
					// All files are taken: once more, in another folder.
					if empty++; empty > 1 {
						return errors.New("no files small enough below " + fmt.Sprint(b.roots))
					}
					stop()
					b.round++
					next, stop = iter.Pull(files(b.roots))
					continue
				}
				if file.info.Size() > max(size/8, 64<<10) {
					continue
				}
				empty = 0
				if err := l.add(b.prefix(), file); err != nil {
					return err
				}
			}
			return l.links(i)
		})
		if err != nil {
			return fmt.Errorf("layer %d: %w", i, err)
		}
	}
	if err := b.layer(b.tinyLayer); err != nil {
		return fmt.Errorf("last layer: %w", err)
	}
	return b.finish()
}

func (b *builder) prefix() string {
	if b.round == 0 {
		return b.recipe.Salt
	}
	return path.Join(b.recipe.Salt, fmt.Sprintf("again%d", b.round))
}

// layer writes one layer into the layout and notes its digests.
func (b *builder) layer(fill func(*layer) error) error {
	file, err := os.CreateTemp(b.dir, "layer-")
	if err != nil {
		return err
	}
	defer file.Close()
	l, err := newLayer(file, b.recipe.Compression)
	if err != nil {
		return err
	}
	if err := fill(l); err != nil {
		return err
	}
	blob, diff, err := l.close()
	if err != nil {
		return err
	}
	if len(b.layers) == 0 && len(l.files) > 1 {
		b.hidden, b.opaque = l.files[0], path.Dir(l.files[len(l.files)-1])
	}
	b.layers = append(b.layers, imagespec.Descriptor{
		MediaType: imagespec.MediaTypeImageLayer + "+" + string(b.recipe.Compression), Digest: blob, Size: l.size,
	})
	b.diffs = append(b.diffs, diff)
	return errors.Join(os.Chmod(file.Name(), 0o644), os.Rename(file.Name(), b.blobPath(blob)))
}

// tinyLayer hides a file and empties a folder of the first layer.
func (b *builder) tinyLayer(l *layer) error {
	if b.hidden == "" {
		return errors.New("the first layer has no files")
	}
	folder, name := path.Split(b.hidden)
	return errors.Join(
		l.write(folder+".wh."+name, 0o644, nil),
		l.write(path.Join(b.opaque, ".wh..wh..opq"), 0o644, nil),
		l.write(path.Join(b.opaque, "after"), 0o644, []byte("the folder was emptied by the last layer\n")),
		l.write("etc/darter-image", 0o644, []byte(b.recipe.key()+"\n")),
	)
}

// finish writes config, manifest and index.
func (b *builder) finish() error {
	config := imagespec.Image{
		Created:  &epoch,
		Platform: imagespec.Platform{Architecture: runtime.GOARCH, OS: "linux"},
		Config:   imagespec.ImageConfig{Cmd: []string{"/bin/true"}},
		RootFS:   imagespec.RootFS{Type: "layers", DiffIDs: b.diffs},
	}
	for range b.layers {
		config.History = append(config.History, imagespec.History{Created: &epoch, CreatedBy: "darter integration/lab/image"})
	}
	configDescriptor, err := b.blob(imagespec.MediaTypeImageConfig, config)
	if err != nil {
		return err
	}
	manifest, err := b.blob(imagespec.MediaTypeImageManifest, imagespec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: imagespec.MediaTypeImageManifest,
		Config: configDescriptor, Layers: b.layers,
	})
	if err != nil {
		return err
	}
	manifest.Platform = &config.Platform
	index, err := json.Marshal(imagespec.Index{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: imagespec.MediaTypeImageIndex,
		Manifests: []imagespec.Descriptor{manifest},
	})
	if err != nil {
		return err
	}
	version, err := json.Marshal(imagespec.ImageLayout{Version: imagespec.ImageLayoutVersion})
	if err != nil {
		return err
	}
	return errors.Join(
		os.WriteFile(filepath.Join(b.dir, imagespec.ImageIndexFile), index, 0o644),
		os.WriteFile(filepath.Join(b.dir, imagespec.ImageLayoutFile), version, 0o644),
	)
}

// blob writes a JSON value into the layout.
func (b *builder) blob(mediaType string, value any) (imagespec.Descriptor, error) {
	text, err := json.Marshal(value)
	if err != nil {
		return imagespec.Descriptor{}, err
	}
	d := digest.FromBytes(text)
	return imagespec.Descriptor{MediaType: mediaType, Digest: d, Size: int64(len(text))}, os.WriteFile(b.blobPath(d), text, 0o644)
}

func (b *builder) blobPath(d digest.Digest) string {
	return filepath.Join(b.dir, "blobs", d.Algorithm().String(), d.Encoded())
}
