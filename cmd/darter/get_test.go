package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"

	"github.com/darter-p2p/darter/fetcher"
	"github.com/darter-p2p/darter/fetcher/httpsource"
	"github.com/darter-p2p/darter/fetcher/registry"
	"github.com/darter-p2p/darter/p2p"
	"github.com/darter-p2p/darter/p2p/node"
	"github.com/darter-p2p/darter/plugin/content"
)

// alone is the part in the piece network of a host that has no scheduler.
type alone struct{}

func (alone) Open(context.Context, node.Want) (*node.Reader, error) {
	return nil, errdefs.ErrUnavailable
}
func (alone) Task(p2p.TaskID) (node.Snapshot, bool) { return node.Snapshot{}, false }
func (alone) CountOrigin(p2p.TaskID, int64)         {}

// site is an origin whose next answers a test scripts; the last one stays.
type site struct {
	*httptest.Server
	mu      sync.Mutex
	answers []http.HandlerFunc
	seen    []*http.Request
}

func (s *site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	answer := s.answers[0]
	if r.Header.Get("Range") != "bytes=0-0" && len(s.answers) > 1 { // not the question for the size
		s.answers = s.answers[1:]
	}
	s.seen = append(s.seen, r)
	s.mu.Unlock()
	answer(w, r)
}

func (s *site) requests() []*http.Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]*http.Request(nil), s.seen...)
}

// newSite starts an origin and a darterd without a network that reads it.
func newSite(t *testing.T, answers ...http.HandlerFunc) (s *site, socket string) {
	t.Helper()
	s = &site{answers: answers}
	s.Server = httptest.NewServer(s)
	t.Cleanup(func() { s.CloseClientConnections(); s.Close() })
	src, err := httpsource.New(registry.Default().Origin, httpsource.Options{})
	if err != nil {
		t.Fatal(err)
	}
	f, err := fetcher.New(fetcher.Default(), alone{}, fetcher.Router{HTTP: src}, fetcher.Options{})
	if err != nil {
		t.Fatal(err)
	}
	socket = darterd(t, content.Handler{Opener: f}.ServeHTTP)
	t.Cleanup(func() { f.Close(); _ = src.Close() })
	return s, socket
}

func pattern(n int) []byte { return bytes.Repeat([]byte("0123456789abcdef"), n/16+1)[:n] }

// serves answers as good servers do.
func serves(b []byte, etag string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodHead {
			http.Error(w, "", http.StatusForbidden)
			return
		}
		w.Header().Set("ETag", etag)
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(b))
	}
}

// breaks sends the answer of h up to n bytes of the body. The question for the size is
// answered whole.
func breaks(h http.HandlerFunc, n int) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) { h(&breaking{ResponseWriter: w, left: n}, r) }
}

type breaking struct {
	http.ResponseWriter
	left int
}

func (b *breaking) Write(p []byte) (int, error) {
	if len(p) > b.left {
		_, _ = b.ResponseWriter.Write(p[:b.left])
		b.ResponseWriter.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}
	b.left -= len(p)
	return b.ResponseWriter.Write(p)
}

func chunked(b []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write(b[:len(b)/2])
		w.(http.Flusher).Flush()
		_, _ = w.Write(b[len(b)/2:])
	}
}

func says(code int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
}

// inDirectory lists the files of a directory.
func inDirectory(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return strings.Join(names, " ")
}

func TestGet(t *testing.T) {
	a, b := pattern(1<<20+7), bytes.Repeat([]byte("x"), 1<<20)
	sum := "--digest=" + digest.FromBytes(a).String()
	wrongRange := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Range", "bytes 5-9/100")
		w.WriteHeader(http.StatusPartialContent)
		_, _ = w.Write(a[:5])
	}
	moved := func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/moved" {
			http.Redirect(w, r, "/moved", http.StatusFound)
			return
		}
		serves(a, `"1"`)(w, r)
	}
	needsToken := func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer t" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		serves(a, `"1"`)(w, r)
	}
	for name, tt := range map[string]struct {
		answers []http.HandlerFunc
		args    []string
		code    int
		want    []byte
	}{
		"whole":             {[]http.HandlerFunc{serves(a, `"1"`)}, nil, 0, a},
		"empty":             {[]http.HandlerFunc{serves(nil, `"1"`)}, nil, 0, []byte{}},
		"digest":            {[]http.HandlerFunc{serves(a, `"1"`)}, []string{sum}, 0, a},
		"wrong digest":      {[]http.HandlerFunc{serves(b, `"1"`)}, []string{sum}, exitDigest, nil},
		"redirect":          {[]http.HandlerFunc{moved}, nil, 0, a},
		"unknown size":      {[]http.HandlerFunc{chunked(a)}, []string{sum}, 0, a},
		"token":             {[]http.HandlerFunc{needsToken}, []string{"-H", "Authorization: Bearer t"}, 0, a},
		"no token":          {[]http.HandlerFunc{needsToken}, nil, exitUnauthorized, nil},
		"forbidden":         {[]http.HandlerFunc{says(403)}, nil, exitUnauthorized, nil},
		"missing":           {[]http.HandlerFunc{says(404)}, nil, 4, nil},
		"broken origin":     {[]http.HandlerFunc{says(503)}, nil, exitOrigin, nil},
		"wrong range":       {[]http.HandlerFunc{wrongRange}, nil, exitOrigin, nil},
		"truncated once":    {[]http.HandlerFunc{breaks(serves(a, `"1"`), 1<<19), serves(a, `"1"`)}, nil, 0, a},
		"truncated always":  {[]http.HandlerFunc{breaks(serves(a, `"1"`), 1)}, nil, exitOrigin, nil},
		"no validator":      {[]http.HandlerFunc{breaks(chunked(a), 1<<19), chunked(a)}, nil, 0, a},
		"changes midway":    {[]http.HandlerFunc{breaks(serves(a, `"1"`), 1<<19), serves(b, `"2"`)}, nil, 0, b},
		"no range, changes": {[]http.HandlerFunc{breaks(serves(a, `"1"`), 1<<19), chunked(b)}, nil, 0, b},
	} {
		t.Run(name, func(t *testing.T) {
			s, socket := newSite(t, tt.answers...)
			dir := t.TempDir()
			out := filepath.Join(dir, "f")
			if err := os.WriteFile(out, []byte("before"), 0o600); err != nil {
				t.Fatal(err)
			}
			_, code, err := runProgram(append([]string{"get", s.URL + "/f", "--output", out, "--socket", socket}, tt.args...)...)
			if code != tt.code {
				t.Errorf("exit code %d, want %d: %v", code, tt.code, err)
			}
			want := tt.want
			if want == nil {
				want = []byte("before") // as it was
			}
			if got, rerr := os.ReadFile(out); rerr != nil || !bytes.Equal(got, want) {
				t.Errorf("%d bytes, want %d; %v", len(got), len(want), err)
			}
			if left := inDirectory(t, dir); left != "f" {
				t.Errorf("left behind: %s", left)
			}
		})
	}
}

func TestGetResume(t *testing.T) {
	a, b := pattern(1<<20+7), bytes.Repeat([]byte("x"), 1<<20)
	for name, tt := range map[string]struct {
		then http.HandlerFunc
		url  string
		want []byte
		at   string // the Range of the read that goes on
	}{
		"same":         {serves(a, `"1"`), "/f?X-Amz-Signature=2", a, "bytes=524288-"},
		"changed":      {serves(b, `"2"`), "/f", b, ""},
		"another file": {serves(b, `"1"`), "/g", b, ""},
	} {
		t.Run(name, func(t *testing.T) {
			first, socket := newSite(t, breaks(serves(a, `"1"`), 1<<19), says(503))
			out := filepath.Join(t.TempDir(), "f")
			if _, code, err := runProgram("get", first.URL+"/f?X-Amz-Signature=1", "--output", out, "--socket", socket, "--resume"); code != exitOrigin {
				t.Fatalf("exit code %d, %v", code, err)
			}
			if got := inDirectory(t, filepath.Dir(out)); got != "f.part f.part.json" {
				t.Fatalf("kept: %s", got)
			}
			first.mu.Lock()
			first.answers, first.seen = []http.HandlerFunc{tt.then}, nil
			first.mu.Unlock()
			_, code, err := runProgram("get", first.URL+tt.url, "--output", out, "--socket", socket, "--resume", "--digest", "")
			got, rerr := os.ReadFile(out)
			if code != 0 || rerr != nil || !bytes.Equal(got, tt.want) {
				t.Errorf("exit code %d, %d bytes, %v, %v", code, len(got), err, rerr)
			}
			if left := inDirectory(t, filepath.Dir(out)); left != "f" {
				t.Errorf("left behind: %s", left)
			}
			seen := first.requests()
			if last := seen[len(seen)-1].Header.Get("Range"); last != tt.at {
				t.Errorf("went on at %q, want %q", last, tt.at)
			}
		})
	}
}

// saying gives a content and another host's word on its digest.
type saying struct {
	text string
	sums []digest.Digest // each time it is asked; the last one counts on
}

func (s *saying) OpenURL(context.Context, fetcher.URL, fetcher.Range) (*fetcher.Body, error) {
	return &fetcher.Body{ReadCloser: io.NopCloser(strings.NewReader(s.text)), Size: -1, Length: -1, Digest: func() digest.Digest {
		d := s.sums[0]
		s.sums = s.sums[min(1, len(s.sums)-1):]
		return d
	}}, nil
}

// The digest is printed, and must be the one that the seed computed.
func TestGetDigest(t *testing.T) {
	right, wrong := digest.FromString("content"), digest.FromString("other")
	for name, tt := range map[string]struct {
		sums []digest.Digest
		args []string
		code int
	}{
		"known":             {[]digest.Digest{right}, nil, 0},
		"at the end":        {[]digest.Digest{"", right}, []string{"--digest", right.String()}, 0},
		"not known":         {[]digest.Digest{""}, nil, 0},
		"wrong":             {[]digest.Digest{wrong}, nil, exitDigest},
		"wrong at the end":  {[]digest.Digest{"", wrong}, nil, exitDigest},
		"another is wanted": {[]digest.Digest{right}, []string{"--digest", wrong.String()}, exitDigest},
		"told a wrong one":  {[]digest.Digest{wrong}, []string{"--digest", right.String()}, exitDigest},
	} {
		socket := darterd(t, content.Handler{Opener: &saying{"content", tt.sums}}.ServeHTTP)
		out := filepath.Join(t.TempDir(), "f")
		printed, code, err := runProgram(append([]string{"get", "http://h/f", "-o", out, "--socket", socket}, tt.args...)...)
		want := ""
		if tt.code == 0 {
			want = right.String() + "  " + out + "\n"
		}
		if code != tt.code || printed != want {
			t.Errorf("%s: exit code %d, %v, printed %q", name, code, err, printed)
		}
	}
}

func TestGetWrongUse(t *testing.T) {
	out := filepath.Join(t.TempDir(), "f")
	for _, args := range [][]string{
		{"get"}, {"get", "http://h/f"}, {"get", "ftp://h/f", "-o", out}, {"get", "http://h/f", "-o", out, "--digest", "x"},
		{"get", "http://h/f", "-o", out, "--header", "x"}, {"get", "http://h/f", "-o", filepath.Dir(out)},
	} {
		if _, code, err := runProgram(args...); code != 2 {
			t.Errorf("%v: exit code %d, %v", args, code, err)
		}
	}
	if _, code, err := runProgram("get", "http://h/f", "-o", out, "--socket", filepath.Join(filepath.Dir(out), "none")); code != 3 {
		t.Errorf("without darterd: exit code %d, %v", code, err)
	}
}

func TestGetDiskFull(t *testing.T) {
	if _, err := os.Stat("/dev/full"); err != nil {
		t.Skip("no /dev/full here")
	}
	full, err := os.OpenFile("/dev/full", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	p := &part{file: full, hash: digest.SHA256.Hash(), whole: -1}
	if err := p.write([]byte("x")); exitCode(err) != exitDiskFull {
		t.Errorf("exit code %d, %v", exitCode(err), err)
	}
	if got := exitCode(diskError(errors.New("other"))); got != 1 {
		t.Errorf("another error: %d", got)
	}
}

func TestProgressLine(t *testing.T) {
	p := &progress{from: "swarm", whole: 100 << 20, now: 50 << 20, started: now.Add(-time.Second)}
	if got := p.line(now); !strings.Contains(got, "50 %") || !strings.Contains(got, strings.Repeat("#", 15)+" ") || !strings.Contains(got, "from swarm") {
		t.Errorf("%q", got)
	}
	p.whole = -1
	if got := p.line(now); strings.Contains(got, "%") {
		t.Errorf("%q", got)
	}
}

func FuzzPartNote(f *testing.F) {
	f.Add([]byte(`{"identity":"http://h/f\n\n\n","validator":"\"1\"","size":5}`), "bytes 1-2/3")
	f.Fuzz(func(t *testing.T, b []byte, contentRange string) {
		if n, err := parseNote(b); err == nil && (n.Identity == "" || n.Size < -1) {
			t.Fatalf("%+v", n)
		}
		first, whole, err := parseContentRange(contentRange)
		if err == nil && (first < 0 || whole >= 0 && whole <= first) {
			t.Fatalf("%q: %d of %d", contentRange, first, whole)
		}
		if strings.ContainsAny(withoutQuery(contentRange), "?#") {
			t.Fatal(fmt.Sprint(contentRange))
		}
	})
}
