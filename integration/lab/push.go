package lab

import (
	"context"
	"fmt"
	"runtime"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/opencontainers/go-digest"

	"github.com/darter-p2p/darter/integration/lab/image"
)

// Blob is one part of an image.
type Blob struct {
	Digest digest.Digest
	Size   int64
	Kind   string // "manifest", "config" or "layer"
}

// Image is an image in the lab's registry.
type Image struct {
	Ref    string // host:port/repository:tag
	Layers int
	Bytes  int64 // of manifest, config and layers together
	Blobs  []Blob
}

// At returns the image under another name for the same content.
func (i Image) At(ref string) Image {
	i.Ref = ref
	return i
}

// BuildAndPush puts the image of a recipe into the registry, built or from the cache.
func (r *Registry) BuildAndPush(ctx context.Context, recipe image.Recipe, repositoryTag string) (Image, error) {
	cache, err := image.CacheDir()
	if err != nil {
		return Image{}, err
	}
	dir, err := image.Build(ctx, recipe, cache)
	if err != nil {
		return Image{}, err
	}
	return r.PushLayout(ctx, dir, repositoryTag)
}

// PushLayout puts the image of an OCI layout into the registry: its only image, or
// the one for this machine's platform. The bytes do not pass the registry's link.
func (r *Registry) PushLayout(ctx context.Context, dir, repositoryTag string) (Image, error) {
	index, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		return Image{}, fmt.Errorf("push %s: not an OCI layout: %w", dir, err)
	}
	source, err := pick(index)
	if err != nil {
		return Image{}, fmt.Errorf("push %s: %w", dir, err)
	}
	return r.Push(ctx, source, repositoryTag)
}

// Push puts an image into the registry.
func (r *Registry) Push(ctx context.Context, source v1.Image, repositoryTag string) (Image, error) {
	ref, err := name.NewTag(r.Addr+"/"+repositoryTag, name.Insecure)
	if err != nil {
		return Image{}, fmt.Errorf("push: %w", err)
	}
	transport := r.Host.Transport()
	transport.ResponseHeaderTimeout = time.Minute
	defer transport.CloseIdleConnections()
	who := authn.Anonymous
	if r.User != "" {
		who = &authn.Basic{Username: r.User, Password: r.Password}
	}
	if err := remote.Write(ref, source, remote.WithContext(ctx), remote.WithTransport(transport), remote.WithAuth(who)); err != nil {
		return Image{}, fmt.Errorf("push %s: %w", ref, err)
	}
	pushed, err := describe(source)
	if err != nil {
		return Image{}, fmt.Errorf("push %s: %w", ref, err)
	}
	return pushed.At(ref.Name()), nil
}

// describe lists an image's parts.
func describe(source v1.Image) (Image, error) {
	manifest, err := source.Manifest()
	if err != nil {
		return Image{}, err
	}
	manifestDigest, err := source.Digest()
	if err != nil {
		return Image{}, err
	}
	size, err := source.Size()
	if err != nil {
		return Image{}, err
	}
	described := Image{Layers: len(manifest.Layers)}
	add := func(d v1.Hash, size int64, kind string) {
		described.Blobs = append(described.Blobs, Blob{digest.Digest(d.String()), size, kind})
		described.Bytes += size
	}
	add(manifestDigest, size, "manifest")
	add(manifest.Config.Digest, manifest.Config.Size, "config")
	for _, l := range manifest.Layers {
		add(l.Digest, l.Size, "layer")
	}
	return described, nil
}

// pick returns the only image of an index, else the first for this machine's platform.
func pick(index v1.ImageIndex) (v1.Image, error) {
	manifest, err := index.IndexManifest()
	if err != nil {
		return nil, err
	}
	for _, d := range manifest.Manifests {
		if d.MediaType.IsIndex() {
			inner, err := index.ImageIndex(d.Digest)
			if err != nil {
				return nil, err
			}
			if found, err := pick(inner); err == nil {
				return found, nil
			}
			continue
		}
		here := d.Platform != nil && d.Platform.OS == "linux" && d.Platform.Architecture == runtime.GOARCH
		if d.MediaType.IsImage() && (here || len(manifest.Manifests) == 1) {
			return index.Image(d.Digest)
		}
	}
	return nil, fmt.Errorf("no image for linux/%s", runtime.GOARCH)
}
