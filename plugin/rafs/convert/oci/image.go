package oci

import (
	"encoding/json"
	"fmt"
	"io"
	"os"

	"github.com/containerd/errdefs"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/darter-p2p/darter/plugin/rafs/convert"
)

// Media types of the layers of a Nydus image.
const (
	typeBlob      = "application/vnd.oci.image.layer.nydus.blob.v1"
	typeBootstrap = ocispec.MediaTypeImageLayerGzip
)

// image is a Nydus image whose layers are files.
type image struct {
	manifest, config []byte
	layers           map[v1.Hash]fileLayer
}

// newImage puts the parts together: the source's config with other layers.
func newImage(config []byte, made *convert.Image, boot bootstrapLayer) (v1.Image, error) {
	im := &image{layers: make(map[v1.Hash]fileLayer)}
	m := ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest}
	var diffIDs []digest.Digest
	for _, b := range made.Blobs {
		m.Layers = append(m.Layers, ocispec.Descriptor{
			MediaType: typeBlob, Digest: b.Digest, Size: b.Size,
			Annotations: map[string]string{labelBlob: "true", labelUncompressed: b.Digest.String()},
		})
		diffIDs = append(diffIDs, b.Digest) // nobody unpacks a blob
		im.add(b.Digest, b.Size, typeBlob, b.Path)
	}
	m.Layers = append(m.Layers, ocispec.Descriptor{
		MediaType: typeBootstrap, Digest: boot.digest, Size: boot.size,
		Annotations: map[string]string{labelBootstrap: "true", labelVersion: "6", labelUncompressed: boot.diffID.String()},
	})
	diffIDs = append(diffIDs, boot.diffID)
	im.add(boot.digest, boot.size, typeBootstrap, boot.path)

	var err error
	if im.config, err = newConfig(config, diffIDs, made); err != nil {
		return nil, err
	}
	m.Config = ocispec.Descriptor{
		MediaType: ocispec.MediaTypeImageConfig, Digest: digest.FromBytes(im.config), Size: int64(len(im.config)),
	}
	if im.manifest, err = json.Marshal(m); err != nil {
		return nil, fmt.Errorf("manifest: %w", err)
	}
	return partial.CompressedToImage(im)
}

func (im *image) add(d digest.Digest, size int64, mediaType types.MediaType, path string) {
	h := v1.Hash{Algorithm: d.Algorithm().String(), Hex: d.Encoded()}
	im.layers[h] = fileLayer{h, size, mediaType, path}
}

// newConfig changes what a config says of layers and keeps every other byte's meaning.
// One entry of the history stands for each layer that got a blob, and one for the
// bootstrap; those of the other layers become empty.
func newConfig(source []byte, diffIDs []digest.Digest, made *convert.Image) ([]byte, error) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(source, &fields); err != nil {
		return nil, fmt.Errorf("config: %w: %w", err, errdefs.ErrInvalidArgument)
	}
	var known struct {
		History []ocispec.History `json:"history"`
	}
	if err := json.Unmarshal(source, &known); err != nil {
		return nil, fmt.Errorf("config: %w: %w", err, errdefs.ErrInvalidArgument)
	}
	at := 0
	for i := range known.History {
		h := &known.History[i]
		if h.EmptyLayer {
			continue
		}
		if at < len(made.Layers) && made.Layers[at].Blob < 0 {
			h.EmptyLayer = true
		}
		at++
	}
	if at != len(made.Layers) { // it does not tell of these layers
		known.History = make([]ocispec.History, len(made.Blobs))
	}
	known.History = append(known.History, ocispec.History{CreatedBy: "darter convert", Comment: "Nydus bootstrap"})
	for name, value := range map[string]any{
		"rootfs":  ocispec.RootFS{Type: "layers", DiffIDs: diffIDs},
		"history": known.History,
	} {
		raw, err := json.Marshal(value)
		if err != nil {
			return nil, fmt.Errorf("config: %w", err)
		}
		fields[name] = raw
	}
	return json.Marshal(fields)
}

// MediaType implements partial.CompressedImageCore.
func (im *image) MediaType() (types.MediaType, error) { return types.OCIManifestSchema1, nil }

// RawManifest implements partial.CompressedImageCore.
func (im *image) RawManifest() ([]byte, error) { return im.manifest, nil }

// RawConfigFile implements partial.CompressedImageCore.
func (im *image) RawConfigFile() ([]byte, error) { return im.config, nil }

// LayerByDigest implements partial.CompressedImageCore.
func (im *image) LayerByDigest(h v1.Hash) (partial.CompressedLayer, error) {
	l, ok := im.layers[h]
	if !ok {
		return nil, fmt.Errorf("layer %s: %w", h, errdefs.ErrNotFound)
	}
	return l, nil
}

// fileLayer is a layer in a file.
type fileLayer struct {
	hash      v1.Hash
	size      int64
	mediaType types.MediaType
	path      string
}

// Digest implements partial.CompressedLayer.
func (l fileLayer) Digest() (v1.Hash, error) { return l.hash, nil }

// Compressed implements partial.CompressedLayer.
func (l fileLayer) Compressed() (io.ReadCloser, error) { return os.Open(l.path) }

// Size implements partial.CompressedLayer.
func (l fileLayer) Size() (int64, error) { return l.size, nil }

// MediaType implements partial.CompressedLayer.
func (l fileLayer) MediaType() (types.MediaType, error) { return l.mediaType, nil }
