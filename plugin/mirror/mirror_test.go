package mirror

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/darter-p2p/darter/fetcher"
	"github.com/darter-p2p/darter/fetcher/source"
	"github.com/darter-p2p/darter/internal/config"
)

const ociManifest = "application/vnd.oci.image.manifest.v1+json"

func TestBase(t *testing.T) {
	h := newHandler(t, newFake(), nil)
	for _, path := range []string{"/v2/", "/v2"} {
		resp := do(h, "GET", path)
		if resp.StatusCode != 200 || resp.Header.Get("Docker-Distribution-Api-Version") != "registry/2.0" || bodyOf(t, resp) != "{}" {
			t.Errorf("%s: %v", path, resp)
		}
	}
}

func TestBlob(t *testing.T) {
	f := newFake()
	data := "0123456789"
	d := f.put([]byte(data))
	empty := f.put(nil)
	h := newHandler(t, f, nil)
	for _, tc := range []struct {
		d          digest.Digest
		rangeValue string
		status     int
		body       string
		contentRng string
	}{
		{d, "", 200, data, ""},
		{d, "bytes=0-", 206, data, "bytes 0-9/10"},
		{d, "bytes=3-5", 206, "345", "bytes 3-5/10"},
		{d, "bytes=3-", 206, "3456789", "bytes 3-9/10"},
		{d, "bytes=3-99999999999999999999", 206, "3456789", "bytes 3-9/10"},
		{d, "bytes=9-9", 206, "9", "bytes 9-9/10"},
		{d, "bytes=-3", 206, "789", "bytes 7-9/10"},
		{d, "bytes=-300", 206, data, "bytes 0-9/10"},
		{d, "bytes=-0", 416, "", "bytes */10"},
		{d, "bytes=10-", 416, "", "bytes */10"},
		{d, "bytes=99999999999999999999-", 416, "", "bytes */10"},
		{d, "bytes=5-3", 200, data, ""},
		{d, "bytes=0-1,3-4", 200, data, ""},
		{d, "items=0-1", 200, data, ""},
		{d, "bytes=x-", 200, data, ""},
		{d, "bytes=-", 200, data, ""},
		{empty, "", 200, "", ""},
		{empty, "bytes=0-", 416, "", "bytes */0"},
	} {
		resp := do(h, "GET", "/v2/a/b/c/blobs/"+tc.d.String()+"?ns=r.test", "Range", tc.rangeValue)
		body := bodyOf(t, resp)
		if resp.StatusCode != tc.status || resp.Header.Get("Content-Range") != tc.contentRng || tc.status < 400 && body != tc.body {
			t.Errorf("Range %q: %d %q, Content-Range %q", tc.rangeValue, resp.StatusCode, body, resp.Header.Get("Content-Range"))
		}
		if got := resp.Header.Get("Content-Length"); got != fmt.Sprint(len(body)) {
			t.Errorf("Range %q: Content-Length %s of %d", tc.rangeValue, got, len(body))
		}
	}
	if f.closed == 0 || f.closed > len(f.ranges) {
		t.Errorf("%d bodies closed", f.closed)
	}
	want := fetcher.Content{Registry: "r.test", Repository: "a/b/c", Kind: fetcher.Blob, Digest: empty}
	if got := f.last(); got.Registry != want.Registry || got.Repository != want.Repository || got.Kind != want.Kind || got.Digest != want.Digest {
		t.Errorf("the fetcher was asked for %+v", got)
	}
}

func TestBlobHeaders(t *testing.T) {
	f := newFake()
	d := f.put([]byte("0123456789"))
	h := newHandler(t, f, nil)
	for _, method := range []string{"GET", "HEAD"} {
		resp := do(h, method, "/v2/a/blobs/"+d.String())
		for name, want := range map[string]string{
			"Docker-Content-Digest": d.String(), "ETag": `"` + d.String() + `"`, "Content-Length": "10",
			"Content-Type": "application/octet-stream", "Accept-Ranges": "bytes", "Content-Encoding": "",
			"Docker-Distribution-Api-Version": "registry/2.0",
		} {
			if got := resp.Header.Get(name); got != want {
				t.Errorf("%s: %s is %q, want %q", method, name, got, want)
			}
		}
	}
	if got := do(h, "GET", "/v2/a/blobs/"+d.String()).Header.Get("X-Darter-From"); got != "swarm" {
		t.Errorf("X-Darter-From is %q", got)
	}
}

func TestConditions(t *testing.T) {
	f := newFake()
	d := f.put([]byte("0123456789"))
	h := newHandler(t, f, nil)
	tag, other := `"`+d.String()+`"`, `"sha256:other"`
	for _, tc := range []struct {
		header []string
		status int
	}{
		{[]string{"If-None-Match", tag}, 304},
		{[]string{"If-None-Match", "W/" + tag}, 304},
		{[]string{"If-None-Match", other + ", " + tag}, 304},
		{[]string{"If-None-Match", "*"}, 304},
		{[]string{"If-None-Match", other}, 200},
		{[]string{"If-Range", tag, "Range", "bytes=1-2"}, 206},
		{[]string{"If-Range", other, "Range", "bytes=1-2"}, 200},
		{[]string{"If-Range", "W/" + tag, "Range", "bytes=1-2"}, 200},
		{[]string{"If-Range", "Fri, 20 Nov 2026 12:00:00 GMT", "Range", "bytes=1-2"}, 200},
	} {
		resp := do(h, "GET", "/v2/a/blobs/"+d.String(), tc.header...)
		if resp.StatusCode != tc.status {
			t.Errorf("%q: %d, want %d", tc.header, resp.StatusCode, tc.status)
		}
		if tc.status == 304 && (bodyOf(t, resp) != "" || resp.Header.Get("ETag") != tag) {
			t.Errorf("%q: a body, or ETag %q", tc.header, resp.Header.Get("ETag"))
		}
	}
	missing := digest.FromString("missing")
	if resp := do(h, "GET", "/v2/a/blobs/"+missing.String(), "If-None-Match", "*"); resp.StatusCode != 404 {
		t.Errorf("If-None-Match of what is not there: %d", resp.StatusCode)
	}
}

func TestManifest(t *testing.T) {
	f := newFake()
	text := `{"schemaVersion":2,"config":{},"layers":[]}`
	d := f.put([]byte(text))
	f.tags["r.test/a/b:v1"] = fetcher.Descriptor{Digest: d, Size: int64(len(text)), MediaType: "application/x.said+json"}
	f.tags["r.test/a/b:old"] = fetcher.Descriptor{Digest: d, Stale: true}
	h := newHandler(t, f, nil)
	for _, tc := range []struct {
		ref, mediaType string
		stale          bool
	}{
		{"v1", "application/x.said+json", false},
		{"old", ociManifest, true},
		{d.String(), ociManifest, false},
	} {
		for _, method := range []string{"HEAD", "GET"} {
			resp := do(h, method, "/v2/a/b/manifests/"+tc.ref+"?ns=r.test", "Accept", ociManifest)
			if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != tc.mediaType ||
				resp.Header.Get("Docker-Content-Digest") != d.String() || resp.Header.Get("Content-Length") != fmt.Sprint(len(text)) ||
				(resp.Header.Get("Warning") != "") != tc.stale {
				t.Errorf("%s %s: %d %v", method, tc.ref, resp.StatusCode, resp.Header)
			}
			if body := bodyOf(t, resp); method == "GET" && body != text {
				t.Errorf("%s: body %q", tc.ref, body)
			}
		}
	}
	if got := f.last().Header.Get("Accept"); got != ociManifest {
		t.Errorf("Accept reached the fetcher as %q", got)
	}
	resp := do(h, "GET", "/v2/a/b/manifests/v1?ns=r.test", "Range", "bytes=1-15")
	if resp.StatusCode != 206 || bodyOf(t, resp) != text[1:16] {
		t.Errorf("range of a manifest: %d", resp.StatusCode)
	}
	if resp := do(h, "GET", "/v2/a/b/manifests/v1?ns=r.test", "Range", "bytes=1000-"); resp.StatusCode != 416 || resp.Header.Get("Content-Range") != "bytes */43" {
		t.Errorf("range beyond a manifest: %d %v", resp.StatusCode, resp.Header)
	}
	if resp := do(h, "GET", "/v2/a/b/manifests/v1?ns=r.test", "If-None-Match", etag(d)); resp.StatusCode != 304 {
		t.Errorf("If-None-Match of a tag: %d", resp.StatusCode)
	}
	f.contents[d] = []byte(`{"schemaVersion":2,"evil":true}`)
	if resp := do(h, "GET", "/v2/a/b/manifests/v1?ns=r.test"); resp.StatusCode != 502 {
		t.Errorf("a forged manifest: %d, want 502", resp.StatusCode)
	}
}

func TestUpstream(t *testing.T) {
	d := digest.FromString("x")
	for _, tc := range []struct {
		def, target, header  string
		registry, repository string
		status               int
	}{
		{"docker.io", "/v2/nginx/blobs/" + d.String(), "", "docker.io", "library/nginx", 0},
		{"docker.io", "/v2/a/b/blobs/" + d.String() + "?ns=ghcr.io", "", "ghcr.io", "a/b", 0},
		{"docker.io", "/v2/a/blobs/" + d.String() + "?ns=127.0.0.1%3A5400", "", "127.0.0.1:5400", "a", 0},
		{"docker.io", "/v2/a/b/blobs/" + d.String() + "?ns=ghcr.io", "https://quay.io", "quay.io", "a/b", 0},
		{"docker.io", "/v2/a/b/blobs/" + d.String(), "quay.io:8443/", "quay.io:8443", "a/b", 0},
		{"docker.io", "/v2/nginx/blobs/" + d.String() + "?ns=index.docker.io", "", "docker.io", "library/nginx", 0},
		{"", "/v2/a/blobs/" + d.String(), "", "", "a", 0},
		{"docker.io", "/v2/a/blobs/" + d.String() + "?ns=../etc", "", "", "", 400},
		{"docker.io", "/v2/a/blobs/" + d.String(), "https://u:p@:1/", "", "", 400},
		{"docker.io", "/v2/a/blobs/" + d.String(), "http://%zz", "", "", 400},
	} {
		f := newFake()
		f.err = errdefs.ErrUnavailable
		h := newHandler(t, f, func(c *Config) { c.DefaultRegistry = tc.def })
		resp := do(h, "GET", tc.target, "X-Dragonfly-Registry", tc.header)
		got := f.last()
		if got.Registry != tc.registry || got.Repository != tc.repository || tc.status != 0 && resp.StatusCode != tc.status {
			t.Errorf("%s, %q: %d, registry %q repository %q", tc.target, tc.header, resp.StatusCode, got.Registry, got.Repository)
		}
		if got.Header.Get("X-Dragonfly-Registry") != "" {
			t.Error("X-Dragonfly-Registry was passed on")
		}
	}
	h := newHandler(t, newFake(), func(c *Config) { c.DefaultRegistry = "" })
	if resp := do(h, "GET", "/v2/a/manifests/v1"); resp.StatusCode != 404 {
		t.Errorf("a tag of no registry: %d", resp.StatusCode)
	}
}

func TestWhatIsPassedOn(t *testing.T) {
	f := newFake()
	h := newHandler(t, f, nil)
	do(h, "GET", "/v2/a/blobs/"+digest.FromString("x").String(),
		"Authorization", "Bearer t", "User-Agent", "containerd/2", source.HopHeader, "prod/node-2",
		"X-Forwarded-For", "10.0.0.1", "Cookie", "c=1", "X-Dragonfly-Tag", "t", "Connection", "close")
	got := f.last().Header
	if len(got) != 3 || got.Get("Authorization") != "Bearer t" || got.Get("User-Agent") != "containerd/2" || got.Get(source.HopHeader) != "prod/node-2" {
		t.Errorf("passed on: %v", got)
	}
}

func TestLoop(t *testing.T) {
	h := newHandler(t, newFake(), nil)
	for hops, want := range map[string]int{
		"prod/node-1":              508,
		"prod/node-2, prod/node-1": 508,
		"prod/node-2":              404,
		"a, b, c, d, e":            508,
	} {
		if resp := do(h, "GET", "/v2/a/blobs/"+digest.FromString("x").String(), source.HopHeader, hops); resp.StatusCode != want {
			t.Errorf("%q: %d, want %d", hops, resp.StatusCode, want)
		}
	}
}

func TestRefusals(t *testing.T) {
	challenge := http.Header{"Www-Authenticate": {`Bearer realm="https://r.test/token"`, `Basic realm="x"`}}
	ownWords := &source.Error{
		Status: 403, Header: http.Header{"Content-Type": {"application/json"}}, Body: []byte(`{"errors":[{"code":"DENIED","message":"no"}]}`),
	}
	for _, tc := range []struct {
		err    error
		status int
		code   string
	}{
		{&source.Error{Status: 401, Header: challenge}, 401, "UNAUTHORIZED"},
		{ownWords, 403, "DENIED"},
		{&source.Error{Status: 404}, 404, "BLOB_UNKNOWN"},
		{&source.Error{Status: 429, RetryAfter: 7 * time.Second}, 429, "TOOMANYREQUESTS"},
		{&source.Error{Status: 500}, 500, "UNAVAILABLE"},
		{&source.Error{Status: 503}, 503, "UNAVAILABLE"},
		{&source.Error{Status: 508}, 502, "UNAVAILABLE"}, // a loop further up is none of the client
		{&source.Error{Status: 200, Err: errors.New("odd")}, 502, "UNAVAILABLE"},
		{&source.Error{Err: errors.New("refused")}, 503, "UNAVAILABLE"},
		{errdefs.ErrNotFound, 404, "BLOB_UNKNOWN"},
		{errdefs.ErrPermissionDenied, 403, "DENIED"},
		{errdefs.ErrUnavailable, 503, "UNAVAILABLE"},
		{errdefs.ErrResourceExhausted, 503, "UNAVAILABLE"}, // the disk is full: not the client's fault
		{errdefs.ErrDataLoss, 502, "UNAVAILABLE"},
		{errors.New("what?"), 500, "UNAVAILABLE"},
	} {
		f := newFake()
		f.err = fmt.Errorf("wrapped: %w", tc.err)
		resp := do(newHandler(t, f, nil), "GET", "/v2/a/blobs/"+digest.FromString("x").String())
		var got struct {
			Errors []struct{ Code, Message string }
		}
		if err := json.Unmarshal([]byte(bodyOf(t, resp)), &got); err != nil || len(got.Errors) != 1 || got.Errors[0].Code != tc.code || resp.StatusCode != tc.status {
			t.Errorf("%v: %d %+v, %v; want %d %s", tc.err, resp.StatusCode, got, err, tc.status, tc.code)
		}
		switch tc.status {
		case 401:
			if v := resp.Header.Values("WWW-Authenticate"); len(v) != 2 {
				t.Errorf("challenges: %q", v)
			}
		case 429:
			if v := resp.Header.Get("Retry-After"); v != "7" {
				t.Errorf("Retry-After: %q", v)
			}
		}
	}
}

func TestOtherRequests(t *testing.T) {
	h := newHandler(t, newFake(), nil)
	blob := "/v2/a/blobs/" + digest.FromString("x").String()
	for _, tc := range []struct {
		method, path string
		status       int
	}{
		{"POST", "/v2/a/blobs/uploads/", 405},
		{"PUT", "/v2/a/manifests/v1", 405},
		{"DELETE", blob, 405},
		{"GET", "/v2/_catalog", 404},
		{"GET", "/v2/a/tags/list", 404},
		{"GET", "/v2/a/referrers/" + digest.FromString("x").String(), 404},
		{"GET", "/", 404},
		{"GET", "/v1/search", 404},
		{"GET", "/v2/a/blobs/latest", 400},
		{"GET", "/v2/a/blobs/sha256:12", 400},
		{"GET", "/v2/A/manifests/v1", 400},
		{"GET", "/v2/a/../b/manifests/v1", 400},
		{"GET", "/v2/a/manifests/-v1", 400},
		{"GET", "/v2/a/blobs/sha512:" + strings.Repeat("a", 128), 404},
	} {
		resp := do(h, tc.method, tc.path)
		if body := bodyOf(t, resp); resp.StatusCode != tc.status || !json.Valid([]byte(body)) {
			t.Errorf("%s %s: %d %s, want %d", tc.method, tc.path, resp.StatusCode, body, tc.status)
		}
	}
}

func TestNoFirstByteInTime(t *testing.T) {
	f := newFake()
	f.hang = true
	h := newHandler(t, f, func(c *Config) { c.FirstByteTimeout = config.Duration(20 * time.Millisecond) })
	for _, method := range []string{"GET", "HEAD"} {
		for _, path := range []string{"/v2/a/blobs/", "/v2/a/manifests/"} {
			if resp := do(h, method, path+digest.FromString("x").String()); resp.StatusCode != 503 {
				t.Errorf("%s %s: %d", method, path, resp.StatusCode)
			}
		}
	}
}

func TestMetrics(t *testing.T) {
	f := newFake()
	d := f.put([]byte("0123456789"))
	reg := prometheus.NewRegistry()
	h, err := New(f, Default(), Options{Metrics: reg})
	if err != nil {
		t.Fatal(err)
	}
	do(h, "GET", "/v2/a/blobs/"+d.String())
	do(h, "GET", "/v2/a/blobs/"+d.String(), "Range", "bytes=0-1")
	do(h, "BREW", "/v2/")
	want := `
# HELP darter_mirror_requests_total Requests at the mirror door, by method, kind of content and status.
# TYPE darter_mirror_requests_total counter
darter_mirror_requests_total{kind="blob",method="GET",status="200"} 1
darter_mirror_requests_total{kind="blob",method="GET",status="206"} 1
darter_mirror_requests_total{kind="other",method="other",status="405"} 1
# HELP darter_mirror_sent_bytes_total Bytes of content sent by the mirror door, by where their first byte came from.
# TYPE darter_mirror_sent_bytes_total counter
darter_mirror_sent_bytes_total{from="swarm"} 12
`
	if err := testutil.GatherAndCompare(reg, strings.NewReader(want), "darter_mirror_requests_total", "darter_mirror_sent_bytes_total"); err != nil {
		t.Error(err)
	}
	if _, err := New(f, Default(), Options{Metrics: reg}); err == nil {
		t.Error("a second door took the same registry of metrics")
	}
}

func TestConfig(t *testing.T) {
	if err := Default().Validate(); err != nil {
		t.Error(err)
	}
	for want, change := range map[string]func(*Config){
		"default_registry":   func(c *Config) { c.DefaultRegistry = "https://x" },
		"first_byte_timeout": func(c *Config) { c.FirstByteTimeout = 0 },
		"stall_timeout":      func(c *Config) { c.StallTimeout = 0 },
		"resume_block":       func(c *Config) { c.ResumeBlock = config.Duration(time.Hour) },
	} {
		c := Default()
		change(&c)
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}
