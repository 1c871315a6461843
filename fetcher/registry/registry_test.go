package registry

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/containerd/errdefs"
	"github.com/google/go-containerregistry/pkg/name"
	ggcr "github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/opencontainers/go-digest"

	"github.com/darter-p2p/darter/fetcher/source"
	"github.com/darter-p2p/darter/fetcher/source/httpread"
	"github.com/darter-p2p/darter/fetcher/source/sourcetest"
	"github.com/darter-p2p/darter/internal/config"
	"github.com/darter-p2p/darter/p2p"
)

func TestSuite(t *testing.T) {
	sourcetest.Run(t, func(t *testing.T) sourcetest.Origin { return suiteOrigin(t, nil) })
}

// An origin that answers every range with the whole content.
func TestSuiteWithoutRanges(t *testing.T) {
	sourcetest.Run(t, func(t *testing.T) sourcetest.Origin {
		o := suiteOrigin(t, func(w http.ResponseWriter, _ *http.Request, data []byte) {
			w.Header().Set("Content-Length", strconv.Itoa(len(data)))
			w.Write(data)
		})
		o.Fail = nil
		return o
	})
}

func suiteOrigin(t *testing.T, serve func(http.ResponseWriter, *http.Request, []byte)) sourcetest.Origin {
	f := newFake(t)
	f.serve = serve
	host := start(t, f)
	n := 0
	return sourcetest.Origin{
		Source: newSource(t, Default(), Options{}),
		Put: func(_ *testing.T, data []byte) p2p.Origin {
			n++ // the same data twice under two names
			path := "/repo" + strconv.Itoa(n) + "/blobs/" + digest.FromBytes(data).String()
			f.put(path, data)
			return p2p.Origin(Scheme + host + path)
		},
		Missing: Origin(host, "repo", Blobs, someDigest),
		Fail: func(_ *testing.T, o p2p.Origin, failure sourcetest.Failure) {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.failures[strings.TrimPrefix(string(o), Scheme+host)] = failure
		},
	}
}

func open(t *testing.T, s *Source, r source.Request) ([]byte, error) {
	t.Helper()
	resp, err := s.Open(t.Context(), r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	return io.ReadAll(resp.Body)
}

func whole(o p2p.Origin) source.Request { return source.Request{Origin: o, Length: -1} }

// A real implementation of the other side: an image pushed into ggcr's registry.
func TestImage(t *testing.T) {
	host := start(t, ggcr.New(ggcr.Logger(log.New(io.Discard, "", 0))))
	tag, err := name.NewTag(host + "/some/image:v1")
	if err != nil {
		t.Fatal(err)
	}
	img, err := random.Image(100_000, 3)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(tag, img, remote.WithContext(t.Context())); err != nil {
		t.Fatal(err)
	}
	s := newSource(t, Default(), Options{})
	want, _ := img.Digest()
	stat, err := s.Stat(t.Context(), whole(Origin(host, "some/image", Manifests, "v1")))
	if err != nil || stat.Digest != want.String() || stat.MediaType != "application/vnd.docker.distribution.manifest.v2+json" {
		t.Fatalf("Stat of the tag: %+v, %v, want %s", stat, err, want)
	}
	raw, _ := img.RawManifest()
	if got, err := open(t, s, whole(Origin(host, "some/image", Manifests, want.String()))); err != nil || !bytes.Equal(got, raw) {
		t.Errorf("manifest: %v, or wrong bytes", err)
	}
	layers, _ := img.Layers()
	for _, l := range layers {
		d, _ := l.Digest()
		o := Origin(host, "some/image", Blobs, d.String())
		got, err := open(t, s, whole(o))
		if err != nil || digest.FromBytes(got).String() != d.String() {
			t.Errorf("layer %s: %v, or wrong bytes", d, err)
		}
		part, err := open(t, s, source.Request{Origin: o, Offset: 1000, Length: 500})
		if err != nil || !bytes.Equal(part, got[1000:1500]) {
			t.Errorf("part of layer %s: %v, or wrong bytes", d, err)
		}
	}
}

func TestStatWithoutDigest(t *testing.T) {
	f := newFake(t)
	manifest := []byte(`{"schemaVersion":2}`)
	f.put("/repo/manifests/v1", manifest)
	f.serve = func(w http.ResponseWriter, r *http.Request, data []byte) {
		w.Header().Set("Content-Type", "application/vnd.oci.image.manifest.v1+json; charset=utf-8")
		w.Header().Set("Content-Length", strconv.Itoa(len(data)))
		w.Write(data)
	}
	s := newSource(t, Default(), Options{})
	got, err := s.Stat(t.Context(), whole(Origin(start(t, f), "repo", Manifests, "v1")))
	if err != nil || got.Digest != digest.FromBytes(manifest).String() || got.Size != int64(len(manifest)) ||
		got.MediaType != "application/vnd.oci.image.manifest.v1+json" {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestStatWhereHeadIsRefused(t *testing.T) {
	f := newFake(t)
	f.authorize = func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodHead {
			w.WriteHeader(http.StatusMethodNotAllowed)
		}
		return r.Method != http.MethodHead
	}
	host := start(t, f)
	s := newSource(t, Default(), Options{})
	for _, data := range [][]byte{nil, []byte("x"), bytes.Repeat([]byte("y"), 5000)} {
		got, err := s.Stat(t.Context(), whole(f.putBlob(host, data)))
		if err != nil || got.Size != int64(len(data)) {
			t.Errorf("%d bytes: %+v, %v", len(data), got, err)
		}
	}
}

func TestUnusableAnswers(t *testing.T) {
	const size = 1000
	for name, serve := range map[string]func(w http.ResponseWriter){
		"wrong offset":        func(w http.ResponseWriter) { answer(w, 206, "bytes 0-99/1000", 100) },
		"too little":          func(w http.ResponseWriter) { answer(w, 206, "bytes 100-149/1000", 50) },
		"no content-range":    func(w http.ResponseWriter) { answer(w, 206, "", 100) },
		"bad content-range":   func(w http.ResponseWriter) { answer(w, 206, "bytes 100-199/150", 100) },
		"length contradicts":  func(w http.ResponseWriter) { answer(w, 206, "bytes 100-199/1000", 90) },
		"multipart":           func(w http.ResponseWriter) { answer(w, 206, "", 300) },
		"no content":          func(w http.ResponseWriter) { w.WriteHeader(204) },
		"encoded":             func(w http.ResponseWriter) { w.Header().Set("Content-Encoding", "gzip"); answer(w, 200, "", size) },
		"redirect to nowhere": func(w http.ResponseWriter) { w.WriteHeader(307) },
		"redirect to a file":  func(w http.ResponseWriter) { w.Header().Set("Location", "file:///etc/passwd"); w.WriteHeader(307) },
	} {
		t.Run(name, func(t *testing.T) {
			host := start(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { serve(w) }))
			s := newSource(t, Default(), Options{})
			r := source.Request{Origin: Origin(host, "repo", Blobs, someDigest), Offset: 100, Length: 100}
			got, err := open(t, s, r)
			var e *source.Error
			if !errors.As(err, &e) || !errors.Is(err, errdefs.ErrUnavailable) {
				t.Errorf("%d bytes, %v; want a *source.Error of class ErrUnavailable", len(got), err)
			}
		})
	}
}

func answer(w http.ResponseWriter, status int, contentRange string, n int) {
	if contentRange != "" {
		w.Header().Set("Content-Range", contentRange)
	}
	w.Header().Set("Content-Length", strconv.Itoa(n))
	w.WriteHeader(status)
	w.Write(make([]byte, n))
}

func TestSkipIsBounded(t *testing.T) {
	f := newFake(t)
	f.serve = func(w http.ResponseWriter, _ *http.Request, data []byte) {
		w.Header().Set("Content-Length", strconv.Itoa(len(data)))
		w.Write(data)
	}
	o := f.putBlob(start(t, f), make([]byte, 5000))
	c := Default()
	c.Origin.MaxSkip = 1000
	s := newSource(t, c, Options{})
	if _, err := open(t, s, source.Request{Origin: o, Offset: 1000, Length: 1}); err != nil {
		t.Errorf("at the bound: %v", err)
	}
	if _, err := open(t, s, source.Request{Origin: o, Offset: 1001, Length: 1}); !errors.Is(err, errdefs.ErrUnavailable) {
		t.Errorf("beyond the bound: %v", err)
	}
}

func TestManifestIsBounded(t *testing.T) {
	for _, chunked := range []bool{false, true} {
		host := start(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if chunked {
				w.(http.Flusher).Flush()
			} else {
				w.Header().Set("Content-Length", strconv.Itoa(MaxManifest+1))
			}
			w.Write(make([]byte, MaxManifest+1))
		}))
		s := newSource(t, Default(), Options{})
		if got, err := open(t, s, whole(Origin(host, "repo", Manifests, "v1"))); !errors.Is(err, errdefs.ErrUnavailable) {
			t.Errorf("chunked %v: %d bytes, %v", chunked, len(got), err)
		}
	}
}

func TestUnknownSize(t *testing.T) {
	f := newFake(t)
	f.serve = func(w http.ResponseWriter, _ *http.Request, data []byte) {
		w.(http.Flusher).Flush() // chunked
		w.Write(data)
	}
	o := f.putBlob(start(t, f), []byte("hello world"))
	s := newSource(t, Default(), Options{})
	resp, err := s.Open(t.Context(), whole(o))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if string(got) != "hello world" || err != nil || resp.Size != -1 || resp.Length != -1 {
		t.Errorf("%q, %v, %d of %d", got, err, resp.Length, resp.Size)
	}
	if got, err := open(t, s, source.Request{Origin: o, Offset: 6, Length: 3}); string(got) != "wor" || err != nil {
		t.Errorf("part: %q, %v", got, err)
	}
}

func TestSilentOrigin(t *testing.T) {
	f := newFake(t)
	o := f.putBlob(start(t, f), make([]byte, 100_000))
	path := "/repo/blobs/" + digest.FromBytes(make([]byte, 100_000)).String()
	c := Default()
	c.Origin.IdleTimeout = config.Duration(50 * time.Millisecond)
	c.Origin.HeaderTimeout = config.Duration(50 * time.Millisecond)
	s := newSource(t, c, Options{})
	for _, failure := range []sourcetest.Failure{{Hang: true, After: 50_000}, {HangOpen: true}} {
		f.mu.Lock()
		f.failures[path] = failure
		f.mu.Unlock()
		got, err := open(t, s, whole(o))
		var e *source.Error
		if !errors.As(err, &e) || !errors.Is(err, errdefs.ErrUnavailable) || e.Status != 0 {
			t.Errorf("%+v: %d bytes, %v; want no answer", failure, len(got), err)
		}
	}
}

// While a reader thinks, the origin is not blamed; while it waits, it is.
func TestIdleTimeoutCountsWaitingOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, w := httpread.NewWatch(t.Context(), time.Hour)
		under, origin := io.Pipe()
		context.AfterFunc(ctx, func() { origin.CloseWithError(ctx.Err()) }) // as a connection does
		b := httpread.NewBody(ctx, w, time.Second, "r.test", under)
		defer func() { _ = b.Close() }()
		go func() {
			for range 3 {
				_, _ = origin.Write(make([]byte, 10))
				time.Sleep(900 * time.Millisecond)
			}
		}()
		p := make([]byte, 10)
		for i := range 3 {
			if _, err := io.ReadFull(b, p); err != nil {
				t.Fatalf("read %d: %v", i, err)
			}
			time.Sleep(10 * time.Second) // the reader thinks
		}
		started := time.Now()
		var e *source.Error
		if _, err := b.Read(p); !errors.As(err, &e) || !errors.Is(err, httpread.ErrSilent) {
			t.Errorf("%v, want silence", err)
		}
		if d := time.Since(started); d != time.Second {
			t.Errorf("blamed after %v", d)
		}
	})
}

func TestRequestHeaders(t *testing.T) {
	f := newFake(t)
	host := start(t, f)
	f.put("/repo/manifests/v1", []byte("{}"))
	s := newSource(t, Default(), Options{Instance: "prod/node-1", UserAgent: "darter/1"})
	reader := http.Header{
		"Accept": {"application/x"}, "User-Agent": {"containerd/2"}, source.HopHeader: {"prod/node-2"},
		"X-Dragonfly-Registry": {"https://elsewhere"}, "X-Forwarded-For": {"10.0.0.1"}, "Range": {"bytes=1-"},
	}
	r := whole(Origin(host, "repo", Manifests, "v1"))
	for _, r.Header = range []http.Header{nil, reader} {
		if _, err := open(t, s, r); err != nil {
			t.Fatal(err)
		}
	}
	seen := f.requests()
	if len(seen) != 2 {
		t.Fatalf("%d requests", len(seen))
	}
	h := seen[0].Header
	if h.Get("Accept") != acceptManifest || h.Get("User-Agent") != "darter/1" || h.Get(source.HopHeader) != "prod/node-1" ||
		h.Get("Accept-Encoding") != "identity" || h.Get("Range") != "" {
		t.Errorf("without a reader's: %v", h)
	}
	h = seen[1].Header
	if h.Get("Accept") != "application/x" || h.Get("User-Agent") != "containerd/2" || h.Get(source.HopHeader) != "prod/node-2, prod/node-1" {
		t.Errorf("with the reader's: %v", h)
	}
	for _, name := range []string{"X-Dragonfly-Registry", "X-Forwarded-For", "Range"} {
		if h.Get(name) != "" {
			t.Errorf("%s was passed on", name)
		}
	}
}

func TestConnectionIsReused(t *testing.T) {
	f := newFake(t)
	fresh := make(chan struct{}, 100)
	srv := httptest.NewUnstartedServer(f)
	srv.Config.ConnState = func(_ net.Conn, st http.ConnState) {
		if st == http.StateNew {
			fresh <- struct{}{}
		}
	}
	srv.Start()
	t.Cleanup(srv.Close)
	o := f.putBlob(hostOf(t, srv.URL), make([]byte, 100_000))
	s := newSource(t, Default(), Options{})
	for i := range int64(20) {
		if _, err := open(t, s, source.Request{Origin: o, Offset: i * 1000, Length: 1000}); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(fresh); n != 1 {
		t.Errorf("%d connections for 20 reads one after another", n)
	}
}

func TestCancelIsNotTheOriginsFault(t *testing.T) {
	f := newFake(t)
	o := f.putBlob(start(t, f), make([]byte, 10))
	s := newSource(t, Default(), Options{})
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("reader left"))
	_, err := s.Open(ctx, whole(o))
	var e *source.Error
	if !errors.Is(err, context.Canceled) || errors.As(err, &e) {
		t.Errorf("%v, want context.Canceled and no *source.Error", err)
	}
}
