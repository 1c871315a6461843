package mirror

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/containerd/errdefs"

	"github.com/darter-p2p/darter/fetcher"
	"github.com/darter-p2p/darter/fetcher/source"
)

// guarded is a fake that wants a credential.
type guarded struct {
	*fake
	good   string
	status int // of the refusal
}

func (g *guarded) check(c fetcher.Content) error {
	if c.Header.Get("Authorization") == g.good {
		return nil
	}
	return &source.Error{Status: g.status, Host: "r.test", Header: http.Header{"Www-Authenticate": {`Bearer realm="https://a.test/t"`}}}
}

func (g *guarded) Open(ctx context.Context, c fetcher.Content, r fetcher.Range) (*fetcher.Body, error) {
	body, err := g.fake.Open(ctx, c, r)
	if refused := g.check(c); refused != nil && err == nil {
		body.Close()
		return nil, refused
	}
	return body, err
}

func (g *guarded) Stat(ctx context.Context, c fetcher.Content) (fetcher.Descriptor, error) {
	d, err := g.fake.Stat(ctx, c)
	return d, errors.Join(err, g.check(c))
}

func (g *guarded) Resolve(ctx context.Context, c fetcher.Content, tag string) (fetcher.Descriptor, error) {
	d, err := g.fake.Resolve(ctx, c, tag)
	return d, errors.Join(err, g.check(c))
}

// keys are a node's credentials, by repository.
type keys struct {
	known map[string]string
	err   error
	asked int
}

func (k *keys) Authorization(_ context.Context, registry, repository string) (string, error) {
	k.asked++
	return k.known[registry+"/"+repository], k.err
}

// heard is a Witness.
type heard []string

func (h *heard) Accepted(registry, repository, authorization string) {
	*h = append(*h, registry+"/"+repository+" "+authorization)
}

// from makes a request as a client at an address would, for a host that it names.
func from(h http.Handler, addr, host, method, target string, header ...string) *http.Response {
	r := httptest.NewRequest(method, target, nil)
	r.RemoteAddr, r.Host = addr, host
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}

const (
	local = "127.0.0.1:40000"
	door  = "127.0.0.1:65001"
)

func withCredentials(t *testing.T, f fetcher.Fetcher, o Options) *Handler {
	t.Helper()
	h, err := New(f, Default(), o)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func TestNodeCredentials(t *testing.T) {
	for _, refusal := range []int{401, 403} {
		f := newFake()
		g := &guarded{f, "Basic node", refusal}
		m, layer := f.put([]byte(`{"schemaVersion":2}`)), f.put([]byte("layer"))
		f.tags["r.test/team/app:v1"] = fetcher.Descriptor{Digest: m, Size: 19, MediaType: ociManifest}
		k := &keys{known: map[string]string{"r.test/team/app": "Basic node"}}
		h := withCredentials(t, g, Options{Credentials: k})
		get := func(path string, header ...string) int {
			return from(h, local, door, "GET", "/v2/team/"+path+"?ns=r.test", header...).StatusCode
		}
		for _, path := range []string{"app/manifests/v1", "app/manifests/" + m.String(), "app/blobs/" + layer.String()} {
			if status := get(path); status != 200 {
				t.Errorf("%s: %d", path, status)
			}
		}
		if n := len(f.asked); n != 5 {
			t.Errorf("the fetcher was asked %d times: once in vain, then with the credential", n)
		}
		if status := get("app/blobs/"+layer.String(), "Authorization", "Bearer mine"); status != refusal || f.last().Header.Get("Authorization") != "Bearer mine" {
			t.Errorf("a client's own credential was replaced: %d", status)
		}
		resp := from(h, local, door, "GET", "/v2/team/other/blobs/"+layer.String()+"?ns=r.test")
		if resp.StatusCode != refusal || resp.Header.Get("WWW-Authenticate") == "" {
			t.Errorf("where the node knows nothing: %v", resp)
		}
	}
}

// Only programs of this node get its credentials.
func TestNodeCredentialsAreForLoopback(t *testing.T) {
	f := newFake()
	layer := f.put([]byte("layer"))
	k := &keys{known: map[string]string{"r.test/app": "Basic node"}}
	h := withCredentials(t, &guarded{f, "Basic node", 401}, Options{Credentials: k})
	for _, tc := range []struct {
		addr, host string
		header     []string
		status     int
	}{
		{"10.0.0.7:40000", door, nil, 401},
		{"10.0.0.7:40000", door, []string{"X-Forwarded-For", "127.0.0.1"}, 401},
		{"", door, nil, 401},
		{"@", door, nil, 401},
		{"[fe80::1%eth0]:40000", door, nil, 401},
		{local, "evil.test:65001", nil, 401},
		{local, "10.0.0.7:65001", nil, 401},
		{local, "", nil, 401},
		{local, door, []string{"X-Forwarded-For", "10.0.0.7"}, 401},
		{local, door, []string{"Forwarded", "for=10.0.0.7"}, 401},
		{local, door, []string{"Via", "1.1 proxy"}, 401},
		{local, door, []string{"Origin", "http://evil.test"}, 401},
		{local, door, []string{source.HopHeader, "other-node"}, 401},
		{local, door, nil, 200},
		{"127.9.9.9:1", "localhost:65001", nil, 200},
		{"[::1]:40000", "[::1]:65001", nil, 200},
		{"[::ffff:127.0.0.1]:40000", door, nil, 200},
		{"10.0.0.7:40000", door, nil, 401}, // also after the others
	} {
		for _, method := range []string{"GET", "HEAD"} {
			if resp := from(h, tc.addr, tc.host, method, "/v2/app/blobs/"+layer.String()+"?ns=r.test", tc.header...); resp.StatusCode != tc.status {
				t.Errorf("%s from %q to %q with %q: %d, want %d", method, tc.addr, tc.host, tc.header, resp.StatusCode, tc.status)
			}
		}
	}
}

// Public content is read without the node's credentials, and errors are not theirs.
func TestNodeCredentialsAreNotNeeded(t *testing.T) {
	f := newFake()
	layer := f.put([]byte("layer"))
	k := &keys{known: map[string]string{"r.test/app": "Basic node"}}
	h := withCredentials(t, f, Options{Credentials: k})
	if resp := from(h, local, door, "GET", "/v2/app/blobs/"+layer.String()+"?ns=r.test"); resp.StatusCode != 200 || k.asked != 0 {
		t.Errorf("public content: %d, asked %d times", resp.StatusCode, k.asked)
	}
	for status, err := range map[int]error{404: errdefs.ErrNotFound, 503: errdefs.ErrUnavailable} {
		f.err = fmt.Errorf("no: %w", err)
		if resp := from(h, local, door, "GET", "/v2/app/blobs/"+layer.String()+"?ns=r.test"); resp.StatusCode != status || k.asked != 0 {
			t.Errorf("%v: %d, asked %d times", err, resp.StatusCode, k.asked)
		}
	}
	f.err = nil
	off := withCredentials(t, &guarded{f, "Basic node", 401}, Options{})
	if resp := from(off, local, door, "GET", "/v2/app/blobs/"+layer.String()+"?ns=r.test"); resp.StatusCode != 401 {
		t.Errorf("without the setting: %d", resp.StatusCode)
	}
	broken := withCredentials(t, &guarded{f, "Basic node", 401}, Options{Credentials: &keys{err: errors.New("helper is ill")}})
	for range 2 {
		if resp := from(broken, local, door, "GET", "/v2/app/blobs/"+layer.String()+"?ns=r.test"); resp.StatusCode != 401 {
			t.Errorf("when the credentials cannot be had: %d", resp.StatusCode)
		}
	}
}

// The witness hears only of credentials that were good for a manifest, of programs of this node.
func TestWitness(t *testing.T) {
	f := newFake()
	g := &guarded{f, "Bearer good", 401}
	m, layer := f.put([]byte(`{"schemaVersion":2}`)), f.put([]byte("layer"))
	f.tags["r.test/app:v1"] = fetcher.Descriptor{Digest: m, Size: 19, MediaType: ociManifest}
	for _, tc := range []struct {
		addr, method, path string
		header             []string
		want               bool
	}{
		{local, "HEAD", "manifests/v1", []string{"Authorization", "Bearer good"}, true},
		{local, "GET", "manifests/" + m.String(), []string{"Authorization", "Bearer good"}, true},
		{local, "GET", "manifests/" + m.String(), []string{"Authorization", "Bearer good", "Range", "bytes=0-"}, true},
		{local, "GET", "manifests/v1", []string{"Authorization", "Bearer good", "If-None-Match", `"` + m.String() + `"`}, true},
		{local, "GET", "manifests/" + m.String(), []string{"Authorization", "Bearer good", "Range", "bytes=99-"}, false},
		{local, "GET", "blobs/" + layer.String(), []string{"Authorization", "Bearer good"}, false},
		{local, "GET", "manifests/v1", []string{"Authorization", "Bearer bad"}, false},
		{local, "GET", "manifests/v2", []string{"Authorization", "Bearer good"}, false},
		{local, "GET", "manifests/v1", nil, false},
		{"10.0.0.7:1", "GET", "manifests/v1", []string{"Authorization", "Bearer good"}, false},
	} {
		var w heard
		h := withCredentials(t, g, Options{Witness: &w, Credentials: &keys{known: map[string]string{"r.test/app": "Bearer good"}}})
		resp := from(h, tc.addr, door, tc.method, "/v2/app/"+tc.path+"?ns=r.test", tc.header...)
		if (len(w) == 1) != tc.want || tc.want && w[0] != "r.test/app Bearer good" {
			t.Errorf("%s %s from %s with %q: %d, heard %q", tc.method, tc.path, tc.addr, tc.header, resp.StatusCode, w)
		}
	}
}

func TestPlaces(t *testing.T) {
	p, now := newPlaces(), time.Unix(1000, 0)
	at := place{"r.test", "a"}
	p.add(at, now)
	if !p.has(at, now.Add(placeLife-1)) || p.has(at, now.Add(placeLife)) || p.has(place{"r.test", "b"}, now) {
		t.Error("not remembered for its time and itself only")
	}
	for i := range 3 * maxPlaces {
		p.add(place{"r.test", fmt.Sprint(i)}, now)
	}
	if len(p.until) > maxPlaces {
		t.Errorf("%d places", len(p.until))
	}
}
