package mirror

import (
	"context"
	"fmt"
	"io"
	"log"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	ggcr "github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/validate"
	"github.com/opencontainers/go-digest"

	"github.com/darter-p2p/darter/fetcher"
	"github.com/darter-p2p/darter/fetcher/registry"
	"github.com/darter-p2p/darter/fetcher/source"
)

// direct is a Fetcher that goes to the origin for everything.
type direct struct{ s source.Source }

func (d direct) request(c fetcher.Content, ref string) source.Request {
	o := registry.Origin(c.Registry, c.Repository, registry.Kind(c.Kind), ref)
	return source.Request{Origin: o, Length: -1, Header: c.Header}
}

func (d direct) Open(ctx context.Context, c fetcher.Content, r fetcher.Range) (*fetcher.Body, error) {
	req := d.request(c, c.Digest.String())
	if r.Offset < 0 {
		return nil, fmt.Errorf("no suffix ranges here")
	}
	req.Offset, req.Length = r.Offset, r.Length
	resp, err := d.s.Open(ctx, req)
	if err != nil {
		return nil, err
	}
	return &fetcher.Body{
		ReadCloser: resp.Body, Size: resp.Size, Offset: resp.Offset, Length: resp.Length, MediaType: resp.MediaType, From: "origin",
	}, nil
}

func (d direct) Stat(ctx context.Context, c fetcher.Content) (fetcher.Descriptor, error) {
	return d.describe(ctx, d.request(c, c.Digest.String()))
}

func (d direct) Resolve(ctx context.Context, c fetcher.Content, tag string) (fetcher.Descriptor, error) {
	return d.describe(ctx, d.request(c, tag))
}

func (d direct) describe(ctx context.Context, r source.Request) (fetcher.Descriptor, error) {
	resp, err := d.s.Stat(ctx, r)
	if err != nil {
		return fetcher.Descriptor{}, err
	}
	return fetcher.Descriptor{Digest: digest.Digest(resp.Digest), Size: resp.Size, MediaType: resp.MediaType}, nil
}

// A client library of the field pulls an image through the door, from a registry in memory.
func TestImageThroughTheDoor(t *testing.T) {
	up := httptest.NewServer(ggcr.New(ggcr.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(up.Close)
	upstream, _ := url.Parse(up.URL)
	s, err := registry.New(registry.Default(), registry.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	h := newHandler(t, direct{s}, func(c *Config) { c.DefaultRegistry = upstream.Host })
	door := strings.TrimPrefix(serve(t, h), "http://")

	origin, err := name.NewTag(upstream.Host + "/some/image:v1")
	if err != nil {
		t.Fatal(err)
	}
	img, err := random.Image(300_000, 4)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(origin, img, remote.WithContext(t.Context())); err != nil {
		t.Fatal(err)
	}
	idx, err := random.Index(10_000, 2, 3)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.WriteIndex(origin.Context().Tag("multi"), idx, remote.WithContext(t.Context())); err != nil {
		t.Fatal(err)
	}

	tag, err := name.NewTag(door + "/some/image:v1")
	if err != nil {
		t.Fatal(err)
	}
	pulled, err := remote.Image(tag, remote.WithContext(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Image(pulled); err != nil {
		t.Error(err)
	}
	want, _ := img.Digest()
	head, err := remote.Head(tag, remote.WithContext(t.Context()))
	if err != nil || head.Digest != want {
		t.Errorf("HEAD: %+v, %v, want %s", head, err, want)
	}
	pulledIndex, err := remote.Index(tag.Context().Tag("multi"), remote.WithContext(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Index(pulledIndex); err != nil {
		t.Error(err)
	}
	if _, err := remote.Image(tag.Context().Tag("none"), remote.WithContext(t.Context())); err == nil || !strings.Contains(err.Error(), "MANIFEST_UNKNOWN") {
		t.Errorf("a tag that is not there: %v", err)
	}
	other, err := random.Image(100, 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(tag, other, remote.WithContext(t.Context())); err == nil {
		t.Error("a push was taken")
	}
}
