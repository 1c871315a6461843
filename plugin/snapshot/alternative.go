package snapshot

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/containerd/containerd/v2/pkg/reference"
	"github.com/containerd/errdefs"
	"github.com/containerd/nydus-snapshotter/pkg/converter"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/darter-p2p/darter/fetcher"
)

// What tells a Nydus entry of an index from others.
const (
	osFeature    = "nydus.remoteimage.v1"
	artifactType = "application/vnd.nydus.image.manifest.v1+json"
)

// alternative is the Nydus image that stands beside an ordinary one in its index, with
// its bootstrap unpacked.
type alternative struct {
	manifest digest.Digest
	dir      string // staged; the reading that made it removes it
	files    string // of the bootstrap layer, in dir
	blobs    []digest.Digest
}

// errNoAlternative says that an image has no Nydus image beside it that may stand for it.
var errNoAlternative = errors.New("no Nydus image of it")

// Resolver says what tags name; a fetcher.Fetcher is one.
type Resolver interface {
	Resolve(ctx context.Context, c fetcher.Content, tag string) (fetcher.Descriptor, error)
}

// prefers reports whether the Nydus image beside an image is wanted, and its index believed.
func (c Config) prefers(n *imageName) bool {
	name := n.registry + "/" + n.repository
	return slices.ContainsFunc(c.PreferNydus, func(p string) bool {
		return p == "*" || name == p || strings.HasPrefix(name, strings.TrimSuffix(p, "/")+"/")
	})
}

// alternative finds the Nydus image that the index of m, read anew, has beside it, and
// unpacks its bootstrap into dir.
func (l *library) alternative(ctx context.Context, u Unpacker, m *image, dir string) (*alternative, error) {
	entry, err := l.besides(ctx, m.name)
	if err != nil {
		return nil, err
	}
	name := &imageName{ref: m.name.ref, registry: m.name.registry, repository: m.name.repository, manifest: entry}
	name.private.Store(m.name.private.Load())
	nydus, err := l.image(ctx, name)
	if err != nil {
		return nil, err
	}
	top := &nydus.layers[len(nydus.layers)-1]
	switch {
	case top.role != bootstrap:
		return nil, fmt.Errorf("%s is no Nydus image: %w", entry, errdefs.ErrInvalidArgument)
	case nydus.settings != m.settings:
		return nil, fmt.Errorf("the Nydus image %s has another configuration: %w", entry, errdefs.ErrInvalidArgument)
	}
	if _, err := unpack(ctx, l, u, name, top, dir); err != nil {
		return nil, err
	}
	a := &alternative{manifest: entry, dir: dir, files: files(dir), blobs: nydus.dataBlobs()}
	if err := checkBootstrap(a.files, a.blobs); err != nil {
		return nil, because(badBootstrap, err)
	}
	return a, nil
}

// besides reads the index that an image was pulled by, and returns the manifest of the
// Nydus image in it that was made of this one.
func (l *library) besides(ctx context.Context, n *imageName) (digest.Digest, error) {
	spec, err := reference.Parse(n.ref)
	if err != nil {
		return "", err
	}
	index := spec.Digest()
	if index == "" {
		if l.resolver == nil {
			return "", errNoAlternative
		}
		if index, err = l.resolve(ctx, n, spec.Object); err != nil {
			return "", fmt.Errorf("resolve %s: %w", n.ref, err)
		}
	}
	if index == n.manifest { // it was pulled without an index
		return "", errNoAlternative
	}
	said, err := l.document(ctx, n, fetcher.Manifest, index)
	if err != nil {
		return "", fmt.Errorf("read index %s: %w", index, err)
	}
	return entryBeside(said, n.manifest)
}

// entryBeside returns the entry of an index that is the Nydus image of manifest.
func entryBeside(index []byte, manifest digest.Digest) (digest.Digest, error) {
	var in ocispec.Index
	if err := json.Unmarshal(index, &in); err != nil {
		return "", fmt.Errorf("index: %w: %w", err, errdefs.ErrInvalidArgument)
	}
	listed := slices.ContainsFunc(in.Manifests, func(d ocispec.Descriptor) bool { return d.Digest == manifest && !isNydusEntry(d) })
	for _, d := range in.Manifests {
		if listed && isNydusEntry(d) && d.Annotations[converter.LayerAnnotationNydusSourceDigest] == manifest.String() {
			if d.Digest.Validate() != nil || d.Digest.Algorithm() != digest.SHA256 {
				return "", fmt.Errorf("index: digest %q, want a sha256: %w", d.Digest, errdefs.ErrInvalidArgument)
			}
			return d.Digest, nil
		}
	}
	return "", errNoAlternative
}

func isNydusEntry(d ocispec.Descriptor) bool {
	return d.ArtifactType == artifactType || d.Platform != nil && slices.Contains(d.Platform.OSFeatures, osFeature)
}

// settingsOf returns what an image's config says beside its layers, in one form.
func settingsOf(config []byte) (string, error) {
	var c struct {
		Architecture, OS, Variant string
		Config                    any
	}
	if err := json.Unmarshal(config, &c); err != nil {
		return "", fmt.Errorf("config: %w: %w", err, errdefs.ErrInvalidArgument)
	}
	b, err := json.Marshal(c)
	return string(b), err
}

// stageAlternative makes the snapshot of a layer for which the Nydus image stands: the
// top one has the bootstrap, the others have nothing but a note that says what they
// stand for.
func stageAlternative(m *image, l *imageLayer, dir string) error {
	n := note{Image: m.name.ref, Registry: m.name.registry, Repository: m.name.repository, Manifest: m.name.manifest}
	if l.index < len(m.layers)-1 {
		return hollowNote{note: n, Chain: l.chain}.write(dir)
	}
	from, err := bootstrapPath(m.alt.files)
	if err != nil {
		return err
	}
	if err := os.Link(from, filepath.Join(dir, besideName)); err != nil {
		return err
	}
	n.Manifest, n.Blobs, n.Beside = m.alt.manifest, m.alt.blobs, true
	return n.write(dir)
}
