package preheat

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	nodev1 "github.com/darter-p2p/darter/api/node/v1"
	"github.com/darter-p2p/darter/fetcher"
	"github.com/darter-p2p/darter/fetcher/registry"
	"github.com/darter-p2p/darter/internal/reference"
)

// accept names the manifests that are understood.
var accept = []string{
	ocispec.MediaTypeImageIndex, "application/vnd.docker.distribution.manifest.list.v2+json",
	ocispec.MediaTypeImageManifest, "application/vnd.docker.distribution.manifest.v2+json", "*/*",
}

// maxDepth bounds indexes within indexes.
const maxDepth = 4

// Resolve implements nodev1.NodeServiceServer.
func (s *Server) Resolve(ctx context.Context, r *nodev1.ResolveRequest) (*nodev1.ResolveResponse, error) {
	image, err := reference.Parse(r.GetImage())
	if err != nil {
		return nil, asStatus(err)
	}
	v := resolution{fetcher: s.fetcher, authorization: r.GetAuthorization(), seen: map[digest.Digest]bool{}}
	if v.registry, err = registry.ParseHost(image.Registry); err == nil {
		v.repository, err = registry.ParseRepository(v.registry, image.Repository)
	}
	if err != nil {
		return nil, asStatus(err)
	}
	if len(r.GetPlatforms()) > 64 {
		return nil, invalid("%d platforms, want at most 64", len(r.GetPlatforms()))
	}
	for _, p := range r.GetPlatforms() {
		parsed, err := platforms.Parse(p)
		if err != nil || strings.Count(p, "/") == 0 {
			return nil, invalid("platform %q, want os/arch or os/arch/variant", p)
		}
		v.wanted = append(v.wanted, platforms.Normalize(parsed))
	}
	root := image.Digest
	if root == "" {
		named, err := s.fetcher.Resolve(ctx, v.content(fetcher.Manifest, ""), image.Tag)
		if err != nil {
			return nil, asStatus(fmt.Errorf("image %s: %w", image, err))
		}
		root = named.Digest
	}
	if err := v.walk(ctx, root, "", 0); err != nil {
		return nil, asStatus(fmt.Errorf("image %s: %w", image, err))
	}
	if len(v.missing()) > 0 {
		return nil, asStatus(fmt.Errorf("image %s has no platform %s, only %s: %w", image, strings.Join(v.missing(), ", "), strings.Join(v.there, ", "), errdefs.ErrNotFound))
	}
	return &nodev1.ResolveResponse{
		Registry: v.registry, Repository: v.repository, Tag: image.Tag, Digest: root.String(),
		Contents: append(v.manifests, v.blobs...),
	}, nil
}

// resolution walks an image's manifests.
type resolution struct {
	fetcher              Fetcher
	registry, repository string
	authorization        string
	wanted               []ocispec.Platform // none = all
	got                  []ocispec.Platform // of manifests that were taken
	there                []string           // platforms that the image has
	seen                 map[digest.Digest]bool
	manifests, blobs     []*nodev1.Content
}

func (v *resolution) content(kind fetcher.Kind, d digest.Digest) fetcher.Content {
	h := header(v.authorization)
	h["Accept"] = accept
	return fetcher.Content{Registry: v.registry, Repository: v.repository, Kind: kind, Digest: d, Header: h}
}

// manifest is what an index and a manifest may name.
type manifest struct {
	MediaType string               `json:"mediaType"`
	Config    *ocispec.Descriptor  `json:"config"`
	Layers    []ocispec.Descriptor `json:"layers"`
	Manifests []ocispec.Descriptor `json:"manifests"`
}

// walk adds a manifest and what it names. platform is what an index said of it.
func (v *resolution) walk(ctx context.Context, d digest.Digest, platform string, depth int) error {
	if v.seen[d] {
		return nil
	}
	v.seen[d] = true
	if depth > maxDepth || len(v.manifests)+len(v.blobs) > maxContents {
		return fmt.Errorf("manifest %s: more than %d indexes deep, or %d contents: %w", d, maxDepth, maxContents, errdefs.ErrOutOfRange)
	}
	body, err := v.read(ctx, fetcher.Manifest, d)
	if err != nil {
		return fmt.Errorf("manifest %s: %w", d, err)
	}
	m, err := parseManifest(body)
	if err != nil {
		return fmt.Errorf("manifest %s: %w", d, err)
	}
	v.manifests = append(v.manifests, &nodev1.Content{
		Kind: nodev1.Kind_KIND_MANIFEST, Digest: d.String(), Size: int64(len(body)), MediaType: m.MediaType, Platform: platform,
	})
	if m.Config != nil {
		return v.image(ctx, m, platform)
	}
	for _, child := range m.Manifests {
		name := ""
		if child.Platform != nil {
			p := platforms.Normalize(*child.Platform)
			name = platforms.Format(p)
			if name != "unknown/unknown" && name != "unknown" {
				v.there = append(v.there, name)
			}
			if !v.wants(p) {
				continue
			}
			v.got = append(v.got, p)
		} else if len(v.wanted) > 0 && child.ArtifactType != "" {
			continue
		}
		if err := v.walk(ctx, child.Digest, name, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// image adds a manifest's blobs. A manifest that no index gave a platform has that of
// its config.
func (v *resolution) image(ctx context.Context, m manifest, platform string) error {
	if platform == "" && len(v.wanted) > 0 {
		p, err := v.platformOf(ctx, *m.Config)
		if err != nil {
			return err
		}
		platform = platforms.Format(p)
		v.there = append(v.there, platform)
		if !v.wants(p) {
			v.manifests = v.manifests[:len(v.manifests)-1]
			return nil
		}
		v.got = append(v.got, p)
	}
	for _, d := range append([]ocispec.Descriptor{*m.Config}, m.Layers...) {
		if v.seen[d.Digest] || foreign(d) {
			continue
		}
		v.seen[d.Digest] = true
		v.blobs = append(v.blobs, &nodev1.Content{
			Kind: nodev1.Kind_KIND_BLOB, Digest: d.Digest.String(), Size: d.Size, MediaType: d.MediaType, Platform: platform,
		})
	}
	return nil
}

// foreign reports whether a layer is not kept in the registry.
func foreign(d ocispec.Descriptor) bool {
	return len(d.URLs) > 0 && (strings.Contains(d.MediaType, "foreign") || strings.Contains(d.MediaType, "nondistributable"))
}

func (v *resolution) platformOf(ctx context.Context, config ocispec.Descriptor) (ocispec.Platform, error) {
	body, err := v.read(ctx, fetcher.Blob, config.Digest)
	if err != nil {
		return ocispec.Platform{}, fmt.Errorf("config %s: %w", config.Digest, err)
	}
	var p ocispec.Platform
	if err := json.Unmarshal(body, &p); err != nil {
		return p, fmt.Errorf("config %s: %w: %w", config.Digest, err, errdefs.ErrDataLoss)
	}
	return platforms.Normalize(p), nil
}

// wants reports whether a platform was asked for.
func (v *resolution) wants(p ocispec.Platform) bool {
	return len(v.wanted) == 0 || slices.ContainsFunc(v.wanted, func(w ocispec.Platform) bool { return matches(w, p) })
}

// matches reports whether p is what w asks for; a variant counts where w names one.
func matches(w, p ocispec.Platform) bool {
	return w.OS == p.OS && w.Architecture == p.Architecture && (w.Variant == "" || w.Variant == p.Variant)
}

// missing lists the wanted platforms that no manifest has.
func (v *resolution) missing() []string {
	var none []string
	for _, w := range v.wanted {
		if !slices.ContainsFunc(v.got, func(p ocispec.Platform) bool { return matches(w, p) }) {
			none = append(none, platforms.Format(w))
		}
	}
	return none
}

// read reads a small content whole and checks its digest.
func (v *resolution) read(ctx context.Context, kind fetcher.Kind, d digest.Digest) ([]byte, error) {
	body, err := v.fetcher.Open(ctx, v.content(kind, d), fetcher.All)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	var b bytes.Buffer
	n, err := io.Copy(&b, io.LimitReader(body, registry.MaxManifest+1))
	switch {
	case err != nil:
		return nil, err
	case n > registry.MaxManifest:
		return nil, fmt.Errorf("larger than %d bytes: %w", registry.MaxManifest, errdefs.ErrOutOfRange)
	case digest.FromBytes(b.Bytes()) != d:
		return nil, fmt.Errorf("the registry gave other bytes than the digest's: %w", errdefs.ErrDataLoss)
	}
	return b.Bytes(), nil
}

// parseManifest reads a manifest or an index of the OCI or of Docker. Its descriptors
// are checked: sha256 digests, no negative sizes.
func parseManifest(b []byte) (manifest, error) {
	var m manifest
	if err := json.Unmarshal(b, &m); err != nil {
		return m, fmt.Errorf("%w: %w", err, errdefs.ErrDataLoss)
	}
	if m.MediaType == "" {
		m.MediaType = ocispec.MediaTypeImageIndex
		if m.Config != nil {
			m.MediaType = ocispec.MediaTypeImageManifest
		}
	}
	switch {
	case m.Config == nil && m.Manifests == nil:
		return m, fmt.Errorf("%q is no image manifest or index that darter knows: %w", m.MediaType, errdefs.ErrNotImplemented)
	case m.Config != nil && m.Manifests != nil:
		return m, fmt.Errorf("both a manifest and an index: %w", errdefs.ErrDataLoss)
	case len(m.Layers)+len(m.Manifests) > maxContents:
		return m, fmt.Errorf("%d contents: %w", len(m.Layers)+len(m.Manifests), errdefs.ErrOutOfRange)
	}
	all := append(slices.Clone(m.Layers), m.Manifests...)
	if m.Config != nil {
		all = append(all, *m.Config)
	}
	for _, d := range all {
		if d.Digest.Validate() != nil || d.Digest.Algorithm() != digest.SHA256 || d.Size < 0 {
			return m, fmt.Errorf("names %q of %d bytes: %w", d.Digest, d.Size, errdefs.ErrDataLoss)
		}
	}
	return m, nil
}
