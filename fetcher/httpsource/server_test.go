package httpsource

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/darter-p2p/darter/fetcher/registry"
	"github.com/darter-p2p/darter/fetcher/source/sourcetest"
	"github.com/darter-p2p/darter/p2p"
)

// server is an origin of files, with the ways of real ones.
type server struct {
	*httptest.Server
	mu       sync.Mutex
	files    map[string]file
	failures map[string]sourcetest.Failure
	seen     []*http.Request
}

type file struct {
	data     []byte
	etag     string
	modified time.Time
	noRange  bool // answers 200 to any Range
	chunked  bool // says no size
	// answer replaces all of that.
	answer http.HandlerFunc
}

func newServer(t *testing.T) *server {
	s := &server{files: map[string]file{}, failures: map[string]sourcetest.Failure{}}
	s.Server = httptest.NewServer(s)
	t.Cleanup(func() {
		s.CloseClientConnections()
		s.Close()
	})
	return s
}

func (s *server) put(name string, f file) p2p.Origin {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.files[name] = f
	return p2p.Origin(s.URL + name)
}

func (s *server) requests() []*http.Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]*http.Request(nil), s.seen...)
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	f, ok := s.files[r.URL.Path]
	fail := s.failures[r.URL.Path]
	s.seen = append(s.seen, r)
	s.mu.Unlock()
	switch {
	case fail.Status != 0:
		for k, v := range fail.Header {
			w.Header()[k] = v
		}
		w.WriteHeader(fail.Status)
		return
	case fail.HangOpen:
		<-r.Context().Done()
		return
	case !ok:
		http.NotFound(w, r)
		return
	case f.answer != nil:
		f.answer(w, r)
		return
	case r.Method == http.MethodHead:
		http.Error(w, "signed for GET", http.StatusForbidden)
		return
	}
	if f.etag != "" {
		w.Header().Set("ETag", f.etag)
	}
	w.Header().Set("Content-Type", "application/x-test")
	if f.noRange || f.chunked {
		if !f.chunked {
			w.Header().Set("Content-Length", fmt.Sprint(len(f.data)))
		}
		_, _ = w.Write(f.data[:len(f.data)/2])
		w.(http.Flusher).Flush()
		_, _ = w.Write(f.data[len(f.data)/2:])
		return
	}
	var content io.ReadSeeker = bytes.NewReader(f.data)
	if fail.Truncate || fail.Hang {
		content = &failing{ReadSeeker: content, r: r, f: fail}
	}
	http.ServeContent(w, r, "", f.modified, content)
}

// failing ends or stops after some bytes of the body.
type failing struct {
	io.ReadSeeker
	r *http.Request
	f sourcetest.Failure
	n int64
}

func (f *failing) Read(p []byte) (int, error) {
	if left := f.f.After - f.n; left <= 0 {
		if f.f.Hang {
			<-f.r.Context().Done()
		}
		panic(http.ErrAbortHandler)
	} else if int64(len(p)) > left {
		p = p[:left]
	}
	n, err := f.ReadSeeker.Read(p)
	f.n += int64(n)
	return n, err
}

func open(t *testing.T, o Options) *Source {
	t.Helper()
	s, err := New(registry.Default().Origin, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func TestSuite(t *testing.T) {
	for name, f := range map[string]file{
		"etag": {etag: `"v1"`}, "no validator": {}, "dated": {modified: time.Now().Add(-time.Hour)}, "weak": {etag: `W/"v1"`},
	} {
		t.Run(name, func(t *testing.T) {
			sourcetest.Run(t, func(t *testing.T) sourcetest.Origin {
				s, n := newServer(t), 0
				return sourcetest.Origin{
					Source: open(t, Options{}),
					Put: func(_ *testing.T, data []byte) p2p.Origin {
						n++
						f := f
						f.data = data
						return s.put(fmt.Sprint("/", n), f)
					},
					Missing: p2p.Origin(s.URL + "/missing"),
					Fail: func(_ *testing.T, o p2p.Origin, f sourcetest.Failure) {
						s.mu.Lock()
						defer s.mu.Unlock()
						s.failures[strings.TrimPrefix(string(o), s.URL)] = f
					},
				}
			})
		})
	}
}
