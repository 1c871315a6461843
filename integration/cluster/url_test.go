package cluster

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"

	"github.com/darter-p2p/darter/fetcher"
	"github.com/darter-p2p/darter/fetcher/source"
	"github.com/darter-p2p/darter/internal/pki"
)

// site is a web server of one file, as object stores are: presigned URLs, no HEAD.
type site struct {
	*httptest.Server
	mu      sync.Mutex
	data    []byte
	etag    string
	control string // Cache-Control
	sent    int64  // body bytes
	keys    map[string]int
	cutAt   int64 // the connection breaks here once
}

func newSite(t *testing.T, data []byte) *site {
	s := &site{data: data, etag: `"1"`, keys: map[string]int{}}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	return s
}

func (s *site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	data, etag, control, cut := s.data, s.etag, s.control, s.cutAt
	s.keys[r.Header.Get("Authorization")]++
	s.mu.Unlock()
	if r.Method == http.MethodHead || r.URL.Query().Get("X-Amz-Signature") == "expired" {
		http.Error(w, "SignatureDoesNotMatch", http.StatusForbidden)
		return
	}
	if etag != "" {
		w.Header().Set("ETag", etag)
	}
	if control != "" {
		w.Header().Set("Cache-Control", control)
	}
	counted := &counter{ResponseWriter: w, s: s, cut: cut}
	http.ServeContent(counted, r, "", time.Time{}, bytes.NewReader(data))
}

type counter struct {
	http.ResponseWriter
	s   *site
	n   int64
	cut int64
}

func (c *counter) Write(p []byte) (int, error) {
	if c.cut > 0 && c.n >= c.cut {
		c.s.set(func(s *site) { s.cutAt = 0 })
		panic(http.ErrAbortHandler)
	}
	n, err := c.ResponseWriter.Write(p)
	c.n += int64(n)
	c.s.set(func(s *site) { s.sent += int64(n) })
	return n, err
}

func (s *site) set(f func(*site)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(s)
}

func (s *site) total() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sent
}

func readURL(t *testing.T, n *Node, u fetcher.URL, r fetcher.Range) ([]byte, *fetcher.Body, error) {
	t.Helper()
	body, err := n.Fetcher.OpenURL(patience(t), u, r)
	if err != nil {
		return nil, nil, err
	}
	defer body.Close()
	got, err := io.ReadAll(body)
	return got, body, err
}

// The origin sends a file once for a whole cluster, whatever signature each reader has.
func TestURLShared(t *testing.T) {
	c := New(t)
	data := c.Put("unused", 6<<20+5).Data
	s := newSite(t, data)
	s.cutAt = 3 << 20
	seed := c.Start(pki.Seed, "seed", Options{})
	var wg sync.WaitGroup
	for i := range 3 {
		n := c.Start(pki.Node, fmt.Sprint("n", i), Options{})
		wg.Go(func() {
			u := fetcher.URL{URL: fmt.Sprintf("%s/f?v=1&X-Amz-Signature=%d", s.URL, i)}
			got, body, err := readURL(t, n, u, fetcher.All)
			if err != nil || !bytes.Equal(got, data) || body.Validator != `"1"` || body.From == "origin" {
				t.Errorf("%s: %d bytes, %v, %+v", n.ID, len(got), err, body)
			}
			if got, _, err := readURL(t, n, u, fetcher.Range{Offset: 1 << 20, Length: 10}); err != nil || !bytes.Equal(got, data[1<<20:1<<20+10]) {
				t.Errorf("%s: a range: %d bytes, %v", n.ID, len(got), err)
			}
		})
	}
	wg.Wait()
	if sent := s.total(); float64(sent) > 1.2*float64(len(data)) {
		t.Errorf("the origin sent %d bytes for a file of %d", sent, len(data))
	}
	// The sha256 that the seed computed is known to a node that comes later, before the bytes.
	for late := time.Now().Add(unbearable); seed.Tasks()[0].Sum == ""; time.Sleep(time.Millisecond) {
		if time.Now().After(late) {
			t.Fatalf("%+v", seed.Tasks())
		}
	}
	later := c.Start(pki.Node, "later", Options{})
	u := fetcher.URL{URL: s.URL + "/f?v=1&X-Amz-Signature=later"}
	if got, body, err := readURL(t, later, u, fetcher.All); err != nil || !bytes.Equal(got, data) || body.Digest() != digest.FromBytes(data) {
		t.Errorf("%d bytes, %v, %+v", len(got), err, body)
	}
	if body, err := later.Fetcher.OpenURL(patience(t), u, fetcher.All); err != nil || body.From != "store" || body.Digest() != digest.FromBytes(data) || body.Close() != nil {
		t.Errorf("%v, %+v", err, body)
	}
	// Who has no good signature gets what the origin says, however near the bytes are.
	n := c.Start(pki.Node, "late", Options{})
	_, _, err := readURL(t, n, fetcher.URL{URL: s.URL + "/f?v=1&X-Amz-Signature=expired"}, fetcher.All)
	var said *source.Error
	if !errors.As(err, &said) || said.Status != http.StatusForbidden {
		t.Errorf("with an expired signature: %v", err)
	}
}

// A file that changes is another content from then on; what was read stays what it was.
func TestURLGenerations(t *testing.T) {
	c := New(t)
	old, next := c.Put("a", 3<<20).Data, c.Put("b", 3<<20+1).Data
	s := newSite(t, old)
	c.Start(pki.Seed, "seed", Options{})
	a, b := c.Start(pki.Node, "a", Options{}), c.Start(pki.Node, "b", Options{})
	u := fetcher.URL{URL: s.URL + "/f"}
	if got, _, err := readURL(t, a, u, fetcher.All); err != nil || !bytes.Equal(got, old) {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
	s.set(func(s *site) { s.data, s.etag = next, `"2"` })
	for _, n := range []*Node{a, b} {
		if got, body, err := readURL(t, n, u, fetcher.All); err != nil || !bytes.Equal(got, next) || body.Validator != `"2"` {
			t.Errorf("%s: %d bytes, %v", n.ID, len(got), err)
		}
		if got, _, err := readURL(t, n, fetcher.URL{URL: u.URL, Validator: `"1"`}, fetcher.Range{Offset: 10, Length: -1}); !errdefs.IsFailedPrecondition(err) {
			t.Errorf("%s: the rest of the old one: %d bytes, %v", n.ID, len(got), err)
		}
	}
}

// What changes while a seed reads it ends the reading with an error, or comes whole.
func TestURLChangesMidway(t *testing.T) {
	c := New(t)
	old, next := c.Put("a", 4<<20).Data, bytes.Repeat([]byte("x"), 4<<20)
	s := newSite(t, old)
	s.cutAt = 1 << 20 // the second read finds the new one
	c.Start(pki.Seed, "seed", Options{})
	n := c.Start(pki.Node, "n", Options{Fetch: func(f *fetcher.Config) {}})
	body, err := n.Fetcher.OpenURL(patience(t), fetcher.URL{URL: s.URL + "/f"}, fetcher.All)
	s.set(func(s *site) { s.data, s.etag = next, `"2"` })
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	got, err := io.ReadAll(body)
	if err == nil && !bytes.Equal(got, old) && !bytes.Equal(got, next) || !bytes.HasPrefix(old, got) && !bytes.HasPrefix(next, got) {
		t.Errorf("%d bytes of two generations, %v", len(got), err)
	}
	t.Logf("%d bytes, %v", len(got), err)
}

// What cannot be shared safely is read for its reader alone.
func TestURLDirect(t *testing.T) {
	c := New(t)
	data := c.Put("a", 2<<20).Data
	c.Start(pki.Seed, "seed", Options{})
	n := c.Start(pki.Node, "n", Options{})
	for name, tt := range map[string]struct {
		site   func(*site)
		header http.Header
	}{
		"a token":                {func(*site) {}, http.Header{"Authorization": {"Bearer x"}}},
		"a cookie":               {func(*site) {}, http.Header{"Cookie": {"a=b"}}},
		"no validator, private":  {func(s *site) { s.etag, s.control = "", "max-age=0, Private" }, nil},
		"weak, not to be stored": {func(s *site) { s.etag, s.control = `W/"1"`, "no-store" }, nil},
	} {
		s := newSite(t, data)
		tt.site(s)
		got, body, err := readURL(t, n, fetcher.URL{URL: s.URL + "/f", Header: tt.header}, fetcher.All)
		if err != nil || !bytes.Equal(got, data) || body.From != "origin" {
			t.Errorf("%s: %d bytes, %v, %+v", name, len(got), err, body)
		}
		if tt.header.Get("Authorization") != "" && s.keys["Bearer x"] == 0 {
			t.Errorf("%s: not told to the origin", name)
		}
	}
	if held := n.Store.List(); len(held) != 0 {
		t.Errorf("%+v is kept", held)
	}
}

// A URL with a digest is the task of the digest: nodes that have it from elsewhere help.
func TestURLWithDigest(t *testing.T) {
	c := New(t)
	v := c.Put("app", 3<<20)
	s := newSite(t, v.Data)
	c.Start(pki.Seed, "seed", Options{})
	a, b := c.Start(pki.Node, "a", Options{}), c.Start(pki.Node, "b", Options{})
	if err := read(patience(t), a, v, fetcher.All); err != nil {
		t.Fatal(err)
	}
	if got, body, err := readURL(t, b, fetcher.URL{URL: s.URL + "/f", Digest: v.Digest}, fetcher.All); err != nil || !bytes.Equal(got, v.Data) || body.From == "origin" {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if s.total() != 0 {
		t.Errorf("the URL was read: %d bytes", s.total())
	}
	wrong := digest.FromString("another")
	if got, _, err := readURL(t, b, fetcher.URL{URL: s.URL + "/f", Digest: wrong}, fetcher.All); err == nil && digest.FromBytes(got) == wrong {
		t.Error("bytes with a digest that they do not have")
	}
}
