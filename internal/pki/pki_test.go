package pki

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
)

const day = 24 * time.Hour

func newTestCA(t testing.TB, cluster string) *CA {
	t.Helper()
	ca, err := CreateCA(cluster, time.Now(), 100*day)
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

func mustURL(t testing.TB, s string) *url.URL {
	t.Helper()
	u, err := url.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func TestParseName(t *testing.T) {
	good := map[string]Name{
		"spiffe://c1/darter/node/host-1.example_a": {"c1", Node, "host-1.example_a"},
		"spiffe://prod.eu/darter/scheduler/S":      {"prod.eu", Scheduler, "S"},
	}
	for s, want := range good {
		got, err := ParseName(s)
		if err != nil || got != want {
			t.Errorf("ParseName(%q) = %v, %v", s, got, err)
		}
		if got.String() != s {
			t.Errorf("%q is printed as %q", s, got.String())
		}
	}
	for _, s := range []string{
		"", "spiffe://", "spiffe://c", "http://c/darter/node/a", "spiffe://c/darter/node", "spiffe://c/darter/node/",
		"spiffe://c/darter/node/a/b", "spiffe://c/other/node/a", "spiffe://c/darter/root/a", "spiffe:///darter/node/a",
		"spiffe://C/darter/node/a", "spiffe://c:1/darter/node/a", "spiffe://u@c/darter/node/a", "spiffe://c/darter/node/a?b",
		"spiffe://c/darter/node/a#b", "spiffe://c/darter/node/a%20b", "spiffe://c/darter/node/..", "spiffe://c/darter/Node/a",
		"spiffe://c/darter/node/" + strings.Repeat("x", 129),
	} {
		if n, err := ParseName(s); !errors.Is(err, errdefs.ErrInvalidArgument) {
			t.Errorf("ParseName(%q) = %v, %v, want ErrInvalidArgument", s, n, err)
		}
	}
}

func FuzzParseName(f *testing.F) {
	f.Add("spiffe://c/darter/node/a")
	f.Add("spiffe://c/darter/seed/%2e%2e")
	f.Fuzz(func(t *testing.T, s string) {
		n, err := ParseName(s)
		if err != nil {
			return
		}
		if n.String() != s {
			t.Fatalf("%q is printed as %q", s, n)
		}
		if u, err := url.Parse(s); err != nil || u.String() != s {
			t.Fatalf("%q does not survive as a URL: %v", s, err)
		}
	})
}

func TestNameOfWantsExactlyOneIdentity(t *testing.T) {
	one, two := mustURL(t, "spiffe://c/darter/node/a"), mustURL(t, "spiffe://c/darter/seed/a")
	web := mustURL(t, "https://example.org/")
	for name, test := range map[string]struct {
		uris []*url.URL
		ok   bool
	}{
		"none":            {nil, false},
		"one":             {[]*url.URL{one}, true},
		"one and another": {[]*url.URL{web, one}, true},
		"two identities":  {[]*url.URL{one, two}, false},
		"not darter's":    {[]*url.URL{mustURL(t, "spiffe://c/ns/default/sa/x")}, false},
	} {
		n, err := NameOf(&x509.Certificate{Subject: pkix.Name{CommonName: "x"}, URIs: test.uris})
		if test.ok && (err != nil || n != Name{"c", Node, "a"}) {
			t.Errorf("%s: %v, %v", name, n, err)
		}
		if !test.ok && (!errors.Is(err, errdefs.ErrUnauthenticated) || !strings.Contains(err.Error(), "darter ca issue")) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestIssueRefuses(t *testing.T) {
	ca, now := newTestCA(t, "c"), time.Now()
	for name, r := range map[string]Request{
		"role":     {Role: "king", Name: "a"},
		"no name":  {Role: Node},
		"bad name": {Role: Node, Name: "a/b"},
		"validity": {Role: Node, Name: "a", ValidFor: -1},
	} {
		if _, err := ca.Issue(r, now); !errors.Is(err, errdefs.ErrInvalidArgument) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := ca.Issue(Request{Role: Node, Name: "a"}, now.Add(101*day)); !errors.Is(err, errdefs.ErrFailedPrecondition) {
		t.Errorf("after the CA's end: %v", err)
	}
	p, err := ca.Issue(Request{Role: Node, Name: "a", ValidFor: 1000 * day}, now)
	if err != nil || !p.Cert.NotAfter.Equal(ca.cert.NotAfter) {
		t.Errorf("a certificate longer than its CA: ends %v, %v", p.Cert.NotAfter, err)
	}
	for _, cluster := range []string{"", "Upper", "a/b", "a b"} {
		if _, err := CreateCA(cluster, now, day); !errors.Is(err, errdefs.ErrInvalidArgument) {
			t.Errorf("cluster %q: %v", cluster, err)
		}
	}
}

func TestFilesRoundTrip(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "pki")
	ca := newTestCA(t, "c")
	if err := ca.Write(dir); err != nil {
		t.Fatal(err)
	}
	if err := ca.Write(dir); !errors.Is(err, errdefs.ErrAlreadyExists) {
		t.Fatalf("a second CA in %s: %v", dir, err)
	}
	loaded, err := LoadCA(dir)
	if err != nil || loaded.Cluster() != "c" {
		t.Fatalf("LoadCA: %v", err)
	}
	files := writeMember(t, loaded, dir, Request{Role: Seed, Name: "s1"})
	for path, mode := range map[string]os.FileMode{files.Key: 0o600, files.Cert: 0o644, filepath.Join(dir, "ca.key"): 0o600} {
		if fi, err := os.Stat(path); err != nil || fi.Mode().Perm() != mode {
			t.Errorf("%s: mode %v, %v, want %v", path, fi.Mode(), err, mode)
		}
	}
	left, _ := filepath.Glob(filepath.Join(dir, ".tmp-*"))
	if len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	id, err := Load(files)
	if err != nil || id.Name() != (Name{"c", Seed, "s1"}) {
		t.Fatalf("Load: %v, %v", id.Name(), err)
	}
	writeMember(t, loaded, dir, Request{Role: Seed, Name: "s1"}) // renewed in place

	p, err := loaded.Issue(Request{Role: Node, Name: "s1"}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Write(dir); !errors.Is(err, errdefs.ErrAlreadyExists) {
		t.Errorf("another role under the same name: %v", err)
	}
	if p, _ = loaded.Issue(Request{Role: Node, Name: "ca"}, time.Now()); p.Cert != nil {
		if _, err := p.Write(dir); !errors.Is(err, errdefs.ErrInvalidArgument) {
			t.Errorf("a member called ca: %v", err)
		}
	}
}

func writeMember(t testing.TB, ca *CA, dir string, r Request) Files {
	t.Helper()
	p, err := ca.Issue(r, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	f, err := p.Write(dir)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestLoadSaysWhatIsWrong(t *testing.T) {
	dir, otherDir := t.TempDir(), t.TempDir()
	ca, other := newTestCA(t, "c"), newTestCA(t, "c")
	for d, c := range map[string]*CA{dir: ca, otherDir: other} {
		if err := c.Write(d); err != nil {
			t.Fatal(err)
		}
	}
	good := writeMember(t, ca, dir, Request{Role: Node, Name: "a"})
	second := writeMember(t, ca, dir, Request{Role: Node, Name: "b"})

	write := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	past, err := CreateCA("c", time.Now().Add(-50*day), 100*day)
	if err != nil {
		t.Fatal(err)
	}
	pastDir := t.TempDir()
	if err := past.Write(pastDir); err != nil {
		t.Fatal(err)
	}
	p, err := past.Issue(Request{Role: Node, Name: "old", ValidFor: day}, time.Now().Add(-10*day))
	if err != nil {
		t.Fatal(err)
	}
	expired, err := p.Write(pastDir)
	if err != nil {
		t.Fatal(err)
	}

	for name, test := range map[string]struct {
		files Files
		class error
		say   string
	}{
		"missing":     {Files{good.CA, filepath.Join(dir, "none.crt"), good.Key}, errdefs.ErrNotFound, "darter ca issue"},
		"other key":   {Files{good.CA, good.Cert, second.Key}, errdefs.ErrInvalidArgument, "is not the key of"},
		"other CA":    {Files{filepath.Join(otherDir, "ca.crt"), good.Cert, good.Key}, errdefs.ErrUnauthenticated, "another CA"},
		"expired":     {expired, errdefs.ErrUnauthenticated, "expired at"},
		"CA as node":  {Files{good.CA, good.CA, filepath.Join(dir, "ca.key")}, errdefs.ErrUnauthenticated, "darter ca issue"},
		"not PEM":     {Files{write("x", "hello"), good.Cert, good.Key}, errdefs.ErrInvalidArgument, "no certificate"},
		"no key":      {Files{good.CA, good.Cert, good.Cert}, errdefs.ErrInvalidArgument, "no private key"},
		"broken cert": {Files{write("y", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"), good.Cert, good.Key}, errdefs.ErrInvalidArgument, "malformed"},
	} {
		_, err := Load(test.files)
		if !errors.Is(err, test.class) || !strings.Contains(err.Error(), test.say) {
			t.Errorf("%s: %v\nwant class %v and %q", name, err, test.class, test.say)
		}
	}
}
