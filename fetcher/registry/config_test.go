package registry

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"

	"github.com/darter-p2p/darter/fetcher/source"
	"github.com/darter-p2p/darter/internal/config"
)

func TestDefaultIsValid(t *testing.T) {
	if err := Default().Validate(); err != nil {
		t.Error(err)
	}
}

func TestValidateNamesTheKey(t *testing.T) {
	for want, change := range map[string]func(*Config){
		"dial_timeout":   func(c *Config) { c.Origin.DialTimeout = 0 },
		"tls_timeout":    func(c *Config) { c.Origin.TLSTimeout = -1 },
		"header_timeout": func(c *Config) { c.Origin.HeaderTimeout = config.Duration(time.Hour) },
		"idle_timeout":   func(c *Config) { c.Origin.IdleTimeout = 0 },
		"max_skip":       func(c *Config) { c.Origin.MaxSkip = -1 },
		"host":           func(c *Config) { c.Registries = []HostConfig{{}} },
		"two tables":     func(c *Config) { c.Registries = []HostConfig{{Host: "docker.io"}, {Host: "index.docker.io"}} },
		"url":            func(c *Config) { c.Registries = []HostConfig{{Host: "h", URL: "ftp://h"}} },
		"plain_http":     func(c *Config) { c.Registries = []HostConfig{{Host: "h", URL: "https://h", PlainHTTP: true}} },
		"client_key":     func(c *Config) { c.Registries = []HostConfig{{Host: "h", ClientCert: "x"}} },
		"proxy":          func(c *Config) { c.Registries = []HostConfig{{Host: "h", Proxy: "proxy:3128"}} },
		"mirrors": func(c *Config) {
			c.Registries = []HostConfig{{Host: "h", Mirrors: []string{"http://a", "http://u:p@b"}}}
		},
	} {
		c := Default()
		change(&c)
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
		if _, err := New(c, Options{}); err == nil {
			t.Errorf("%s: New took it", want)
		}
	}
}

func TestParseRoot(t *testing.T) {
	for in, want := range map[string]string{
		"https://h":                "https://h/v2",
		"https://H:5000/":          "https://h:5000/v2",
		"https://h/v2/":            "https://h/v2",
		"https://h/v2/proxy-cache": "https://h/v2/proxy-cache",
		"https://h/path":           "https://h/path/v2",
		"h:5000":                   "https://h:5000/v2",
		"127.0.0.1:5000":           "http://127.0.0.1:5000/v2",
		"localhost":                "http://localhost/v2",
		"[::1]:5000/x":             "http://[::1]:5000/x/v2",
		"":                         "",
		"ftp://h":                  "",
		"https://":                 "",
		"https://u:p@h":            "",
		"https://h?x=1":            "",
		"https://h h":              "",
	} {
		got := ""
		u, err := ParseRoot(in)
		if err == nil {
			got = u.String()
		}
		if got != want {
			t.Errorf("ParseRoot(%q) = %q, %v; want %q", in, got, err, want)
		}
	}
}

func FuzzParseRoot(f *testing.F) {
	f.Add("https://h:5000/v2/x")
	f.Add("[::1]:5000")
	f.Fuzz(func(t *testing.T, s string) {
		u, err := ParseRoot(s)
		if err != nil {
			return
		}
		if again, err := ParseRoot(u.String()); err != nil || again.String() != u.String() {
			t.Errorf("%q → %q → %v, %v", s, u, again, err)
		}
	})
}

func TestDefaultEndpoints(t *testing.T) {
	s := newSource(t, Default(), Options{})
	for host, want := range map[string]string{
		"docker.io":           "https://registry-1.docker.io/v2",
		"ghcr.io":             "https://ghcr.io/v2",
		"h:5000":              "https://h:5000/v2",
		"127.0.0.1:5000":      "http://127.0.0.1:5000/v2",
		"127.8.8.8":           "http://127.8.8.8/v2",
		"localhost:5000":      "http://localhost:5000/v2",
		"[::1]:5000":          "http://[::1]:5000/v2",
		"10.0.0.1:5000":       "https://10.0.0.1:5000/v2",
		"localhost.evil.test": "https://localhost.evil.test/v2",
	} {
		eps, err := s.endpoints(host, true)
		if err != nil || len(eps) != 1 || eps[0].URL.String() != want || eps[0].Mirror || eps[0].Transport == nil {
			t.Errorf("%s: %+v, %v; want %s", host, eps, err, want)
		}
	}
}

func TestMirrors(t *testing.T) {
	data := []byte("hello")
	good, bad, origin := newFake(t), newFake(t), newFake(t)
	bad.authorize = func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(500); return false }
	goodHost, badHost, originHost := start(t, good), start(t, bad), start(t, origin)
	gone := httptest.NewServer(http.NotFoundHandler())
	goneURL := gone.URL
	gone.Close()
	c := Default()
	c.Registries = []HostConfig{{
		Host: "r.test", URL: "http://" + originHost,
		Mirrors: []string{goneURL, "http://" + badHost, goodHost},
	}}
	s := newSource(t, c, Options{})
	o := origin.putBlob("r.test", data)
	req := withAuth(whole(o), "Bearer t")
	read := func() {
		t.Helper()
		if got, err := open(t, s, req); err != nil || string(got) != "hello" {
			t.Fatalf("%q, %v", got, err)
		}
	}
	read() // gone: refused; bad: 500; good: 404; origin has it
	if n := []int{len(bad.requests()), len(good.requests()), len(origin.requests())}; n[0] != 1 || n[1] != 1 || n[2] != 1 {
		t.Errorf("requests at bad, good and origin: %v", n)
	}
	good.putBlob("", data)
	read()
	if len(origin.requests()) != 1 {
		t.Error("the origin was asked for what a mirror has")
	}
	for _, r := range append(good.requests(), bad.requests()...) {
		if r.Header.Get("Authorization") != "" {
			t.Error("a mirror got the reader's token")
		}
		if ns := r.URL.Query().Get("ns"); ns != "r.test" {
			t.Errorf("a mirror was asked with ns=%q", ns)
		}
	}
	if r := origin.requests()[0]; r.Header.Get("Authorization") != "Bearer t" || r.URL.RawQuery != "" {
		t.Errorf("the origin got %v, query %q", r.Header, r.URL.RawQuery)
	}
	_, err := open(t, s, whole(Origin("r.test", "repo", Blobs, someDigest)))
	var e *source.Error
	if !errors.As(err, &e) || e.Host != originHost || e.Status != 404 {
		t.Errorf("a content nobody has: %v, want the registry's own word", err)
	}
}

// A mirror that gives no answer is not waited for again and again.
func TestSilentMirrorIsPaused(t *testing.T) {
	silent, origin := newFake(t), newFake(t)
	silent.authorize = func(_ http.ResponseWriter, r *http.Request) bool { silent.hang(r); return false }
	c := Default()
	c.Origin.HeaderTimeout = config.Duration(500 * time.Millisecond)
	c.Registries = []HostConfig{{Host: "r.test", URL: "http://" + start(t, origin), Mirrors: []string{start(t, silent)}}}
	s := newSource(t, c, Options{})
	o := origin.putBlob("r.test", []byte("hello"))
	for range 3 {
		if _, err := open(t, s, whole(o)); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(silent.requests()); n != 1 {
		t.Errorf("%d requests at the silent mirror, want 1", n)
	}
}

func TestHostsEndpoints(t *testing.T) {
	pullOnly, server := newFake(t), newFake(t)
	s := newSource(t, Default(), Options{Hosts: oneEndpoint{
		{URL: mustRoot(start(t, pullOnly)), Mirror: true},
		{URL: mustRoot(start(t, server)), Resolve: true},
	}})
	pullOnly.put("/repo/manifests/v1", []byte("old"))
	server.put("/repo/manifests/v1", []byte("new"))
	if got, err := open(t, s, whole(Origin("r.test", "repo", Manifests, "v1"))); err != nil || string(got) != "new" {
		t.Errorf("a tag was read from a mirror that may not resolve: %q, %v", got, err)
	}
	o := pullOnly.putBlob("r.test", []byte("blob"))
	if got, err := open(t, s, whole(o)); err != nil || string(got) != "blob" {
		t.Errorf("%q, %v", got, err)
	}
}

type failingHosts struct{}

func (failingHosts) Endpoints(string) ([]Endpoint, error) { return nil, errdefs.ErrInvalidArgument }

func TestHostsFail(t *testing.T) {
	s := newSource(t, Default(), Options{Hosts: failingHosts{}})
	if _, err := open(t, s, whole(Origin("r.test", "repo", Manifests, "v1"))); !errors.Is(err, errdefs.ErrInvalidArgument) {
		t.Error(err)
	}
}

func TestTLS(t *testing.T) {
	f := newFake(t)
	srv := httptest.NewUnstartedServer(f)
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	clientCert, clientKey, clientCA := selfSigned(t)
	srv.TLS = &tls.Config{ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: clientCA, MinVersion: tls.VersionTLS12}
	srv.StartTLS()
	t.Cleanup(srv.Close)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	writePEM(t, ca, "CERTIFICATE", srv.Certificate().Raw)
	o := f.putBlob("r.test", []byte("hello"))
	for name, tc := range map[string]struct {
		c  HostConfig
		ok bool
	}{
		"ca and client certificate": {HostConfig{CA: ca, ClientCert: clientCert, ClientKey: clientKey}, true},
		"skip_verify":               {HostConfig{SkipVerify: true, ClientCert: clientCert, ClientKey: clientKey}, true},
		"unknown ca":                {HostConfig{ClientCert: clientCert, ClientKey: clientKey}, false},
		"no client certificate":     {HostConfig{CA: ca}, false},
	} {
		t.Run(name, func(t *testing.T) {
			tc.c.Host, tc.c.URL = "r.test", srv.URL
			c := Default()
			c.Registries = []HostConfig{tc.c}
			s := newSource(t, c, Options{})
			got, err := open(t, s, whole(o))
			if tc.ok && (err != nil || string(got) != "hello") {
				t.Errorf("%q, %v", got, err)
			}
			if !tc.ok && !errors.Is(err, errdefs.ErrUnavailable) {
				t.Errorf("%v, want ErrUnavailable", err)
			}
		})
	}
	for _, bad := range []HostConfig{{CA: "/nowhere"}, {CA: clientKey}, {ClientCert: clientCert, ClientKey: "/nowhere"}} {
		bad.Host = "r.test"
		c := Default()
		c.Registries = []HostConfig{bad}
		if _, err := New(c, Options{}); err == nil {
			t.Errorf("%+v was taken", bad)
		}
	}
}

func TestProxy(t *testing.T) {
	f := newFake(t)
	o := f.putBlob("r.test", []byte("hello"))
	var asked []*url.URL
	proxy := start(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.URL)
		f.ServeHTTP(w, r)
	}))
	c := Default()
	c.Registries = []HostConfig{{Host: "r.test", PlainHTTP: true, Proxy: "http://" + proxy}}
	s := newSource(t, c, Options{})
	if got, err := open(t, s, whole(o)); err != nil || string(got) != "hello" {
		t.Fatalf("%q, %v", got, err)
	}
	if len(asked) != 1 || asked[0].Host != "r.test" {
		t.Errorf("the proxy was asked for %v", asked)
	}
}

// selfSigned makes a client certificate and its files.
func selfSigned(t *testing.T) (cert, key string, pool *x509.CertPool) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "node"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &k.PublicKey, k)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "client.pem"), filepath.Join(dir, "client.key")
	writePEM(t, cert, "CERTIFICATE", der)
	writePEM(t, key, "PRIVATE KEY", keyDER)
	pool = x509.NewCertPool()
	pool.AddCert(parsed)
	return cert, key, pool
}

func writePEM(t *testing.T, path, kind string, der []byte) {
	t.Helper()
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}
