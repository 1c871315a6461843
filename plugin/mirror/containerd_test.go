package mirror

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/containerd/containerd/v2/core/remotes/docker/config"
	"github.com/google/go-containerregistry/pkg/name"
	ggcr "github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/darter-p2p/darter/fetcher"
	"github.com/darter-p2p/darter/fetcher/registry"
)

// pull is a registry, the door before it, and containerd's own client configured to
// ask the door first.
type pull struct {
	fetcher *breakable // what stands behind the door
	layer   digest.Digest
	ref     string
	hosts   docker.RegistryHosts

	mu     sync.Mutex
	origin []string // what the client asked of the registry itself: method, path, Range
}

// breakable is a direct fetcher whose bodies a test may break.
type breakable struct {
	direct
	wrap func(context.Context, io.ReadCloser) io.ReadCloser
}

func (b *breakable) Open(ctx context.Context, c fetcher.Content, r fetcher.Range) (*fetcher.Body, error) {
	body, err := b.direct.Open(ctx, c, r)
	if err == nil && b.wrap != nil && c.Kind == fetcher.Blob {
		body.ReadCloser = b.wrap(ctx, body.ReadCloser)
	}
	return body, err
}

func newPull(t *testing.T) *pull {
	t.Helper()
	p := &pull{}
	reg := ggcr.New(ggcr.Logger(log.New(io.Discard, "", 0)))
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.UserAgent(), "containerd/") && r.Header.Get("X-Darter-Hop") == "" {
			p.mu.Lock()
			p.origin = append(p.origin, strings.TrimSpace(r.Method+" "+r.URL.Path+" "+r.Header.Get("Range")))
			p.mu.Unlock()
		}
		serveRange(reg, w, r)
	}))
	t.Cleanup(up.Close)
	u, _ := url.Parse(up.URL)
	p.ref = u.Host + "/some/image:v1"
	tag, err := name.NewTag(p.ref)
	if err != nil {
		t.Fatal(err)
	}
	img, err := random.Image(1_000_000, 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(tag, img, remote.WithContext(t.Context())); err != nil {
		t.Fatal(err)
	}
	layers, _ := img.Layers()
	h, _ := layers[0].Digest()
	p.layer = digest.Digest(h.String())

	s, err := registry.New(registry.Default(), registry.Options{Instance: "prod/node-1"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	p.fetcher = &breakable{direct: direct{s}}
	door := serve(t, newHandler(t, p.fetcher, nil))

	dir := t.TempDir()
	text := fmt.Sprintf("server = %q\n[host.%q]\n  capabilities = [\"pull\", \"resolve\"]\n", up.URL, door)
	if err := os.WriteFile(filepath.Join(dir, "hosts.toml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	p.hosts = config.ConfigureHosts(t.Context(), config.HostOptions{
		HostDir: func(string) (string, error) { return dir, nil },
		UpdateClient: func(c *http.Client) error {
			t.Cleanup(c.CloseIdleConnections)
			return nil
		},
	})
	return p
}

// serveRange answers open-ended ranges, which the registry in memory does not know.
func serveRange(reg http.Handler, w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Range") == "" {
		reg.ServeHTTP(w, r)
		return
	}
	whole := r.Clone(r.Context())
	whole.Header.Del("Range")
	rec := httptest.NewRecorder()
	reg.ServeHTTP(rec, whole)
	w.Header().Set("Content-Type", "application/octet-stream")
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(rec.Body.Bytes()))
}

// fetch resolves the tag and reads the layer, as containerd's pull does.
func (p *pull) fetch(t *testing.T) ([]byte, error) {
	t.Helper()
	resolver := docker.NewResolver(docker.ResolverOptions{Hosts: p.hosts})
	ref, _, err := resolver.Resolve(t.Context(), p.ref)
	if err != nil {
		return nil, fmt.Errorf("resolve: %w", err)
	}
	f, err := resolver.Fetcher(t.Context(), ref)
	if err != nil {
		return nil, err
	}
	rc, err := f.Fetch(t.Context(), ocispec.Descriptor{
		Digest: p.layer, MediaType: ocispec.MediaTypeImageLayerGzip, Size: 1 << 30,
	})
	if err != nil {
		return nil, fmt.Errorf("fetch: %w", err)
	}
	defer rc.Close()
	return io.ReadAll(rc)
}

func (p *pull) askedOrigin() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.origin...)
}

func TestContainerd(t *testing.T) {
	const before = 400_000
	for name, tc := range map[string]struct {
		wrap   func(context.Context, io.ReadCloser) io.ReadCloser
		resume bool // the rest is read at the registry
	}{
		"all is well": {nil, false},
		"the body breaks": {func(_ context.Context, r io.ReadCloser) io.ReadCloser {
			return &cut{r, before, errSwarm}
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPull(t)
			p.fetcher.wrap = tc.wrap
			got, err := p.fetch(t)
			if err != nil || digest.FromBytes(got) != p.layer {
				t.Fatalf("%d bytes, %v", len(got), err)
			}
			asked := p.askedOrigin()
			if !tc.resume && len(asked) != 0 {
				t.Errorf("the registry was asked by the client: %q", asked)
			}
			if tc.resume && (len(asked) != 1 || !strings.Contains(asked[0], "/blobs/"+p.layer.String()+" bytes=")) {
				t.Errorf("the registry was asked %q, want one resume", asked)
			}
		})
	}
}

// What the door refuses, containerd reads at the registry itself.
func TestContainerdGoesOn(t *testing.T) {
	p := newPull(t)
	whole, err := p.fetch(t)
	if err != nil {
		t.Fatal(err)
	}
	// Behind the door nothing answers any more.
	p.fetcher.wrap = nil
	dead := httptest.NewServer(http.NotFoundHandler())
	u, _ := url.Parse(dead.URL)
	dead.Close()
	c := registry.Default()
	host, _, _ := strings.Cut(p.ref, "/")
	c.Registries = []registry.HostConfig{{Host: host, URL: "http://" + u.Host}}
	s, err := registry.New(c, registry.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	p.fetcher.s = s
	got, err := p.fetch(t)
	if err != nil || !bytes.Equal(got, whole) {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
	if asked := p.askedOrigin(); len(asked) != 2 { // HEAD of the tag, GET of the layer
		t.Errorf("the registry was asked %q", asked)
	}
}
