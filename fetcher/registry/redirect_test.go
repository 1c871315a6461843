package registry

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"

	"github.com/darter-p2p/darter/fetcher/source"
)

func mustRoot(s string) *url.URL {
	u, err := ParseRoot(s)
	if err != nil {
		panic(err)
	}
	return u
}

// oneEndpoint is a Hosts that knows the same endpoints for every host.
type oneEndpoint []Endpoint

func (h oneEndpoint) Endpoints(string) ([]Endpoint, error) { return h, nil }

func redirectTo(target string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, target+r.URL.Path+"?sig=1", http.StatusTemporaryRedirect)
	}
}

func TestRedirectDropsCredentials(t *testing.T) {
	data := []byte("hello")
	storage := newFake(t)
	storageHost := start(t, storage)
	storage.putBlob(storageHost, data)
	front := newFake(t)
	front.authorize = func(w http.ResponseWriter, r *http.Request) bool {
		redirectTo("http://"+storageHost)(w, r)
		return false
	}
	frontHost := start(t, front)
	root := mustRoot("http://" + frontHost)
	s := newSource(t, Default(), Options{Hosts: oneEndpoint{{URL: root, Resolve: true, Header: http.Header{"x-secret": {"1"}}}}})
	r := source.Request{Origin: Origin("r.test", "repo", Blobs, digest.FromBytes(data).String()), Offset: 1, Length: 3}
	r.Header = http.Header{"Authorization": {"Bearer t"}, "Cookie": {"c=1"}}
	if got, err := open(t, s, r); err != nil || string(got) != "ell" {
		t.Fatalf("%q, %v", got, err)
	}
	first, second := front.requests()[0].Header, storage.requests()[0].Header
	if first.Get("Authorization") != "Bearer t" || first.Get("Cookie") != "c=1" || first.Get("X-Secret") != "1" {
		t.Errorf("the registry did not get what is its own: %v", first)
	}
	for _, name := range []string{"Authorization", "Cookie", "X-Secret"} {
		if v := second.Get(name); v != "" {
			t.Errorf("%s: %s went to another port", name, v)
		}
	}
	if second.Get("Range") != "bytes=1-3" {
		t.Errorf("Range is %q behind the redirect", second.Get("Range"))
	}
}

// A 401 of the host behind a redirect must not make us send a password to its realm.
func TestForeignChallenge(t *testing.T) {
	a := &realm{life: 300}
	evil := newFake(t)
	evil.authorize = a.wants(start(t, a))
	evilHost := start(t, evil)
	host := start(t, redirectTo("http://"+evilHost))
	s := newSource(t, Default(), Options{})
	_, err := open(t, s, withAuth(whole(Origin(host, "repo", Blobs, someDigest)), basicAuth))
	var e *source.Error
	if !errors.As(err, &e) || e.Status != 401 || e.Header.Get("WWW-Authenticate") != "" {
		t.Errorf("%v, challenge %q", err, e.Header.Get("WWW-Authenticate"))
	}
	if a.count() != 0 {
		t.Error("a token was asked for at the realm of a foreign host")
	}
}

func TestRedirectsWithinOneHostKeepCredentials(t *testing.T) {
	var got string
	host := start(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasPrefix(r.URL.Path, "/moved") {
			http.Redirect(w, r, "/moved"+r.URL.Path, http.StatusMovedPermanently)
			return
		}
		got = r.Header.Get("Authorization")
		fmt.Fprint(w, "hello")
	}))
	s := newSource(t, Default(), Options{})
	if _, err := open(t, s, withAuth(whole(Origin(host, "repo", Blobs, someDigest)), "Bearer t")); err != nil || got != "Bearer t" {
		t.Errorf("%v, Authorization %q", err, got)
	}
}

func TestRedirectLoop(t *testing.T) {
	n := 0
	host := start(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n++
		http.Redirect(w, r, r.URL.Path, http.StatusFound)
	}))
	s := newSource(t, Default(), Options{})
	if _, err := open(t, s, whole(Origin(host, "repo", Blobs, someDigest))); !errors.Is(err, errdefs.ErrUnavailable) || n != maxRedirects+1 {
		t.Errorf("%v after %d requests", err, n)
	}
}

// outside is an endpoint under a name that is not loopback, though its packets go there.
func outside(t *testing.T, h http.Handler, resolve map[string]string) Endpoint {
	host := start(t, h)
	resolve["r.test:80"] = host
	dialer := &net.Dialer{}
	tr := newTransport(Default().Origin, nil, nil)
	tr.DialContext = GuardDial(func(ctx context.Context, network, addr string) (net.Conn, error) {
		to, ok := resolve[addr]
		if !ok {
			return nil, fmt.Errorf("no such host %s", addr)
		}
		return dialer.DialContext(ctx, network, to)
	})
	t.Cleanup(tr.CloseIdleConnections)
	return Endpoint{URL: mustRoot("http://r.test"), Transport: tr, Resolve: true}
}

func TestServersMayNotPointInside(t *testing.T) {
	inside := newFake(t)
	insideHost := start(t, inside)
	_, port, _ := net.SplitHostPort(insideHost)
	for _, target := range []string{
		"http://" + insideHost,
		"http://localhost:" + port,
		"http://x.localhost.:" + port,
		"http://[::ffff:127.0.0.1]:" + port,
		"http://0.0.0.0:" + port,
		"http://rebound.test",      // a name that resolves to loopback
		"http://reb\u00f6und.test", // dialled as xn--rebund-yxa.test
		"http://REBOUND.test",
		"http://[fe80::1%25eth0]",
		"http://169.254.169.254",
		"http://[fe80::1]",
		"http://[fd00:ec2::254]",
	} {
		for kind, h := range map[string]http.HandlerFunc{
			"redirect": redirectTo(target),
			"realm": func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("WWW-Authenticate", `Bearer realm="`+target+`/token"`)
				w.WriteHeader(401)
			},
		} {
			ep := outside(t, h, map[string]string{
				"rebound.test:80": insideHost, "REBOUND.test:80": insideHost, "xn--rebund-yxa.test:80": insideHost,
			})
			s := newSource(t, Default(), Options{Hosts: oneEndpoint{ep}})
			_, err := open(t, s, whole(Origin("r.test", "repo", Blobs, someDigest)))
			if !errors.Is(err, errUnreachable) || !errors.Is(err, errdefs.ErrUnavailable) {
				t.Errorf("%s to %s: %v", kind, target, err)
			}
		}
	}
	if n := len(inside.requests()); n != 0 {
		t.Errorf("%d requests arrived inside", n)
	}
}

func TestDowngrade(t *testing.T) {
	c := Default()
	c.Registries = []HostConfig{{Host: "plain.test", PlainHTTP: true}}
	s := newSource(t, c, Options{})
	for _, tc := range []struct {
		from, to string
		ok       bool
	}{
		{"https://a.test", "https://b.test", true},
		{"http://a.test", "https://b.test", true},
		{"http://a.test", "http://b.test", true},
		{"https://a.test", "http://a.test", false},
		{"https://a.test", "http://plain.test", true},
		{"https://127.0.0.1:1", "http://127.0.0.1:2", true},
		{"https://a.test", "http://127.0.0.1:2", false},
	} {
		if err := s.checkDowngrade(mustRoot(tc.from), mustRoot(tc.to)); (err == nil) != tc.ok {
			t.Errorf("%s → %s: %v", tc.from, tc.to, err)
		}
	}
}
