package oci

import (
	"fmt"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// What tells a Nydus image from others.
const (
	osFeature         = "nydus.remoteimage.v1"
	nydusArtifactType = "application/vnd.nydus.image.manifest.v1+json"
	labelBlob         = "containerd.io/snapshot/nydus-blob"
	labelBootstrap    = "containerd.io/snapshot/nydus-bootstrap"
	labelVersion      = "containerd.io/snapshot/nydus-fs-version"
	labelUncompressed = "containerd.io/uncompressed"
	labelSource       = "containerd.io/snapshot/nydus-source-digest"
)

// maxIndexDepth bounds indexes in indexes.
const maxIndexDepth = 4

// isNydusEntry reports whether an entry of an index is a Nydus image.
func isNydusEntry(d v1.Descriptor) bool {
	return d.ArtifactType == nydusArtifactType || d.Platform != nil && slices.Contains(d.Platform.OSFeatures, osFeature)
}

// isNydus reports whether a manifest is that of a Nydus image.
func isNydus(m *v1.Manifest) bool {
	return slices.ContainsFunc(m.Layers, func(l v1.Descriptor) bool {
		return l.Annotations[labelBootstrap] == "true" || l.Annotations[labelBlob] == "true"
	})
}

// pick returns the ordinary image of a platform: the first of an index that is made for
// it, or its only image.
func pick(f found, platform v1.Platform) (v1.Image, error) {
	if f.image != nil {
		return f.image, nil
	}
	var candidates []candidate
	if err := collect(f.index, 0, &candidates); err != nil {
		return nil, err
	}
	var offered []string
	for _, c := range candidates {
		if c.platform == nil {
			if len(candidates) == 1 {
				return c.image()
			}
			continue
		}
		if c.platform.Satisfies(platform) {
			return c.image()
		}
		offered = append(offered, c.platform.String())
	}
	return nil, fmt.Errorf("no image for %s (there are: %s): %w", platform.String(), strings.Join(offered, ", "), errdefs.ErrNotFound)
}

// candidate is an ordinary image of an index.
type candidate struct {
	platform *v1.Platform
	image    func() (v1.Image, error)
}

// collect lists the ordinary images of an index and of the indexes in it.
func collect(index v1.ImageIndex, depth int, list *[]candidate) error {
	if depth == maxIndexDepth {
		return fmt.Errorf("indexes in indexes, %d deep: %w", depth, errdefs.ErrInvalidArgument)
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		return registryError(err)
	}
	for _, m := range manifest.Manifests {
		switch {
		case isNydusEntry(m), m.Platform != nil && m.Platform.OS == "unknown": // an attestation
		case m.MediaType.IsIndex():
			inner, err := index.ImageIndex(m.Digest)
			if err != nil {
				return registryError(err)
			}
			if err := collect(inner, depth+1, list); err != nil {
				return err
			}
		case m.MediaType.IsImage():
			*list = append(*list, candidate{m.Platform, func() (v1.Image, error) { return index.Image(m.Digest) }})
		}
	}
	return nil
}
