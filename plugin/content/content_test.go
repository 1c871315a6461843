package content

import (
	"context"
	"encoding/json"
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
	"github.com/darter-p2p/darter/fetcher/source"
)

// opener gives ten bytes, or an error.
type opener struct {
	err     error
	unknown bool
	cut     bool
	sums    []digest.Digest // what Digest says when it is asked, in turn; nil = it is not there
	asked   fetcher.URL
}

func (o *opener) OpenURL(_ context.Context, u fetcher.URL, r fetcher.Range) (*fetcher.Body, error) {
	o.asked = u
	if o.err != nil {
		return nil, o.err
	}
	text := "0123456789"[r.Offset:]
	if r.Length >= 0 {
		text = text[:min(r.Length, int64(len(text)))]
	}
	b := &fetcher.Body{ReadCloser: io.NopCloser(strings.NewReader(text)), Size: 10, Offset: r.Offset, Length: int64(len(text)), Validator: `"1"`, From: "swarm"}
	if o.sums != nil {
		b.Digest = func() digest.Digest {
			d := o.sums[0]
			o.sums = o.sums[min(1, len(o.sums)-1):]
			return d
		}
	}
	if o.unknown {
		b.Size, b.Length = -1, -1
	}
	if o.cut {
		b.ReadCloser = io.NopCloser(io.MultiReader(strings.NewReader(text[:3]), errReader{}))
	}
	return b, nil
}

type errReader struct{}

func (errReader) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

func get(t *testing.T, o *opener, params url.Values, byteRange string) (*http.Response, string, error) {
	t.Helper()
	s := httptest.NewServer(Handler{o})
	defer s.Close()
	r, err := http.NewRequest(http.MethodGet, s.URL+darterdv1.ContentPath+"?"+params.Encode(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if byteRange != "" {
		r.Header.Set("Range", byteRange)
	}
	resp, err := s.Client().Do(r)
	if err != nil {
		return nil, "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return resp, string(b), err
}

func TestAnswers(t *testing.T) {
	params := url.Values{"url": {"https://h/f"}, "header": {"A: b", "A:c"}, "tag": {"x"}}
	o := &opener{}
	resp, body, err := get(t, o, params, "")
	if err != nil || resp.StatusCode != 200 || body != "0123456789" || resp.Header.Get(darterdv1.ValidatorHeader) != `"1"` || resp.Header.Get(darterdv1.FromHeader) != "swarm" {
		t.Errorf("%d %q %v", resp.StatusCode, body, err)
	}
	if o.asked.URL != "https://h/f" || o.asked.Tag != "x" || fmt.Sprint(o.asked.Header["A"]) != "[b c]" {
		t.Errorf("asked for %+v", o.asked)
	}
	resp, body, err = get(t, o, params, "bytes=2-4")
	if err != nil || resp.StatusCode != 206 || body != "234" || resp.Header.Get("Content-Range") != "bytes 2-4/10" {
		t.Errorf("%d %q %v %v", resp.StatusCode, body, resp.Header, err)
	}
	if resp, body, err = get(t, &opener{unknown: true}, params, ""); err != nil || body != "0123456789" || resp.StatusCode != 200 {
		t.Errorf("%d %q %v", resp.StatusCode, body, err)
	}
	if _, body, err = get(t, &opener{cut: true}, params, ""); err == nil {
		t.Errorf("a body that was cut: %q", body)
	}
}

func TestRefusals(t *testing.T) {
	for code, err := range map[string]error{
		darterdv1.CodeUnauthorized: &source.Error{Status: 403}, darterdv1.CodeNotFound: &source.Error{Status: 404},
		darterdv1.CodeChanged: &source.Error{Status: 412}, darterdv1.CodeOutOfRange: &source.Error{Status: 416},
		darterdv1.CodeUnavailable: &source.Error{Err: errors.New("refused")}, darterdv1.CodeDenied: errdefs.ErrPermissionDenied,
		darterdv1.CodeFailed: &source.Error{Status: 418},
	} {
		_, body, rerr := get(t, &opener{err: fmt.Errorf("open: %w", err)}, nil, "")
		var said darterdv1.Error
		if rerr != nil || json.Unmarshal([]byte(body), &said) != nil || said.Code != code || said.Message == "" {
			t.Errorf("%s: %q", code, body)
		}
	}
	for _, params := range []url.Values{{"header": {"no colon"}}, {"header": {"A: b\r\nC: d"}}, {"digest": {"sha256:x"}}, {"header": {": x"}}} {
		if resp, body, _ := get(t, &opener{}, params, ""); resp.StatusCode != 400 {
			t.Errorf("%v: %d %s", params, resp.StatusCode, body)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("url=https%3A%2F%2Fh&header=A%3Ab", "bytes=1-2")
	f.Add("header=%00", "bytes=-5")
	f.Fuzz(func(t *testing.T, query, byteRange string) {
		r := &http.Request{URL: &url.URL{RawQuery: query}, Header: http.Header{"Range": {byteRange}}}
		u, want, partial, err := parse(r)
		if err != nil {
			return
		}
		if want.Offset < 0 || want.Length == 0 || want.Length < -1 || partial != (byteRange != "") {
			t.Fatalf("%q is read as %+v", byteRange, want)
		}
		for name, values := range u.Header {
			if strings.ContainsAny(name+strings.Join(values, ""), "\r\n\x00") {
				t.Fatalf("%q", u.Header)
			}
		}
	})
}

// The seed's digest comes before the body where it is known, behind it where the end is
// what says it, and else not at all.
func TestDigest(t *testing.T) {
	d := digest.FromString("0123456789")
	for name, tt := range map[string]struct {
		opener          opener
		header, trailer digest.Digest
	}{
		"known":               {opener{sums: []digest.Digest{d}}, d, ""},
		"known, no length":    {opener{sums: []digest.Digest{d}, unknown: true}, d, ""},
		"at the end":          {opener{sums: []digest.Digest{"", d}, unknown: true}, "", d},
		"later":               {opener{sums: []digest.Digest{"", d}}, "", ""},
		"never":               {opener{unknown: true}, "", ""},
		"not even at the end": {opener{sums: []digest.Digest{""}, unknown: true}, "", ""},
	} {
		resp, body, err := get(t, &tt.opener, url.Values{darterdv1.URLParam: {"http://h/f"}}, "")
		if err != nil || body != "0123456789" || resp.Header.Get(darterdv1.DigestHeader) != tt.header.String() || resp.Trailer.Get(darterdv1.DigestHeader) != tt.trailer.String() {
			t.Errorf("%s: %q, %v, %v, %v", name, body, err, resp.Header, resp.Trailer)
		}
	}
}
