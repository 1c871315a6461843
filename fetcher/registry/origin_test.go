package registry

import (
	"errors"
	"strings"
	"testing"

	"github.com/containerd/errdefs"

	"github.com/darter-p2p/darter/p2p"
)

const someDigest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

func TestOrigin(t *testing.T) {
	for _, tc := range []struct {
		host, repository string
		kind             Kind
		reference        string
		want             string
	}{
		{"ghcr.io", "a/b/c", Blobs, someDigest, "oci://ghcr.io/a/b/c/blobs/" + someDigest},
		{"127.0.0.1:5000", "x", Manifests, "v1", "oci://127.0.0.1:5000/x/manifests/v1"},
		{"[::1]:5000", "x", Manifests, "v1", "oci://[::1]:5000/x/manifests/v1"},
		{"docker.io", "nginx", Manifests, "latest", "oci://docker.io/library/nginx/manifests/latest"},
		{"index.docker.io", "nginx", Manifests, "latest", "oci://docker.io/library/nginx/manifests/latest"},
		{"registry-1.docker.io", "grafana/loki", Blobs, someDigest, "oci://docker.io/grafana/loki/blobs/" + someDigest},
		{"GHCR.io", "blobs/manifests", Manifests, "1.0_x-y", "oci://ghcr.io/blobs/manifests/manifests/1.0_x-y"},
	} {
		o := Origin(tc.host, tc.repository, tc.kind, tc.reference)
		if string(o) != tc.want {
			t.Errorf("Origin = %s, want %s", o, tc.want)
		}
		ref, err := ParseOrigin(o)
		if err != nil {
			t.Errorf("%s: %v", o, err)
		}
		if ref.Kind != tc.kind || ref.Reference != tc.reference || ref.Origin() != o {
			t.Errorf("%s: parsed as %+v", o, ref)
		}
	}
}

func TestParseOriginRefuses(t *testing.T) {
	for _, o := range []string{
		"", "oci://", "oci:///x/blobs/" + someDigest, "https://h/x/blobs/" + someDigest,
		"oci://h", "oci://h/x", "oci://h/blobs/" + someDigest, "oci://h/x/blobs/", "oci://h/x/tags/list",
		"oci://h/x/blobs/latest", "oci://h/x/blobs/sha256:12", "oci://h/x/manifests/", "oci://h/x/manifests/-a",
		"oci://h/x/manifests/" + strings.Repeat("a", 129), "oci://h/x/manifests/a?b", "oci://h/x/manifests/a%2fb",
		"oci://h/../x/manifests/a", "oci://h//x/manifests/a", "oci://h/X/manifests/a", "oci://h/x_-y/manifests/a",
		"oci://h/" + strings.Repeat("a", 256) + "/manifests/a",
		"oci://u:p@h/x/manifests/a", "oci://h:0/x/manifests/a", "oci://h:65536/x/manifests/a", "oci://h:+1/x/manifests/a",
		"oci://h:/x/manifests/a", "oci://[::1/x/manifests/a", "oci://[1.2.3.4]/x/manifests/a", "oci://[fe80::1%25eth0]/x/manifests/a",
		"oci://[::1]5/x/manifests/a", "oci://../x/manifests/a", "oci://a..b/x/manifests/a", "oci://-a/x/manifests/a",
	} {
		if ref, err := ParseOrigin(p2p.Origin(o)); !errors.Is(err, errdefs.ErrInvalidArgument) {
			t.Errorf("%q: %+v, %v; want ErrInvalidArgument", o, ref, err)
		}
	}
}

func FuzzParseOrigin(f *testing.F) {
	f.Add("oci://ghcr.io/a/b/c/blobs/" + someDigest)
	f.Add("oci://docker.io/nginx/manifests/latest")
	f.Add("oci://[::1]:5000/x/manifests/v1")
	f.Add("oci://../x/manifests/v1")
	f.Fuzz(func(t *testing.T, s string) {
		ref, err := ParseOrigin(p2p.Origin(s))
		if err != nil {
			return
		}
		o := ref.Origin()
		again, err := ParseOrigin(o)
		if err != nil || again != ref {
			t.Errorf("%q → %+v → %q → %+v, %v", s, ref, o, again, err)
		}
		if strings.ContainsAny(ref.path(), "?#%\\ \r\n") || strings.Contains(ref.path(), "..") || strings.Contains(ref.path(), "//") {
			t.Errorf("%q: path %q needs escaping", s, ref.path())
		}
	})
}
