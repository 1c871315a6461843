package mirror

import (
	"math"
	"net/http"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/darter-p2p/darter/fetcher"
	"github.com/darter-p2p/darter/fetcher/registry"
)

func TestSniff(t *testing.T) {
	for in, want := range map[string]string{
		`{"mediaType":"application/vnd.docker.distribution.manifest.v2+json"}`: "application/vnd.docker.distribution.manifest.v2+json",
		`{"schemaVersion":2,"manifests":[]}`:                                   "application/vnd.oci.image.index.v1+json",
		`{"schemaVersion":2,"config":{},"layers":[]}`:                          "application/vnd.oci.image.manifest.v1+json",
		`{"schemaVersion":1,"fsLayers":[]}`:                                    "application/vnd.docker.distribution.manifest.v1+prettyjws",
		`{"mediaType":"a/b\r\nX-Evil: 1","config":{}}`:                         "application/vnd.oci.image.manifest.v1+json",
		`{}`:  "application/json",
		`[]`:  octets,
		`ELF`: octets,
	} {
		if got := sniff([]byte(in)); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
}

func FuzzParseRoute(f *testing.F) {
	d := digest.FromString("x").String()
	f.Add("/v2/")
	f.Add("/v2/library/nginx/manifests/latest")
	f.Add("/v2/a/b/c/blobs/" + d)
	f.Add("/v2/../x/blobs/" + d)
	f.Fuzz(func(t *testing.T, path string) {
		r, err := parseRoute(path)
		if err != nil || r.base {
			return
		}
		reference := r.tag
		if r.digest != "" {
			reference = r.digest.String()
		}
		if path != "/v2/"+r.repository+"/"+string(r.kind)+"/"+reference {
			t.Errorf("%q → %+v", path, r)
		}
		if _, err := registry.ParseOrigin(registry.Origin("h", r.repository, registry.Kind(r.kind), reference)); err != nil {
			t.Errorf("%q is no origin: %v", path, err)
		}
	})
}

func FuzzParseUpstream(f *testing.F) {
	f.Add("docker.io")
	f.Add("https://index.docker.io")
	f.Add("http://[::1]:5000/")
	f.Add("../../etc")
	f.Fuzz(func(t *testing.T, s string) {
		host, err := parseUpstream(s)
		if err != nil {
			return
		}
		if again, err := registry.ParseHost(host); err != nil || again != host || strings.ContainsAny(host, "/@?# ") {
			t.Errorf("%q → %q → %q, %v", s, host, again, err)
		}
	})
}

func FuzzParseRange(f *testing.F) {
	for _, s := range []string{"bytes=0-", "bytes=5-14", "bytes=-3", "bytes=-0", "bytes=0-1,3-4", "bytes=99999999999999999999-", " Bytes = 1-2"} {
		f.Add(s, int64(10))
	}
	f.Add("bytes=1-9223372036854775807", int64(math.MaxInt64))
	f.Fuzz(func(t *testing.T, s string, size int64) {
		if size < 0 {
			return
		}
		w := rangeOf(http.Header{"Range": {s}}, "sha256:x")
		if !w.partial && w.Range != fetcher.All {
			t.Errorf("%q: %+v", s, w)
		}
		offset, length, ok := w.within(size)
		if ok && (offset < 0 || length < 0 || offset > size || length > size-offset || w.partial && length == 0) {
			t.Errorf("%q of %d: %d+%d", s, size, offset, length)
		}
	})
}

func FuzzSniff(f *testing.F) {
	f.Add([]byte(`{"mediaType":"application/vnd.oci.image.manifest.v1+json"}`))
	f.Add([]byte(`{"manifests":[{}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if got := sniff(b); !mediaTypePattern.MatchString(got) {
			t.Errorf("%q → %q", b, got)
		}
	})
}
