package snapshot

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/klauspost/compress/gzip"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/identity"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/darter-p2p/darter/fetcher"
	"github.com/darter-p2p/darter/fetcher/credential"
	"github.com/darter-p2p/darter/fetcher/registry"
	"github.com/darter-p2p/darter/p2p"
	"github.com/darter-p2p/darter/p2p/node"
)

// nobody is a piece network without anybody in it.
type nobody struct{}

func (nobody) Open(context.Context, node.Want) (*node.Reader, error) {
	return nil, fmt.Errorf("nobody is here: %w", errdefs.ErrUnavailable)
}
func (nobody) Task(p2p.TaskID) (node.Snapshot, bool) { return node.Snapshot{}, false }
func (nobody) CountOrigin(p2p.TaskID, int64)         {}

// guarded is a registry of one image that wants a name and a password.
type guarded struct {
	blobs map[string][]byte // by digest
	mu    sync.Mutex
	given map[string]int // blobs and manifests, by digest
}

func (g *guarded) put(b []byte) digest.Digest {
	d := digest.FromBytes(b)
	g.blobs[d.String()] = b
	return d
}

func (g *guarded) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if user, password, ok := r.BasicAuth(); !ok || user != "me" || password != "secret" {
		w.Header().Set("WWW-Authenticate", `Basic realm="here"`)
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	name := path.Base(r.URL.Path)
	b, ok := g.blobs[name]
	if !ok {
		http.NotFound(w, r)
		return
	}
	if strings.Contains(r.URL.Path, "/manifests/") {
		w.Header().Set("Content-Type", ocispec.MediaTypeImageManifest)
	}
	w.Header().Set("Docker-Content-Digest", name)
	if _, err := w.Write(b); err != nil || r.Method == http.MethodHead {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.given[name]++
}

// image makes an image of layers with one file each.
func (g *guarded) image(t *testing.T, ref string, names ...string) *testImage {
	t.Helper()
	m := &testImage{ref: ref}
	for _, name := range names {
		var archive, packed bytes.Buffer
		w, zw := tar.NewWriter(&archive), gzip.NewWriter(&packed)
		if err := w.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o600}); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		m.diffIDs = append(m.diffIDs, digest.FromBytes(archive.Bytes()))
		if _, err := archive.WriteTo(zw); err != nil {
			t.Fatal(err)
		}
		if err := zw.Close(); err != nil {
			t.Fatal(err)
		}
		m.blobs = append(m.blobs, ocispec.Descriptor{
			MediaType: ocispec.MediaTypeImageLayerGzip, Digest: g.put(packed.Bytes()), Size: int64(packed.Len()),
		})
	}
	m.chains = identity.ChainIDs(append([]digest.Digest{}, m.diffIDs...))
	config, err := json.Marshal(ocispec.Image{RootFS: ocispec.RootFS{Type: "layers", DiffIDs: m.diffIDs}})
	if err != nil {
		t.Fatal(err)
	}
	m.config = g.put(config)
	manifest, err := json.Marshal(ocispec.Manifest{
		MediaType: ocispec.MediaTypeImageManifest, Layers: m.blobs,
		Config: ocispec.Descriptor{MediaType: ocispec.MediaTypeImageConfig, Digest: m.config, Size: int64(len(config))},
	})
	if err != nil {
		t.Fatal(err)
	}
	m.manifest = g.put(manifest)
	return m
}

// The real fetcher and unpacker, and a registry that lets in who has its password: what
// the mirror saw a moment ago, or the node's docker config.
func TestPrivateRegistry(t *testing.T) {
	needRoot(t)
	basic := "Basic " + base64.StdEncoding.EncodeToString([]byte("me:secret"))
	config := filepath.Join(t.TempDir(), "config.json")
	for name, c := range map[string]struct {
		seen   string // by the mirror
		config string // docker's
		want   bool
	}{
		"no credential":      {config: "{}"},
		"another's":          {config: `{"auths":{"%s":{"auth":"YW5vdGhlcjpvbmU="}}}`},
		"another registry":   {config: `{"auths":{"registry.example":{"auth":"` + strings.TrimPrefix(basic, "Basic ") + `"}}}`},
		"docker's":           {config: `{"auths":{"%s":{"auth":"` + strings.TrimPrefix(basic, "Basic ") + `"}}}`, want: true},
		"seen by the mirror": {config: "{}", seen: basic, want: true},
	} {
		t.Run(name, func(t *testing.T) {
			g := &guarded{blobs: map[string][]byte{}, given: map[string]int{}}
			server := httptest.NewServer(g)
			defer server.Close()
			host := strings.TrimPrefix(server.URL, "http://")
			m := g.image(t, host+"/team/private:1", "a", "b")
			if err := os.WriteFile(config, []byte(strings.ReplaceAll(c.config, "%s", host)), 0o600); err != nil {
				t.Fatal(err)
			}
			own, err := credential.Node(credential.Config{DockerConfig: []string{config}, Timeout: credential.Default().Timeout}, nil)
			if err != nil {
				t.Fatal(err)
			}
			seen := new(credential.Seen)
			if c.seen != "" {
				seen.Accepted(host, "team/private", c.seen)
			}
			source, err := registry.New(registry.Default(), registry.Options{})
			if err != nil {
				t.Fatal(err)
			}
			f, err := fetcher.New(fetcher.Default(), nobody{}, source, fetcher.Options{})
			if err != nil {
				t.Fatal(err)
			}
			d, err := New(t.Context(), testConfig(t.TempDir()), Options{Fetcher: f, Credentials: credential.First(nil, seen, own)})
			if err != nil {
				t.Fatal(err)
			}
			names := m.pull(t.Context(), t, d)
			if got := len(names) == 2 && names[1] != ""; got != c.want {
				t.Errorf("served: %q", names)
			}
			for _, blob := range m.blobs {
				if got := g.given[blob.Digest.String()]; c.want && got != 1 || !c.want && got > 0 {
					t.Errorf("%s was read %d times", blob.Digest, got)
				}
			}
			closeDoor(t, d)
			f.Close()
			if err := source.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}
