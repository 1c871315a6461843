package registry

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"go.uber.org/goleak"

	"github.com/darter-p2p/darter/fetcher/source/sourcetest"
	"github.com/darter-p2p/darter/p2p"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fake is a registry whose answers a test commands.
type fake struct {
	// authorize says whether a request may pass; nil = all. It answers itself where not.
	authorize func(w http.ResponseWriter, r *http.Request) bool
	// serve answers a content, nil = http.ServeContent.
	serve func(w http.ResponseWriter, r *http.Request, data []byte)

	mu       sync.Mutex
	contents map[string][]byte // by path below /v2
	failures map[string]sourcetest.Failure
	seen     []*http.Request
	done     chan struct{} // closed at the end of the test, frees handlers that hang
}

func newFake(t *testing.T) *fake {
	f := &fake{contents: map[string][]byte{}, failures: map[string]sourcetest.Failure{}, done: make(chan struct{})}
	t.Cleanup(func() { close(f.done) })
	return f
}

func (f *fake) put(path string, data []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.contents[path] = data
}

// putBlob puts a blob into repository "repo" and returns its origin at host.
func (f *fake) putBlob(host string, data []byte) p2p.Origin {
	d := digest.FromBytes(data).String()
	f.put("/repo/blobs/"+d, data)
	return Origin(host, "repo", Blobs, d)
}

func (f *fake) requests() []*http.Request {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]*http.Request(nil), f.seen...)
}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := strings.TrimPrefix(r.URL.Path, "/v2")
	f.mu.Lock()
	f.seen = append(f.seen, r.Clone(r.Context()))
	data, ok := f.contents[path]
	failure := f.failures[path]
	f.mu.Unlock()
	if f.authorize != nil && !f.authorize(w, r) {
		return
	}
	if failure.HangOpen {
		f.hang(r)
		return
	}
	for k, v := range failure.Header {
		w.Header()[k] = v
	}
	switch {
	case failure.Status != 0:
		w.WriteHeader(failure.Status)
	case !ok:
		http.NotFound(w, r)
	case f.serve != nil:
		f.serve(w, r, data)
	default:
		w.Header().Set("Docker-Content-Digest", digest.FromBytes(data).String())
		if w.Header().Get("Content-Type") == "" {
			w.Header().Set("Content-Type", "application/octet-stream")
		}
		if failure.Truncate || failure.Hang {
			w = &cutWriter{ResponseWriter: w, left: failure.After, stop: func() {
				if failure.Hang {
					f.hang(r)
				}
				panic(http.ErrAbortHandler)
			}}
		}
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(data))
	}
}

func (f *fake) hang(r *http.Request) {
	select {
	case <-r.Context().Done():
	case <-f.done:
	}
}

// cutWriter stops a body after some bytes. It hides ReaderFrom.
type cutWriter struct {
	http.ResponseWriter
	left int64
	stop func()
}

func (w *cutWriter) Write(p []byte) (int, error) {
	if int64(len(p)) <= w.left {
		w.left -= int64(len(p))
		return w.ResponseWriter.Write(p)
	}
	w.ResponseWriter.Write(p[:w.left])
	w.ResponseWriter.(http.Flusher).Flush()
	w.stop()
	return 0, io.ErrShortWrite
}

// start serves a handler on loopback and returns its host:port.
func start(t *testing.T, h http.Handler) string {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return hostOf(t, srv.URL)
}

func hostOf(t *testing.T, s string) string {
	t.Helper()
	u, err := url.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return u.Host
}

func newSource(t *testing.T, c Config, o Options) *Source {
	t.Helper()
	s, err := New(c, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// realm is a token server.
type realm struct {
	life  int // expires_in
	basic string

	mu     sync.Mutex
	asked  []*http.Request
	issued int
}

func (a *realm) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.asked = append(a.asked, r.Clone(r.Context()))
	if a.basic != "" && r.Header.Get("Authorization") != a.basic {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	a.issued++
	fmt.Fprintf(w, `{"token":"t%d","expires_in":%d}`, a.issued, a.life)
}

func (a *realm) count() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.asked)
}

// wants is an authorize that takes only the newest token of the realm at host.
func (a *realm) wants(host string) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		a.mu.Lock()
		newest := fmt.Sprintf("Bearer t%d", a.issued)
		a.mu.Unlock()
		if r.Header.Get("Authorization") == newest {
			return true
		}
		w.Header().Set("WWW-Authenticate", fmt.Sprintf(
			`Bearer realm="http://%s/token",service="test",scope="repository:repo:pull"`, host))
		http.Error(w, "who are you", http.StatusUnauthorized)
		return false
	}
}
