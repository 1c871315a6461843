package hosts

import (
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/darter-p2p/darter/fetcher/registry"
	"github.com/darter-p2p/darter/fetcher/source"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// certsd makes a certs.d directory of files by path.
func certsd(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for path, text := range files {
		write(t, filepath.Join(root, path), text)
	}
	return root
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func newDir(t *testing.T, root string, own ...string) *Dir {
	t.Helper()
	d, err := New(Config{Dir: root}, Options{Self: own, Limits: registry.Default().Origin})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	return d
}

// describe writes endpoints in a short form: URL, then "mirror" and "resolve" where they are.
func describe(eps []registry.Endpoint) []string {
	var all []string
	for _, ep := range eps {
		s := ep.URL.String()
		if ep.Mirror {
			s += " mirror"
		}
		if ep.Resolve {
			s += " resolve"
		}
		all = append(all, s)
	}
	return all
}

const darterHosts = `
server = "https://registry.example"
[host."http://127.0.0.1:65001"]
  capabilities = ["pull", "resolve"]
[host."https://cache.example/v2/proxy"]
  capabilities = ["pull"]
  override_path = true
  [host."https://cache.example/v2/proxy".header]
    x-key = "1"
[host."https://push.example"]
  capabilities = ["push"]
`

func TestEndpoints(t *testing.T) {
	root := certsd(t, map[string]string{
		"registry.example/hosts.toml":       darterHosts,
		"registry.example_5000_/hosts.toml": `server = "http://10.0.0.1:5000"`,
		"docker.io/hosts.toml":              "[host.\"http://localhost:65001\"]\n",
		"darter.example/hosts.toml":         "server = \"http://[::1]:65001\"\n",
		"certs.example/ca.crt":              "not a certificate\n",
		"broken.example/hosts.toml":         "server = [",
		"127.0.0.1_5000_/hosts.toml":        `server = "http://127.0.0.1:5000"`,
	})
	d := newDir(t, root, "127.0.0.1:65001")
	for host, want := range map[string][]string{
		"registry.example": {
			"https://cache.example/v2/proxy mirror", "https://registry.example/v2 resolve",
		},
		"registry.example:5000": {"http://10.0.0.1:5000/v2 resolve"},
		"docker.io":             {"https://registry-1.docker.io/v2 resolve"},
		"darter.example":        nil, // its server is darter: the caller goes to the registry itself
		"unknown.example":       nil,
		"127.0.0.1:5000":        {"http://127.0.0.1:5000/v2 resolve"},
		// containerd logs a file that it cannot read and goes on without; so do we.
		"broken.example": {"https://broken.example/v2 resolve"},
	} {
		eps, err := d.Endpoints(host)
		if err != nil || !reflect.DeepEqual(describe(eps), want) {
			t.Errorf("%s: %q, %v; want %q", host, describe(eps), err, want)
		}
	}
	eps, _ := d.Endpoints("registry.example")
	if got := eps[0].Header; len(got) != 1 { // containerd keeps the spelling of the file
		t.Errorf("header of the mirror: %v", got)
	}
	if _, err := d.Endpoints("certs.example"); err == nil {
		t.Error("a CA file without a certificate was taken")
	}
	for _, host := range []string{"..", "../x", "a/b", ""} {
		if eps, err := d.Endpoints(host); err == nil {
			t.Errorf("host %q: %q", host, describe(eps))
		}
	}
}

func TestDefaultHost(t *testing.T) {
	d := newDir(t, certsd(t, map[string]string{
		"_default/hosts.toml": "[host.\"http://127.0.0.1:65001\"]\n[host.\"https://cache.example\"]\n",
	}), "0.0.0.0:65001")
	eps, err := d.Endpoints("quay.io")
	want := []string{"https://cache.example/v2 mirror resolve", "https://quay.io/v2 resolve"}
	if err != nil || !reflect.DeepEqual(describe(eps), want) {
		t.Errorf("%q, %v; want %q", describe(eps), err, want)
	}
}

func TestMissingDirectory(t *testing.T) {
	for _, root := range []string{"", "/nowhere/certs.d"} {
		if eps, err := newDir(t, root).Endpoints("docker.io"); eps != nil || err != nil {
			t.Errorf("%q: %v, %v", root, eps, err)
		}
	}
	if _, err := New(Config{Dir: "certs.d"}, Options{}); err == nil {
		t.Error("a relative directory was taken")
	}
}

func TestChangedFileIsReadAgain(t *testing.T) {
	root := certsd(t, map[string]string{"r.example/hosts.toml": `server = "https://one.example"`})
	d := newDir(t, root)
	first, _ := d.Endpoints("r.example")
	again, _ := d.Endpoints("r.example")
	if first[0].Transport != again[0].Transport {
		t.Error("an unchanged file got a new transport: connections are not pooled")
	}
	path := filepath.Join(root, "r.example/hosts.toml")
	write(t, path, `server = "https://two.example"`)
	if err := os.Chtimes(path, time.Time{}, time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	if eps, err := d.Endpoints("r.example"); err != nil || eps[0].URL.Host != "two.example" {
		t.Errorf("%q, %v", describe(eps), err)
	}
}

func TestHostsAreBounded(t *testing.T) {
	d := newDir(t, certsd(t, map[string]string{"_default/hosts.toml": "\n"}))
	for i := range 2 * maxHosts {
		if _, err := d.Endpoints(fmt.Sprintf("h%d.example", i)); err != nil {
			t.Fatal(err)
		}
	}
	if len(d.hosts) > maxHosts {
		t.Errorf("%d hosts kept", len(d.hosts))
	}
}

// The settings reach the wire: a registry whose CA only certs.d knows.
func TestCertificateIsUsed(t *testing.T) {
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, "{}")
	}))
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	srv.StartTLS()
	t.Cleanup(srv.Close)
	ca := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw}))
	for name, tc := range map[string]struct {
		files map[string]string
		ok    bool
	}{
		"hosts.toml":  {map[string]string{"r.example/hosts.toml": fmt.Sprintf("server = %q\nca = \"my.pem\"\n", srv.URL), "r.example/my.pem": ca}, true},
		"skip_verify": {map[string]string{"r.example/hosts.toml": fmt.Sprintf("server = %q\nskip_verify = true\n", srv.URL)}, true},
		"neither":     {map[string]string{"r.example/hosts.toml": fmt.Sprintf("server = %q\n", srv.URL)}, false},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := registry.New(registry.Default(), registry.Options{Hosts: newDir(t, certsd(t, tc.files))})
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = s.Close() }()
			resp, err := s.Open(t.Context(), source.Request{Origin: registry.Origin("r.example", "x", registry.Manifests, "v1"), Length: -1})
			if (err == nil) != tc.ok {
				t.Fatal(err)
			}
			if err == nil {
				resp.Body.Close()
			}
		})
	}
}

// A loopback registry whose scheme nobody said: containerd tries https, then http.
// The fallback must not reach hosts that the registry points to.
func TestFallbackStaysAtItsHost(t *testing.T) {
	var other []string
	plain := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { other = append(other, r.Host) }))
	t.Cleanup(plain.Close)
	elsewhere := strings.Replace(plain.URL, "http://", "https://", 1)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/moved") {
			http.Redirect(w, r, elsewhere+"/x", http.StatusTemporaryRedirect)
			return
		}
		fmt.Fprint(w, "{}")
	}))
	t.Cleanup(srv.Close)
	u, _ := url.Parse(srv.URL)
	d := newDir(t, certsd(t, map[string]string{
		strings.Replace(u.Host, ":", "_", 1) + "_/hosts.toml": "[host.\"http://127.0.0.1:1\"]\n",
	}))
	s, err := registry.New(registry.Default(), registry.Options{Hosts: d})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	resp, err := s.Open(t.Context(), source.Request{Origin: registry.Origin(u.Host, "x", registry.Manifests, "v1"), Length: -1})
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	_, err = s.Open(t.Context(), source.Request{Origin: registry.Origin(u.Host, "x", registry.Manifests, "moved"), Length: -1})
	if err == nil || len(other) != 0 {
		t.Errorf("%v; plain requests at %q", err, other)
	}
}

func TestSelf(t *testing.T) {
	for _, tc := range []struct {
		listen, url string
		want        bool
	}{
		{"127.0.0.1:65001", "http://127.0.0.1:65001/v2", true},
		{"127.0.0.1:65001", "http://localhost:65001", true},
		{"127.0.0.1:65001", "http://[::1]:65001", true},
		{"127.0.0.1:65001", "http://127.0.0.1:5000", false},
		{"127.0.0.1:65001", "http://10.0.0.1:65001", false},
		{"127.0.0.1:80", "http://127.0.0.1", true},
		{":65001", "http://127.0.0.1:65001", true},
		{"0.0.0.0:65001", "http://localhost.:65001", true},
		{"0.0.0.0:65001", "http://192.0.2.1:65001", false},
		{"10.9.8.7:65001", "http://10.9.8.7:65001", true},
		{"10.9.8.7:65001", "http://127.0.0.1:65001", false},
		{"node.example:65001", "http://Node.example:65001", true},
		{"localhost:65001", "http://127.0.0.1:65001", true},
		{"localhost:65001", "http://r.example:65001", false},
	} {
		s, err := newSelf([]string{tc.listen})
		if err != nil {
			t.Fatal(err)
		}
		u, _ := url.Parse(tc.url)
		if got := s.is(u); got != tc.want {
			t.Errorf("listening at %s, %s is self: %v, want %v", tc.listen, tc.url, got, tc.want)
		}
	}
	if _, err := newSelf([]string{"65001"}); err == nil {
		t.Error("an address without a port was taken")
	}
}
