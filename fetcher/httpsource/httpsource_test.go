package httpsource

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"go.uber.org/goleak"

	"github.com/darter-p2p/darter/fetcher/source"
	"github.com/darter-p2p/darter/fetcher/upstream"
	"github.com/darter-p2p/darter/p2p"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func data(n int) []byte { return bytes.Repeat([]byte("0123456789abcdef"), n/16+1)[:n] }

func generation(t *testing.T, o p2p.Origin, validator string) p2p.Origin {
	t.Helper()
	u, err := url.Parse(string(o))
	if err != nil {
		t.Fatal(err)
	}
	return Origin(u, validator)
}

// read reads a range, and returns the error of Open or of the body.
func read(t *testing.T, s *Source, r source.Request) ([]byte, *source.Response, error) {
	t.Helper()
	resp, err := s.Open(t.Context(), r)
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return b, resp, err
}

func TestValidators(t *testing.T) {
	s, src := newServer(t), open(t, Options{})
	old := time.Now().Add(-time.Hour).Truncate(time.Second)
	for name, tt := range map[string]struct {
		f    file
		want string
	}{
		"etag":      {file{etag: `"v1"`, modified: old}, `"v1"`},
		"weak":      {file{etag: `W/"v1"`}, ""},
		"weak date": {file{etag: `W/"v1"`, modified: old}, old.UTC().Format(http.TimeFormat) + " 100"},
		"fresh":     {file{modified: time.Now()}, ""},
		"none":      {file{}, ""},
		"unquoted":  {file{etag: `v1`, noRange: true}, ""},
	} {
		tt.f.data = data(100)
		at, err := src.Stat(t.Context(), source.Request{Origin: s.put("/"+strings.ReplaceAll(name, " ", "-"), tt.f)})
		if err != nil {
			t.Fatal(err)
		}
		if at.Validator != tt.want || at.Size != 100 || at.Ranges == tt.f.noRange || at.MediaType != "application/x-test" {
			t.Errorf("%s: %+v, want validator %q", name, at, tt.want)
		}
		if tt.want != "" && !isValidator(tt.want) {
			t.Errorf("%q is not known again", tt.want)
		}
	}
	for _, r := range s.requests() {
		if r.Method != http.MethodGet || r.Header.Get("Accept-Encoding") != "identity" || r.Header.Get("Range") != "bytes=0-0" {
			t.Errorf("asked by %s, %v", r.Method, r.Header)
		}
	}
}

// Bytes of two generations never come as one content.
func TestGenerations(t *testing.T) {
	src := open(t, Options{})
	old, later := time.Now().Add(-time.Hour), time.Now().Add(-30*time.Minute)
	ignores := func(etag string, n int) http.HandlerFunc { // conditions and If-Range are nothing to it
		return func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("ETag", etag)
			r.Header.Del("If-Match")
			r.Header.Del("If-Range")
			http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(data(n)))
		}
	}
	for name, tt := range map[string]struct{ before, after file }{
		"etag":              {file{data: data(100), etag: `"1"`}, file{data: data(100), etag: `"2"`}},
		"date":              {file{data: data(100), modified: old}, file{data: data(100), modified: later}},
		"size":              {file{data: data(100), modified: old}, file{data: data(101), modified: old}},
		"no etag any more":  {file{data: data(100), etag: `"1"`}, file{data: data(100)}},
		"no ranges":         {file{data: data(100), etag: `"1"`, noRange: true}, file{data: data(100), etag: `"2"`, noRange: true}},
		"ignores If-Match":  {file{answer: ignores(`"1"`, 100)}, file{answer: ignores(`"2"`, 100)}},
		"an ETag gets weak": {file{data: data(100), etag: `"1"`}, file{data: data(100), etag: `W/"1"`}},
	} {
		s := newServer(t)
		o := s.put("/f", tt.before)
		at, err := src.Stat(t.Context(), source.Request{Origin: o})
		if err != nil || at.Validator == "" {
			t.Fatalf("%s: %+v, %v", name, at, err)
		}
		g := generation(t, o, at.Validator)
		for _, off := range []int64{0, 10} {
			if got, _, err := read(t, src, source.Request{Origin: g, Offset: off, Length: -1}); err != nil || !bytes.Equal(got, data(100)[off:]) {
				t.Errorf("%s: from %d: %d bytes, %v", name, off, len(got), err)
			}
		}
		s.put("/f", tt.after)
		for _, off := range []int64{0, 10} {
			if got, _, err := read(t, src, source.Request{Origin: g, Offset: off, Length: -1}); !errdefs.IsFailedPrecondition(err) {
				t.Errorf("%s: from %d after the change: %d bytes, %v", name, off, len(got), err)
			}
		}
	}
}

func TestOddOrigins(t *testing.T) {
	say := func(status int, header map[string]string, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			for k, v := range header {
				w.Header().Set(k, v)
			}
			w.WriteHeader(status)
			_, _ = io.WriteString(w, body)
		}
	}
	src := open(t, Options{})
	for name, tt := range map[string]struct {
		f    file
		r    source.Request
		want string // bytes; "" = an error
		size int64
	}{
		"no ranges":        {file{data: data(100), noRange: true}, source.Request{Offset: 90, Length: 5}, string(data(100)[90:95]), 100},
		"unknown size":     {file{data: data(100), chunked: true}, source.Request{Length: -1}, string(data(100)), -1},
		"part of unknown":  {file{data: data(100), chunked: true}, source.Request{Offset: 10, Length: 5}, string(data(100)[10:15]), -1},
		"another range":    {file{answer: say(206, map[string]string{"Content-Range": "bytes 0-4/100"}, "01234")}, source.Request{Offset: 10, Length: 5}, "", 0},
		"no Content-Range": {file{answer: say(206, nil, "01234")}, source.Request{Offset: 10, Length: 5}, "", 0},
		"206 unasked":      {file{answer: say(206, map[string]string{"Content-Range": "bytes 0-4/5"}, "01234")}, source.Request{Length: -1}, "", 0},
		"nonsense":         {file{answer: say(206, map[string]string{"Content-Range": "bytes 10-4/x"}, "01234")}, source.Request{Offset: 10, Length: 5}, "", 0},
		"gzip":             {file{answer: say(200, map[string]string{"Content-Encoding": "gzip"}, "\x1f\x8b")}, source.Request{Length: -1}, "", 0},
		"204":              {file{answer: say(204, nil, "")}, source.Request{Length: -1}, "", 0},
		"endless redirect": {file{answer: say(302, map[string]string{"Location": "/f"}, "")}, source.Request{Length: -1}, "", 0},
		"to a file":        {file{answer: say(302, map[string]string{"Location": "file:///etc/passwd"}, "")}, source.Request{Length: -1}, "", 0},
	} {
		s := newServer(t)
		tt.r.Origin = s.put("/f", tt.f)
		got, resp, err := read(t, src, tt.r)
		switch {
		case tt.want == "" && err == nil:
			t.Errorf("%s: %q", name, got)
		case tt.want != "" && (err != nil || string(got) != tt.want || resp.Size != tt.size):
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

// A redirect's target gets no credential of the reader, whatever header it is in.
func TestRedirect(t *testing.T) {
	home, away := newServer(t), newServer(t)
	away.put("/f", file{data: data(100), etag: `"1"`})
	home.put("/f", file{answer: func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/g", http.StatusFound) }})
	o := home.put("/f", file{answer: func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, away.URL+"/f?X-Amz-Signature=s", http.StatusTemporaryRedirect)
	}})
	got, resp, err := read(t, open(t, Options{}), source.Request{Origin: generation(t, o, `"1"`), Offset: 1, Length: 5, Header: http.Header{
		"Authorization": {"Bearer x"}, "Cookie": {"a=b"}, "X-Api-Key": {"k"}, "Accept": {"a/b"}, "Range": {"bytes=7-8"},
	}})
	if err != nil || string(got) != "12345" || resp.Validator != `"1"` {
		t.Fatalf("%q, %v", got, err)
	}
	first, then := home.requests()[0].Header, away.requests()[0].Header
	if first.Get("X-Api-Key") == "" || first.Get("Authorization") == "" || first.Get("Range") != "bytes=1-5" {
		t.Errorf("the first host got %v", first)
	}
	for _, name := range []string{"Authorization", "Cookie", "X-Api-Key"} {
		if then.Get(name) != "" {
			t.Errorf("the other host got %s", name)
		}
	}
	if then.Get("Range") != "bytes=1-5" || then.Get("If-Match") != `"1"` || then.Get("If-Range") != `"1"` || then.Get("Accept") != "a/b" {
		t.Errorf("the other host got %v", then)
	}
}

// What a name or a redirect leads to is checked where the connection goes.
func TestPolicy(t *testing.T) {
	home := newServer(t)
	o := home.put("/f", file{data: data(10)})
	byName := p2p.Origin(strings.Replace(string(o), "127.0.0.1", "localhost", 1))
	jump := home.put("/jump", file{answer: func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, string(byName), http.StatusFound) }})
	for _, tt := range []struct {
		allow []string
		o     p2p.Origin
		want  bool
	}{
		{nil, o, false}, {nil, byName, false}, {[]string{"*"}, o, false},
		{[]string{"127.0.0.1"}, o, true}, {[]string{"127.0.0.1"}, jump, true}, {[]string{"127.0.0.1", "localhost"}, byName, true},
		{[]string{"127.0.0.1:1"}, o, false},
	} {
		p, err := upstream.New(upstream.Config{Allow: tt.allow})
		if err != nil {
			t.Fatal(err)
		}
		_, _, err = read(t, open(t, Options{Policy: p}), source.Request{Origin: tt.o, Length: -1})
		if (err == nil) != tt.want || err != nil && !errdefs.IsPermissionDenied(err) {
			t.Errorf("allow %q, %s: %v", tt.allow, tt.o, err)
		}
	}
	p, err := upstream.New(upstream.Config{Allow: []string{"127.0.0.1"}, Deny: []string{"localhost"}})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := read(t, open(t, Options{Policy: p}), source.Request{Origin: jump, Length: -1}); !errdefs.IsPermissionDenied(err) {
		t.Errorf("a redirect to a denied host: %v", err)
	}
}

func TestNoSignatureInErrors(t *testing.T) {
	s := newServer(t)
	o := p2p.Origin(s.URL + "/missing?X-Amz-Signature=secret")
	_, err := open(t, Options{}).Open(t.Context(), source.Request{Origin: o, Length: -1})
	var said *source.Error
	if !errors.As(err, &said) || strings.Contains(fmt.Sprint(err, o), "secret") {
		t.Errorf("%v", err)
	}
	if _, err := ParseURL("http://x/\x7f?X-Amz-Signature=secret"); err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("%v", err)
	}
}

func TestCanonical(t *testing.T) {
	for in, want := range map[string]string{
		"HTTP://Files.Example.com:80":                                    "http://files.example.com/",
		"https://u:p@h:443/a%2Fb?b=2&a=1#f":                              "https://h/a%2Fb?b=2&a=1",
		"https://h:8443/a?X-Amz-Date=1&v=2&x-amz-signature=3&Expires=4":  "https://h:8443/a?v=2",
		"https://h/a?%58-Amz-Date=1":                                     "https://h/a",
		"https://b.blob.core.windows.net/c/f?sv=1&sig=x&se=1&snapshot=2": "https://b.blob.core.windows.net/c/f?snapshot=2",
		"https://[2001:db8::1]:443/f?ns=x":                               "https://[2001:db8::1]/f",
		"https://h/a?&&b":                                                "https://h/a?b",
	} {
		u, err := ParseURL(in)
		if err != nil {
			t.Fatal(err)
		}
		got, filtered := Canonical(u, FilteredQuery())
		if got != want || filtered != (strings.Count(in, "=") > strings.Count(want, "=")) {
			t.Errorf("%s: %s (filtered %v), want %s", in, got, filtered, want)
		}
	}
}

func FuzzParseOrigin(f *testing.F) {
	f.Add("https://h/a?b=c#darter-generation=%22v1%22")
	f.Add("http://[::1]:80/a#darter-generation=Fri%2C+20+Nov+2026+12%3A00%3A30+GMT+5")
	f.Add("ftp://h/%zz#x")
	f.Add("http://h" + strings.Repeat("\xe9", 1200)) // shorter than it is when escaped
	f.Fuzz(func(t *testing.T, s string) {
		u, validator, err := ParseOrigin(p2p.Origin(s))
		if err != nil {
			return
		}
		o := Origin(u, validator)
		again, v, err := ParseOrigin(o)
		if err != nil || v != validator || again.Host != u.Host || Origin(again, v) != o {
			t.Fatalf("%q became %q: %v", s, o, err)
		}
		canonical, _ := Canonical(u, FilteredQuery())
		if strings.Contains(canonical, "X-Amz-Signature=") {
			t.Fatalf("%q", canonical)
		}
	})
}

func FuzzValidator(f *testing.F) {
	f.Add(`"v1"`, "Fri, 20 Nov 2026 12:00:30 GMT", "Fri, 20 Nov 2026 13:00:30 GMT", int64(5))
	f.Add(`W/"v1"`, "Friday, 20-Nov-26 12:00:30 GMT", "Fri, 20 Nov 2026 13:00:30 GMT", int64(0))
	f.Fuzz(func(t *testing.T, etag, modified, date string, size int64) {
		h := http.Header{"Etag": {etag}, "Last-Modified": {modified}, "Date": {date}}
		v := validatorOf(h, size)
		if v != "" && (!isValidator(v) || !proves(h, size, v)) {
			t.Fatalf("%q is not known again", v)
		}
	})
}
