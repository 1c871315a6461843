package preheat

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	nodev1 "github.com/darter-p2p/darter/api/node/v1"
	"github.com/darter-p2p/darter/fetcher"
	"github.com/darter-p2p/darter/fetcher/registry"
	"github.com/darter-p2p/darter/p2p"
)

// shelf is a registry's content, given to those who show its credential.
type shelf struct {
	tags   map[string]digest.Digest
	bodies map[digest.Digest][]byte
	want   string // Authorization
	read   []digest.Digest
}

func newShelf() *shelf {
	return &shelf{tags: map[string]digest.Digest{}, bodies: map[digest.Digest][]byte{}}
}

func (s *shelf) put(v any) ocispec.Descriptor {
	b, ok := v.([]byte)
	if !ok {
		b, _ = json.Marshal(v)
	}
	d := digest.FromBytes(b)
	s.bodies[d] = b
	return ocispec.Descriptor{MediaType: "application/octet-stream", Digest: d, Size: int64(len(b))}
}

// image puts an image for a platform; "" leaves it out of the index entry.
func (s *shelf) image(platform string, layers ...string) ocispec.Descriptor {
	p := ocispec.Platform{}
	if words := strings.Split(platform, "/"); len(words) > 1 {
		p.OS, p.Architecture = words[0], words[1]
	}
	m := ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, Config: s.put(p)}
	for _, l := range layers {
		m.Layers = append(m.Layers, s.put([]byte(l)))
	}
	d := s.put(m)
	d.MediaType = m.MediaType
	if platform != "" {
		d.Platform = &p
	}
	return d
}

func (s *shelf) index(of ...ocispec.Descriptor) ocispec.Descriptor {
	return s.put(ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex, Manifests: of})
}

func (s *shelf) Resolve(_ context.Context, c fetcher.Content, tag string) (fetcher.Descriptor, error) {
	if c.Header.Get("Authorization") != s.want {
		return fetcher.Descriptor{}, fmt.Errorf("wrong password: %w", errdefs.ErrUnauthenticated)
	}
	d, ok := s.tags[tag]
	if !ok {
		return fetcher.Descriptor{}, fmt.Errorf("manifest unknown: %w", errdefs.ErrNotFound)
	}
	return fetcher.Descriptor{Digest: d}, nil
}

func (s *shelf) Open(_ context.Context, c fetcher.Content, _ fetcher.Range) (*fetcher.Body, error) {
	b, ok := s.bodies[c.Digest]
	if !ok || c.Header.Get("Authorization") != s.want {
		return nil, fmt.Errorf("%s: %w", c.Digest, errdefs.ErrNotFound)
	}
	s.read = append(s.read, c.Digest)
	return &fetcher.Body{ReadCloser: io.NopCloser(bytes.NewReader(b)), Size: int64(len(b))}, nil
}

func (s *shelf) Stat(context.Context, fetcher.Content) (fetcher.Descriptor, error) {
	return fetcher.Descriptor{}, errdefs.ErrNotImplemented
}

func (s *shelf) Keep(context.Context, fetcher.Content) (*fetcher.Body, p2p.TaskID, error) {
	return nil, p2p.TaskID{}, errdefs.ErrNotImplemented
}

func (s *shelf) KeepURL(context.Context, fetcher.URL) (*fetcher.Body, p2p.TaskID, error) {
	return nil, p2p.TaskID{}, errdefs.ErrNotImplemented
}

// TestResolve lists what images of all shapes take.
func TestResolve(t *testing.T) {
	s := newShelf()
	amd, arm := s.image("linux/amd64", "base", "app amd64"), s.image("linux/arm64", "base", "app arm64")
	attest := s.image("unknown/unknown", "attestation")
	s.tags["two"] = s.index(amd, arm, attest).Digest
	s.tags["one"] = s.image("linux/amd64", "base", "base", "single").Digest
	s.tags["nested"] = s.index(s.index(amd), arm).Digest
	foreignLayer := ocispec.Descriptor{MediaType: "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", Digest: digest.FromString("x"), URLs: []string{"https://x"}}
	s.tags["foreign"] = s.put(ocispec.Manifest{Config: s.put([]byte("{}")), Layers: []ocispec.Descriptor{foreignLayer}}).Digest
	s.tags["v1"] = s.put([]byte(`{"schemaVersion":1,"fsLayers":[]}`)).Digest
	s.tags["broken"] = s.put([]byte(`{"config":{"digest":"sha256:12"}}`)).Digest
	s.tags["negative"] = s.put([]byte(fmt.Sprintf(`{"config":{"digest":%q,"size":-1}}`, digest.FromString("")))).Digest
	s.tags["lost"] = s.index(ocispec.Descriptor{Digest: digest.FromString("lost")}).Digest
	loop := s.index(amd)
	for range 10 {
		loop = s.index(loop)
	}
	s.tags["deep"] = loop.Digest
	s.tags["big"] = s.put(bytes.Repeat([]byte(" "), registry.MaxManifest+1)).Digest
	server := New(s, nil, nil)
	for _, c := range []struct {
		name             string
		image            string
		platforms        []string
		manifests, blobs int
		code             codes.Code
	}{
		{"both platforms", "r.test/app:two", nil, 4, 7, 0},
		{"one of them", "r.test/app:two", []string{"linux/arm64"}, 2, 3, 0},
		{"with a variant", "r.test/app:two", []string{"linux/arm64/v8"}, 2, 3, 0},
		{"one that is not there", "r.test/app:two", []string{"linux/arm64", "windows/amd64"}, 0, 0, codes.NotFound},
		{"no index", "r.test/app:one", nil, 1, 3, 0},
		{"no index, its platform", "r.test/app:one", []string{"linux/amd64"}, 1, 3, 0},
		{"no index, another", "r.test/app:one", []string{"linux/arm64"}, 0, 0, codes.NotFound},
		{"by digest", "r.test/app@" + amd.Digest.String(), nil, 1, 3, 0},
		{"by the manifest's URL", "https://r.test/v2/app/manifests/two", nil, 4, 7, 0},
		{"an index in an index", "r.test/app:nested", nil, 4, 5, 0},
		{"a layer that is elsewhere", "r.test/app:foreign", nil, 1, 1, 0},
		{"no such tag", "r.test/app:none", nil, 0, 0, codes.NotFound},
		{"an old manifest", "r.test/app:v1", nil, 0, 0, codes.Unimplemented},
		{"a broken manifest", "r.test/app:broken", nil, 0, 0, codes.DataLoss},
		{"a negative size", "r.test/app:negative", nil, 0, 0, codes.DataLoss},
		{"a manifest that is gone", "r.test/app:lost", nil, 0, 0, codes.NotFound},
		{"indexes without end", "r.test/app:deep", nil, 0, 0, codes.OutOfRange},
		{"a manifest without end", "r.test/app:big", nil, 0, 0, codes.OutOfRange},
		{"no reference", "r.test/APP", nil, 0, 0, codes.InvalidArgument},
		{"no platform", "r.test/app:one", []string{"amd64"}, 0, 0, codes.InvalidArgument},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, err := server.Resolve(t.Context(), &nodev1.ResolveRequest{Image: c.image, Platforms: c.platforms})
			if status.Code(err) != c.code {
				t.Fatalf("%v, want code %v", err, c.code)
			}
			n := map[nodev1.Kind]int{}
			for _, content := range r.GetContents() {
				n[content.GetKind()]++
			}
			if n[nodev1.Kind_KIND_MANIFEST] != c.manifests || n[nodev1.Kind_KIND_BLOB] != c.blobs {
				t.Errorf("%d manifests and %d blobs, want %d and %d: %v", n[nodev1.Kind_KIND_MANIFEST], n[nodev1.Kind_KIND_BLOB], c.manifests, c.blobs, r)
			}
		})
	}
	s.want = "Basic right"
	_, err := server.Resolve(t.Context(), &nodev1.ResolveRequest{Image: "r.test/app:one", Authorization: "Basic wrong"})
	if status.Code(err) != codes.Unauthenticated || !strings.Contains(err.Error(), "wrong password") || strings.Contains(err.Error(), "Basic wrong") {
		t.Errorf("wrong password: %v", err)
	}
}

// FuzzParseManifest reads a registry's bytes.
func FuzzParseManifest(f *testing.F) {
	s := newShelf()
	image := s.image("linux/amd64", "layer")
	f.Add(s.bodies[image.Digest])
	f.Add(s.bodies[s.index(image).Digest])
	f.Fuzz(func(t *testing.T, b []byte) {
		s := newShelf()
		s.tags["t"] = s.put(b).Digest
		r, err := New(s, nil, nil).Resolve(context.Background(), &nodev1.ResolveRequest{Image: "r.test/app:t"})
		if err == nil && len(r.GetContents()) == 0 {
			t.Fatal("an image of nothing")
		}
		if status.Code(err) == codes.Unknown {
			t.Fatalf("no class: %v", err)
		}
	})
}
