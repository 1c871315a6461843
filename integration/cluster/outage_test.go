package cluster

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"

	"github.com/darter-p2p/darter/fetcher"
	"github.com/darter-p2p/darter/fetcher/registry"
	"github.com/darter-p2p/darter/fetcher/source/sourcetest"
	"github.com/darter-p2p/darter/internal/config"
	"github.com/darter-p2p/darter/internal/pki"
	"github.com/darter-p2p/darter/p2p"
	"github.com/darter-p2p/darter/plugin/mirror"
)

const ociManifest = "application/vnd.oci.image.manifest.v1+json"

// image is an image of one layer at the origin.
type image struct {
	manifest []byte
	digest   digest.Digest
	layer    Content
	tag      p2p.Origin
}

// putImage puts an image of one layer to registry.test/app under a tag.
func (c *Cluster) putImage(tag string, size int) image {
	layer := c.Put("app", size)
	i := image{layer: layer, tag: registry.Origin("registry.test", "app", registry.Manifests, tag)}
	i.manifest = []byte(`{"schemaVersion":2,"mediaType":"` + ociManifest + `","config":{},"layers":[{"digest":"` + layer.Digest.String() + `"}]}`)
	i.digest = digest.FromBytes(i.manifest)
	at := sourcetest.Content{Data: i.manifest, MediaType: ociManifest, Digest: i.digest.String()}
	c.Origin.Put(i.tag, at)
	c.Origin.Put(registry.Origin("registry.test", "app", registry.Manifests, i.digest.String()), at)
	return i
}

// door is a node's mirror.
func door(t *testing.T, n *Node) *httptest.Server {
	t.Helper()
	h, err := mirror.New(n.Fetcher, mirror.Default(), mirror.Options{Instance: string(n.ID)})
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s
}

// pull pulls app:tag as containerd does, and reports whether the tag was said to be stale.
func (i image) pull(ctx context.Context, t *testing.T, at *httptest.Server, tag string) (stale bool, err error) {
	t.Helper()
	get := func(method, path string) (*http.Response, []byte, error) {
		r, err := http.NewRequestWithContext(ctx, method, at.URL+"/v2/app/"+path+"?ns=registry.test", nil)
		if err != nil {
			return nil, nil, err
		}
		resp, err := at.Client().Do(r)
		if err != nil {
			return nil, nil, err
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err == nil && resp.StatusCode != http.StatusOK {
			err = errors.New(method + " " + path + ": " + resp.Status + " " + string(body))
		}
		return resp, body, err
	}
	head, _, err := get(http.MethodHead, "manifests/"+tag)
	if err != nil {
		return false, err
	}
	if got := head.Header.Get("Docker-Content-Digest"); got != i.digest.String() {
		t.Errorf("HEAD of the tag says %s, want %s", got, i.digest)
	}
	for _, method := range []string{http.MethodHead, http.MethodGet} {
		m, body, err := get(method, "manifests/"+i.digest.String())
		if err != nil {
			return false, err
		}
		if got := m.Header.Get("Content-Type"); got != ociManifest || m.ContentLength != int64(len(i.manifest)) {
			t.Errorf("%s of the manifest: type %q, %d bytes", method, got, m.ContentLength)
		}
		if method == http.MethodGet && string(body) != string(i.manifest) {
			t.Errorf("manifest: %q", body)
		}
		b, body, err := get(method, "blobs/"+i.layer.Digest.String())
		if err != nil {
			return false, err
		}
		if b.ContentLength != int64(len(i.layer.Data)) || method == http.MethodGet && digest.FromBytes(body) != i.layer.Digest {
			t.Errorf("%s of the layer: %d bytes", method, b.ContentLength)
		}
	}
	return head.Header.Get("Warning") != "", nil
}

// hangPatience is how long the nodes of a test wait for a registry that hangs, and for
// the piece network: long enough for a machine that others use, too.
const hangPatience = 8 * time.Second

// An image that one node holds is pulled by tag with the registry stopped: on that
// node after a restart, and on two others that never heard of the tag. All of them
// say that the tag is stale.
func TestRegistryOutage(t *testing.T) {
	for name, failure := range map[string]sourcetest.Failure{
		"gone":   {Err: errors.New("connection refused")},
		"broken": {Status: http.StatusBadGateway},
		"hangs":  {HangOpen: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := New(t)
			i := c.putImage("v1", 5<<20)
			// Only a registry that hangs is waited for so long: once for each node.
			soon := Options{Fetch: func(f *fetcher.Config) { f.FirstByte = config.Duration(hangPatience) }}
			seed := c.Start(pki.Seed, "seed", Options{})
			a := c.Start(pki.Node, "a", Options{})
			if stale, err := i.pull(patience(t), t, door(t, a), "v1"); stale || err != nil {
				t.Fatalf("with the registry: stale %v, %v", stale, err)
			}
			var state []any
			defer func() {
				if t.Failed() {
					t.Logf("%+v", state)
				}
			}()
			until(t, "a holds all", func() bool {
				m, _ := p2p.TaskOfDigest(i.digest)
				s, ok := a.Task(m)
				l, lok := a.Task(i.layer.Task)
				state = []any{ok, s, lok, l}
				return ok && s.Complete && l.Complete
			})
			seed.Stop() // whose store would help
			a.Stop()
			c.Origin.Fail("", failure)
			c.StopScheduler() // which forgets what it was told
			c.StartScheduler()
			a = c.Start(pki.Node, "a", soon)
			c.Start(pki.Seed, "seed2", soon)
			var wg sync.WaitGroup
			for _, n := range []*Node{a, c.Start(pki.Node, "b", soon), c.Start(pki.Node, "c", soon)} {
				wg.Go(func() {
					began := time.Now()
					stale, err := i.pull(patience(t), t, door(t, n), "v1")
					if err != nil {
						t.Errorf("%s: %v", n.ID, err)
					} else if !stale {
						t.Errorf("%s does not say that the tag is stale", n.ID)
					}
					t.Logf("%s: %v", n.ID, time.Since(began))
				})
			}
			wg.Wait()
		})
	}
}

// A node takes the word of others on a tag only as far as fetch.stale_tags says.
func TestStaleTagsOfWhom(t *testing.T) {
	c := New(t)
	i := c.putImage("v1", 1<<20)
	a := c.Start(pki.Node, "a", Options{})
	ask := fetcher.Content{Registry: "registry.test", Repository: "app"}
	if _, err := a.Fetcher.Resolve(patience(t), ask, "v1"); err != nil {
		t.Fatal(err)
	}
	c.Origin.Fail("", sourcetest.Failure{Err: errors.New("connection refused")})
	for whom, want := range map[string]bool{fetcher.StaleOwn: false, fetcher.StaleSeeds: false, fetcher.StaleMembers: true} {
		n := c.Start(pki.Node, "of-"+whom, Options{Fetch: func(f *fetcher.Config) { f.StaleTags = whom }})
		var d fetcher.Descriptor
		var err error
		resolve := func() bool { d, err = n.Fetcher.Resolve(patience(t), ask, "v1"); return err == nil }
		if want {
			until(t, "the tag was told", resolve)
		} else if resolve() {
			t.Errorf("%s: %+v", whom, d)
		}
		if want != (err == nil) || err == nil && (d.Digest != i.digest || !d.Stale) || err != nil && !errdefs.IsUnavailable(err) {
			t.Errorf("%s: %+v, %v", whom, d, err)
		}
	}
	// What is private was told to nobody and is not stale for anybody.
	private := ask
	private.Header = http.Header{"Authorization": {"Bearer x"}}
	if d, err := a.Fetcher.Resolve(patience(t), private, "v1"); err == nil {
		t.Errorf("with a credential: %+v", d)
	}
}
