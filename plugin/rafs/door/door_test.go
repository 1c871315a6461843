package door

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"

	darterdv1 "github.com/darter-p2p/darter/api/darterd/v1"
	"github.com/darter-p2p/darter/fetcher"
)

var content = bytes.Repeat([]byte("0123456789"), 1000)

// library is a fetcher of one blob, which may be private.
type library struct {
	secret string // "" = public
	cut    bool
	err    error
	asked  []fetcher.Content

	accused    []string
	unverified string // who sends the bytes
}

func (l *library) Open(_ context.Context, c fetcher.Content, r fetcher.Range) (*fetcher.Body, error) {
	c.Header = c.Header.Clone()
	l.asked = append(l.asked, c)
	switch {
	case l.err != nil:
		return nil, l.err
	case c.Header.Get("Authorization") != l.secret && l.secret != "":
		return nil, fmt.Errorf("no: %w", errdefs.ErrUnauthenticated)
	case r.Offset >= int64(len(content)):
		return nil, fmt.Errorf("no: %w", errdefs.ErrOutOfRange)
	}
	part := content[r.Offset:min(r.Offset+r.Length, int64(len(content)))]
	var body io.Reader = bytes.NewReader(part)
	if l.cut {
		body = io.MultiReader(bytes.NewReader(part[:1]), failing{})
	}
	sent := &fetcher.Body{ReadCloser: io.NopCloser(body), Size: int64(len(content)), Offset: r.Offset, Length: int64(len(part)), From: "store"}
	if c.Verifies {
		sent.Unverified = l.unverified
	}
	return sent, nil
}

func (l *library) Accuse(d digest.Digest, host string) error {
	l.accused = append(l.accused, d.String()+" "+host)
	return l.err
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errors.New("broken") }

// password is the node's only credential.
type password string

func (p password) Authorization(context.Context, string, string) (string, error) {
	return string(p), nil
}

func ask(change func(q url.Values)) string {
	q := url.Values{
		darterdv1.RegistryParam: {"docker.io"}, darterdv1.RepositoryParam: {"library/x"},
		darterdv1.DigestParam: {digest.FromBytes(content).String()}, darterdv1.NeedParam: {darterdv1.NeedUrgent},
	}
	if change != nil {
		change(q)
	}
	return darterdv1.BlobPath + "?" + q.Encode()
}

func get(h http.Handler, target, ranges string) *http.Response {
	r := httptest.NewRequest(http.MethodGet, target, nil)
	r.Header.Set("Range", ranges)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}

func TestParts(t *testing.T) {
	for need, check := range map[string]func(fetcher.Content) bool{
		darterdv1.NeedUrgent:     func(c fetcher.Content) bool { return c.Urgent && !c.Background },
		darterdv1.NeedWindow:     func(c fetcher.Content) bool { return !c.Urgent && !c.Background },
		darterdv1.NeedBackground: func(c fetcher.Content) bool { return !c.Urgent && c.Background },
	} {
		l := &library{}
		resp := get(New(l, nil), ask(func(q url.Values) { q.Set(darterdv1.NeedParam, need) }), "bytes=10-24")
		body, err := io.ReadAll(resp.Body)
		if resp.StatusCode != http.StatusPartialContent || string(body) != "012345678901234" || err != nil ||
			resp.Header.Get("Content-Range") != "bytes 10-24/10000" || !check(l.asked[0]) || l.asked[0].Direct {
			t.Errorf("%s: %s, %q, %+v, %v", need, resp.Status, body, l.asked, err)
		}
	}
	l := &library{}
	get(New(l, nil), ask(func(q url.Values) { q.Set(darterdv1.OriginParam, "1") }), "bytes=0-0")
	if !l.asked[0].Direct {
		t.Error("the origin was wanted")
	}
}

// A private repository is found out once, and read with the node's credential then.
func TestPrivate(t *testing.T) {
	l := &library{secret: "Basic x"}
	h := New(l, password("Basic x"))
	for range 2 {
		if resp := get(h, ask(nil), "bytes=0-9"); resp.StatusCode != http.StatusPartialContent {
			t.Error(resp.Status)
		}
	}
	if len(l.asked) != 3 {
		t.Errorf("asked %d times, want 3: without, with, with", len(l.asked))
	}
	for _, h := range []*Handler{New(l, password("Basic y")), New(l, password("")), New(l, nil)} {
		if resp := get(h, ask(nil), "bytes=0-9"); resp.StatusCode != http.StatusUnauthorized {
			t.Error(resp.Status)
		}
	}
}

func TestRefusals(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(url.Values)
		ranges string
		err    error
		status int
	}{
		"no range":         {nil, "", nil, 400},
		"an open range":    {nil, "bytes=0-", nil, 400},
		"backwards":        {nil, "bytes=5-4", nil, 400},
		"a negative range": {nil, "bytes=-5-4", nil, 400},
		"no registry":      {func(q url.Values) { q.Del(darterdv1.RegistryParam) }, "bytes=0-0", nil, 400},
		"no digest":        {func(q url.Values) { q.Set(darterdv1.DigestParam, "x") }, "bytes=0-0", nil, 400},
		"another need":     {func(q url.Values) { q.Set(darterdv1.NeedParam, "now") }, "bytes=0-0", nil, 400},
		"past the end":     {nil, "bytes=10000-10001", nil, 416},
		"over the end":     {nil, "bytes=9999-10000", nil, 416},
		"not there":        {nil, "bytes=0-0", errdefs.ErrNotFound, 404},
		"down":             {nil, "bytes=0-0", errdefs.ErrUnavailable, 503},
		"anything":         {nil, "bytes=0-0", errors.New("x"), 502},
	} {
		t.Run(name, func(t *testing.T) {
			resp := get(New(&library{err: tc.err}, nil), ask(tc.change), tc.ranges)
			body, _ := io.ReadAll(resp.Body) // of a recorder
			if resp.StatusCode != tc.status || !strings.Contains(string(body), `"message"`) {
				t.Errorf("%s %s", resp.Status, body)
			}
		})
	}
}

// A body that breaks is cut: the reader must not take it for whole.
func TestBrokenBody(t *testing.T) {
	s := httptest.NewServer(New(&library{cut: true}, nil))
	defer s.Close()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+ask(nil), nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Range", "bytes=0-99")
	resp, err := s.Client().Do(r)
	if err == nil {
		_, err = io.ReadAll(resp.Body)
		resp.Body.Close()
	}
	if err == nil {
		t.Error("the reader took a part for the whole")
	}
}
