package snapshot

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/identity"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/darter-p2p/darter/plugin/snapshot/ahead"
)

const (
	// maxDocument bounds a manifest and a config, in bytes.
	maxDocument = 8 << 20
	// maxLayers is as many directories as the kernel stacks in one overlay.
	maxLayers = 500
)

// layerTypes are the media types of layers that are unpacked. What else containerd
// takes (foreign, encrypted, EROFS) is left to it.
var layerTypes = []string{
	ocispec.MediaTypeImageLayer, ocispec.MediaTypeImageLayerGzip, ocispec.MediaTypeImageLayerZstd,
	images.MediaTypeDockerSchema2Layer, images.MediaTypeDockerSchema2LayerGzip, images.MediaTypeDockerSchema2LayerZstd,
}

// image is what a verified manifest and its verified config say.
type image struct {
	name     *imageName
	layers   []imageLayer // the lowest first
	settings string       // what the config says beside them
	alt      *alternative // what stands for it; nil = nothing
}

// imageLayer is a layer of an image.
type imageLayer struct {
	role   role
	blob   ocispec.Descriptor // of the compressed bytes
	diffID digest.Digest
	chain  digest.Digest
	index  int
}

// parseManifest returns the config and the layers that a manifest names, of which
// there is at least one. The bytes' digest was verified.
func parseManifest(manifest []byte) (config ocispec.Descriptor, layers []ocispec.Descriptor, err error) {
	var m ocispec.Manifest
	if err := json.Unmarshal(manifest, &m); err != nil {
		return config, nil, fmt.Errorf("manifest: %w: %w", err, errdefs.ErrInvalidArgument)
	}
	if !images.IsConfigType(m.Config.MediaType) {
		return config, nil, fmt.Errorf("manifest: config of type %q: %w", m.Config.MediaType, errdefs.ErrNotImplemented)
	}
	for _, l := range m.Layers {
		if images.IsLayerType(l.MediaType) { // containerd leaves out the others
			layers = append(layers, l)
		}
	}
	if len(layers) == 0 || len(layers) > maxLayers {
		return config, nil, fmt.Errorf("manifest: %d layers, want 1 to %d: %w", len(layers), maxLayers, errdefs.ErrInvalidArgument)
	}
	for _, d := range append([]ocispec.Descriptor{m.Config}, layers...) {
		if err := d.Digest.Validate(); err != nil || d.Digest.Algorithm() != digest.SHA256 {
			return config, nil, fmt.Errorf("manifest: digest %q, want a sha256: %w", d.Digest, errdefs.ErrInvalidArgument)
		}
		if d.Size < 0 {
			return config, nil, fmt.Errorf("manifest: size of %s is %d: %w", d.Digest, d.Size, errdefs.ErrInvalidArgument)
		}
	}
	return m.Config, layers, nil
}

// parseConfig returns the layers with the diffIDs of the config, whose digest was
// verified, and the chain IDs that follow.
func parseConfig(config []byte, blobs []ocispec.Descriptor) ([]imageLayer, error) {
	var c struct {
		RootFS ocispec.RootFS `json:"rootfs"`
	}
	if err := json.Unmarshal(config, &c); err != nil {
		return nil, fmt.Errorf("config: %w: %w", err, errdefs.ErrInvalidArgument)
	}
	if c.RootFS.Type != "" && c.RootFS.Type != "layers" {
		return nil, fmt.Errorf("config: rootfs of type %q: %w", c.RootFS.Type, errdefs.ErrNotImplemented)
	}
	ids := c.RootFS.DiffIDs
	if len(ids) != len(blobs) {
		return nil, fmt.Errorf("config: %d diffIDs for %d layers: %w", len(ids), len(blobs), errdefs.ErrInvalidArgument)
	}
	for _, id := range ids {
		if err := id.Validate(); err != nil || id.Algorithm() != digest.SHA256 {
			return nil, fmt.Errorf("config: diffID %q, want a sha256: %w", id, errdefs.ErrInvalidArgument)
		}
	}
	roles, err := rolesOf(blobs)
	if err != nil {
		return nil, err
	}
	chains := identity.ChainIDs(slices.Clone(ids))
	layers := make([]imageLayer, len(ids))
	for i := range ids {
		layers[i] = imageLayer{role: roles[i], blob: blobs[i], diffID: ids[i], chain: chains[i], index: i}
	}
	return layers, nil
}

// find returns the layer that a request means. All that the request says must be so.
func (m *image) find(r *request) (*imageLayer, error) {
	i := slices.IndexFunc(m.layers, func(l imageLayer) bool { return l.chain == r.chain })
	if i < 0 {
		return nil, fmt.Errorf("manifest %s has no layer of the chain ID %s: %w", m.name.manifest, r.chain, errdefs.ErrInvalidArgument)
	}
	l := &m.layers[i]
	var below digest.Digest
	if i > 0 {
		below = m.layers[i-1].chain
	}
	switch {
	case l.blob.Digest != r.layer:
		return nil, fmt.Errorf("layer %d is %s, not %s: %w", i, l.blob.Digest, r.layer, errdefs.ErrInvalidArgument)
	case r.diffID != "" && l.diffID != r.diffID:
		return nil, fmt.Errorf("the diffID of layer %d is %s, not %s: %w", i, l.diffID, r.diffID, errdefs.ErrInvalidArgument)
	case below != r.parent:
		return nil, fmt.Errorf("layer %d is above %q, not %q: %w", i, below, r.parent, errdefs.ErrInvalidArgument)
	}
	return l, nil
}

// layer returns the layer of a chain ID, which the image has.
func (m *image) layer(chain digest.Digest) *imageLayer {
	return &m.layers[slices.IndexFunc(m.layers, func(l imageLayer) bool { return l.chain == chain })]
}

// from returns what can be served in a row, from a layer on: containerd fetches all
// above the first that is not.
func (m *image) from(index int) (all []ahead.Layer) {
	for _, l := range m.layers[index:] {
		if !l.supported() {
			break
		}
		all = append(all, ahead.Layer{Chain: l.chain, Index: l.index})
	}
	return all
}

// supported reports whether a layer can be unpacked here, or needs not be.
func (l *imageLayer) supported() bool {
	return l.role == data || slices.Contains(layerTypes, l.blob.MediaType)
}
