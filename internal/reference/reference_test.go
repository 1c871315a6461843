package reference

import (
	"strings"
	"testing"

	"github.com/containerd/errdefs"
)

const sum = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

func TestParse(t *testing.T) {
	for in, want := range map[string]string{
		"nginx":                                                     "docker.io/library/nginx:latest",
		"nginx:1.27":                                                "docker.io/library/nginx:1.27",
		"library/nginx@" + sum:                                      "docker.io/library/nginx@" + sum,
		"registry.example:5000/a/b:1@" + sum:                        "registry.example:5000/a/b@" + sum,
		"localhost:5000/app":                                        "localhost:5000/app:latest",
		"http://h.example:80/v2/a/b/manifests/1":                    "h.example:80/a/b:1",
		"https://h.example/v2/a/manifests/" + sum:                   "h.example/a@" + sum,
		"https://h.example/v2/manifests/manifests/v1":               "h.example/manifests:v1",
		"https://registry-1.docker.io/v2/library/nginx/manifests/1": "docker.io/library/nginx:1",
	} {
		got, err := Parse(in)
		if err != nil || got.String() != want {
			t.Errorf("%s: %v, %v, want %s", in, got, err, want)
		}
	}
	for _, in := range []string{
		"", "A", "a b", "a:b:c", "a@sha256:12", "a@sha512:" + strings.Repeat("0", 128), "https://h", "https://h/v2/a/b",
		"https://h/v2/a/manifests/", "https://h/v2/a/manifests/x/y", "https://u:p@h.example/v2/a/manifests/1",
		"https://h/v3/a/manifests/1", "https://h/v2/../manifests/1", "ftp://h/v2/a/manifests/1", strings.Repeat("a", 5000),
	} {
		if got, err := Parse(in); !errdefs.IsInvalidArgument(err) {
			t.Errorf("%q: %+v, %v, want ErrInvalidArgument", in, got, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("nginx:1.27")
	f.Add("registry.example/a@" + sum)
	f.Add("https://h.example/v2/a/manifests/1")
	f.Fuzz(func(t *testing.T, s string) {
		i, err := Parse(s)
		if err != nil {
			if !errdefs.IsInvalidArgument(err) {
				t.Fatalf("%q: %v", s, err)
			}
			return
		}
		again, err := Parse(i.String())
		if err != nil || again != i {
			t.Fatalf("%q: %+v, then %+v, %v", s, i, again, err)
		}
	})
}
