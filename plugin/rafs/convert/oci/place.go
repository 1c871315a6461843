package oci

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/match"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// layoutPrefix marks a place that is a directory.
const layoutPrefix = "oci:"

// found is what a place holds: an index or an image.
type found struct {
	index v1.ImageIndex
	image v1.Image
}

// place is where an image is read from or put.
type place interface {
	// get returns what is there. ErrNotFound means that nothing is.
	get(ctx context.Context) (found, error)
	// put writes an index or an image with all that it names, and returns how it can
	// be asked for.
	put(ctx context.Context, f found) (string, error)
}

// parsePlace reads SRC or DST of the command line. The error is ErrInvalidArgument.
func parsePlace(s string, plainHTTP bool) (place, error) {
	if rest, ok := strings.CutPrefix(s, layoutPrefix); ok {
		path, tag := rest, ""
		if i := strings.LastIndexByte(rest, ':'); i > strings.LastIndexByte(rest, '/') {
			path, tag = rest[:i], rest[i+1:]
		}
		if path == "" {
			return nil, fmt.Errorf("%q: the path is missing: %w", s, errdefs.ErrInvalidArgument)
		}
		return &directory{path: path, tag: tag}, nil
	}
	var opts []name.Option
	if plainHTTP {
		opts = append(opts, name.Insecure)
	}
	ref, err := name.ParseReference(s, opts...)
	if err != nil {
		return nil, fmt.Errorf("%q is no image reference: %w: %w", s, err, errdefs.ErrInvalidArgument)
	}
	return &repository{ref: ref}, nil
}

// repository is a place in a registry. Credentials are those of docker and podman.
type repository struct{ ref name.Reference }

func (r *repository) options(ctx context.Context) []remote.Option {
	return []remote.Option{
		remote.WithContext(ctx), remote.WithAuthFromKeychain(authn.DefaultKeychain), remote.WithUserAgent("darter"),
	}
}

func (r *repository) get(ctx context.Context) (found, error) {
	desc, err := remote.Get(r.ref, r.options(ctx)...)
	if err != nil {
		return found{}, registryError(err)
	}
	if desc.MediaType.IsIndex() {
		index, err := desc.ImageIndex()
		return found{index: index}, err
	}
	image, err := desc.Image()
	return found{image: image}, err
}

func (r *repository) put(ctx context.Context, f found) (string, error) {
	var err error
	var hash v1.Hash
	if f.index != nil {
		hash, err = f.index.Digest()
		err = errors.Join(err, remote.WriteIndex(r.ref, f.index, r.options(ctx)...))
	} else {
		hash, err = f.image.Digest()
		err = errors.Join(err, remote.Write(r.ref, f.image, r.options(ctx)...))
	}
	if err != nil {
		return "", registryError(err)
	}
	return r.ref.Context().Digest(hash.String()).Name(), nil
}

// directory is an OCI layout.
type directory struct{ path, tag string }

func (d *directory) get(context.Context) (found, error) {
	index, err := layout.ImageIndexFromPath(d.path)
	if err != nil {
		if errors.Is(err, os.ErrNotExist) {
			err = fmt.Errorf("no OCI layout: %w: %w", err, errdefs.ErrNotFound)
		}
		return found{}, err
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		return found{}, err
	}
	if d.tag == "" && len(manifest.Manifests) != 1 {
		return found{index: index}, nil
	}
	for _, m := range manifest.Manifests {
		if d.tag != "" && m.Annotations[ocispec.AnnotationRefName] != d.tag {
			continue
		}
		if m.MediaType.IsIndex() {
			inner, err := index.ImageIndex(m.Digest)
			return found{index: inner}, err
		}
		image, err := index.Image(m.Digest)
		return found{image: image}, err
	}
	return found{}, fmt.Errorf("%s has no image %q: %w", d.path, d.tag, errdefs.ErrNotFound)
}

func (d *directory) put(_ context.Context, f found) (string, error) {
	if err := os.MkdirAll(d.path, 0o755); err != nil {
		return "", err
	}
	p, err := layout.FromPath(d.path)
	if errors.Is(err, os.ErrNotExist) {
		list, e := os.ReadDir(d.path)
		if e != nil {
			return "", e
		}
		if len(list) > 0 {
			return "", fmt.Errorf("%s is neither empty nor an OCI layout: %w", d.path, errdefs.ErrAlreadyExists)
		}
		p, err = layout.Write(d.path, empty.Index)
	}
	if err != nil {
		return "", err
	}
	var opts []layout.Option
	same := func(v1.Descriptor) bool { return false }
	if d.tag != "" {
		opts = append(opts, layout.WithAnnotations(map[string]string{ocispec.AnnotationRefName: d.tag}))
		same = match.Name(d.tag)
	}
	var hash v1.Hash
	if f.index != nil {
		hash, err = f.index.Digest()
		same = either(same, match.Digests(hash))
		err = errors.Join(err, p.ReplaceIndex(f.index, same, opts...))
	} else {
		hash, err = f.image.Digest()
		same = either(same, match.Digests(hash))
		err = errors.Join(err, p.ReplaceImage(f.image, same, opts...))
	}
	if err != nil {
		return "", err
	}
	return layoutPrefix + filepath.Clean(d.path) + "@" + hash.String(), nil
}

func either(a, b match.Matcher) match.Matcher {
	return func(d v1.Descriptor) bool { return a(d) || b(d) }
}
