package trust

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"

	"github.com/darter-p2p/darter/internal/pki"
	"github.com/darter-p2p/darter/p2p"
)

const hour = time.Hour

// now is when the statements of these tests are signed.
var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// authority is a CA that signs anything, for certificates that package pki would not make.
type authority struct {
	cluster string
	cert    *x509.Certificate
	key     crypto.Signer
	pool    *x509.CertPool
}

func (a *authority) Roots() *x509.CertPool { return a.pool }
func (a *authority) Cluster() string       { return a.cluster }

func newAuthority(t testing.TB) *authority {
	t.Helper()
	a := &authority{cluster: "c", key: newECDSA(t), pool: x509.NewCertPool()}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test CA"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: now.Add(-1000 * hour), NotAfter: now.Add(1000 * hour), KeyUsage: x509.KeyUsageCertSign,
	}
	a.cert = a.issue(t, template, a.key)
	a.pool.AddCert(a.cert)
	return a
}

func (a *authority) issue(t testing.TB, template *x509.Certificate, key crypto.Signer) *x509.Certificate {
	t.Helper()
	parent := a.cert
	if parent == nil {
		parent = template
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// member returns a signer for a member whose certificate is as edit left it.
func (a *authority) member(t testing.TB, role pki.Role, name string, key crypto.Signer, edit func(*x509.Certificate)) *Signer {
	t.Helper()
	u, err := url.Parse(pki.Name{Cluster: a.cluster, Role: role, Name: name}.String())
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, URIs: []*url.URL{u}, KeyUsage: x509.KeyUsageDigitalSignature,
		NotBefore: now.Add(-100 * hour), NotAfter: now.Add(100 * hour), BasicConstraintsValid: true,
	}
	if edit != nil {
		edit(template)
	}
	cert := a.issue(t, template, key)
	parsed, err := pki.NameOf(cert)
	if err != nil {
		t.Fatal(err)
	}
	return &Signer{key: key, cert: cert.Raw, name: parsed} // past what NewSigner refuses
}

func (s *Signer) with(t testing.TB, token Token) *Signer {
	t.Helper()
	c := *s
	c.token, c.grant = token.Encode(), token
	return &c
}

func newECDSA(t testing.TB) crypto.Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func newEd25519(t testing.TB) crypto.Signer {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func task(t testing.TB, content string) p2p.TaskID {
	t.Helper()
	id, err := p2p.TaskOfDigest(digest.FromString(content))
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// batchOf is an unsigned batch of pieces [first, end) of a task of 10 pieces.
func batchOf(t testing.TB, first, end p2p.Piece) Batch {
	t.Helper()
	b := Batch{Task: task(t, "a"), Geometry: p2p.GeometryFor(10 * p2p.MinPieceLength), First: first}
	for p := first; p < end; p++ {
		b.Digests = append(b.Digests, p2p.PieceDigest{byte(p), 0xda})
	}
	return b
}

func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func TestSeedSignsAndAllBelieve(t *testing.T) {
	for name, newKey := range map[string]func(testing.TB) crypto.Signer{"ECDSA P-256": newECDSA, "Ed25519": newEd25519} {
		t.Run(name, func(t *testing.T) {
			a := newAuthority(t)
			s, v := a.member(t, pki.Seed, "seed1", newKey(t), nil), NewVerifier(a)
			final := batchOf(t, 0, 10)
			final.Final = true
			for _, b := range []Batch{batchOf(t, 0, 1), batchOf(t, 3, 10), final} {
				b = must(s.Batch(b, now.Add(999*time.Millisecond)))(t)
				got := must(DecodeBatch(b.Encode()))(t)
				for range 2 { // the second time out of the cache
					author, err := v.Batch(&got)
					if err != nil || author != (Author{"seed1", true}) {
						t.Fatalf("%v, %v", author, err)
					}
				}
			}
			r := must(s.Revocation(Revocation{Task: task(t, "a"), Origin: "oci://r/x/blobs/y", Signer: "seed2", Reason: strings.Repeat("é", 1000)}, now))(t)
			got := must(DecodeRevocation(r.Encode()))(t)
			if author, err := v.Revocation(&got); err != nil || author != (Author{"seed1", true}) {
				t.Fatalf("%v, %v", author, err)
			}
		})
	}
}

func TestEmptyContentHasAFinalBatch(t *testing.T) {
	a := newAuthority(t)
	b := Batch{Task: task(t, ""), Geometry: p2p.GeometryFor(0), Final: true}
	b = must(a.member(t, pki.Seed, "s", newECDSA(t), nil).Batch(b, now))(t)
	got := must(DecodeBatch(b.Encode()))(t)
	if _, err := NewVerifier(a).Batch(&got); err != nil {
		t.Fatal(err)
	}
}

// TestWhoMaySign holds one line for every reason why a well-formed, well-signed
// statement is not believed.
func TestWhoMaySign(t *testing.T) {
	a, stranger := newAuthority(t), newAuthority(t)
	scheduler := a.member(t, pki.Scheduler, "sched", newECDSA(t), nil)
	node := a.member(t, pki.Node, "n1", newECDSA(t), nil)
	id := task(t, "a")
	token := func(s *Signer, id p2p.TaskID, h p2p.HostID, expires time.Time) Token {
		role := s.name.Role
		s = &Signer{key: s.key, cert: s.cert, name: s.name}
		s.name.Role = pki.Scheduler // past the signer's own check
		tk := must(s.Token(id, h, expires))(t)
		s.name.Role = role
		return tk
	}
	good := token(scheduler, id, "n1", now.Add(time.Minute))
	old := func(c *x509.Certificate) { c.NotAfter = now.Add(-time.Second) }
	young := func(c *x509.Certificate) { c.NotBefore = now.Add(time.Second) }
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	badSig := good
	badSig.Sig = append([]byte{}, good.Sig...)
	badSig.Sig[20] ^= 1

	for name, test := range map[string]struct {
		signer *Signer
		say    string // "" = believed
	}{
		"node with token":            {node.with(t, good), ""},
		"token ends now":             {node.with(t, token(scheduler, id, "n1", now)), ""},
		"seed":                       {a.member(t, pki.Seed, "s", newECDSA(t), nil), ""},
		"node without token":         {node, "carries no token"},
		"client":                     {a.member(t, pki.Client, "x", newECDSA(t), nil), "neither a seed nor a node"},
		"scheduler itself":           {scheduler, "neither a seed nor a node"},
		"manager with token":         {a.member(t, pki.Manager, "n1", newECDSA(t), nil).with(t, good), "neither a seed nor a node"},
		"seed with token":            {a.member(t, pki.Seed, "n1", newECDSA(t), nil).with(t, good), "carries a token"},
		"token of another task":      {node.with(t, token(scheduler, task(t, "b"), "n1", now)), "is for task"},
		"token of another host":      {node.with(t, token(scheduler, id, "n2", now)), "is for host"},
		"token ended":                {node.with(t, token(scheduler, id, "n1", now.Add(-time.Second))), "ended at"},
		"token of a node":            {node.with(t, token(node, id, "n1", now)), "no scheduler"},
		"token of a seed":            {node.with(t, token(a.member(t, pki.Seed, "s", newECDSA(t), nil), id, "n1", now)), "no scheduler"},
		"token of a stranger":        {node.with(t, token(stranger.member(t, pki.Scheduler, "sched", newECDSA(t), nil), id, "n1", now)), "unknown authority"},
		"token of an old scheduler":  {node.with(t, token(a.member(t, pki.Scheduler, "sched", newECDSA(t), old), id, "n1", now)), "expired"},
		"token with a bad signature": {node.with(t, badSig), "token: not signed by"},
		"seed of a stranger":         {stranger.member(t, pki.Seed, "s", newECDSA(t), nil), "unknown authority"},
		"seed expired":               {a.member(t, pki.Seed, "s", newECDSA(t), old), "expired"},
		"seed not yet valid":         {a.member(t, pki.Seed, "s", newECDSA(t), young), "not yet valid"},
		"P-384":                      {a.member(t, pki.Seed, "s", p384, nil), "want ECDSA P-256"},
		"not for signatures":         {a.member(t, pki.Seed, "s", newECDSA(t), func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageKeyEncipherment }), "not for signatures"},
		"another key":                {&Signer{key: newECDSA(t), cert: node.with(t, good).cert, token: good.Encode()}, "not signed by"},
		"other cluster": {a.member(t, pki.Seed, "s", newECDSA(t), func(c *x509.Certificate) {
			c.URIs = []*url.URL{{Scheme: "spiffe", Host: "d", Path: "/darter/seed/s"}}
		}), "another cluster"},
		"two identities": {a.member(t, pki.Seed, "s", newECDSA(t), nil).twoNames(t, a), "2 darter identities"},
	} {
		t.Run(name, func(t *testing.T) {
			b, r := batchOf(t, 0, 2), Revocation{Task: id, Signer: "s"}
			b.Signed, b.Cert, b.Token = now, test.signer.cert, test.signer.token
			r.Signed, r.Cert, r.Token = now, test.signer.cert, test.signer.token
			b.Sig = must(test.signer.sign(domainBatch, b.appendBody(nil)))(t)
			r.Sig = must(test.signer.sign(domainRevocation, r.appendBody(nil)))(t)
			v := NewVerifier(a)
			for range 2 { // a refusal is not forgotten by a cache
				_, batchErr := v.Batch(&b)
				_, revocationErr := v.Revocation(&r)
				for _, err := range []error{batchErr, revocationErr} {
					if test.say == "" && err != nil {
						t.Fatal(err)
					}
					if test.say != "" && (!errors.Is(err, ErrUntrusted) || !strings.Contains(err.Error(), test.say)) {
						t.Fatalf("%v\nwant ErrUntrusted and %q", err, test.say)
					}
				}
			}
		})
	}
}

// twoNames gives the signer a certificate that claims a second identity.
func (s *Signer) twoNames(t testing.TB, a *authority) *Signer {
	t.Helper()
	cert := must(x509.ParseCertificate(s.cert))(t)
	cert.URIs = append(cert.URIs, &url.URL{Scheme: "spiffe", Host: "c", Path: "/darter/seed/other"})
	cert.ExtraExtensions, cert.SerialNumber = nil, nil
	c := *s
	c.cert = a.issue(t, cert, s.key).Raw
	return &c
}

func TestSignerRefusesWhatNobodyBelieves(t *testing.T) {
	ca := must(pki.CreateCA("c", now, 100*hour))(t)
	pair := func(role pki.Role) pki.Pair {
		return must(ca.Issue(pki.Request{Role: role, Name: "n1"}, now))(t)
	}
	nodePair, schedulerPair := pair(pki.Node), pair(pki.Scheduler)
	scheduler := must(NewSigner(schedulerPair.Key, schedulerPair.Cert, nil))(t)
	token := must(scheduler.Token(task(t, "a"), "n1", now.Add(time.Minute)))(t)

	node := must(NewSigner(nodePair.Key, nodePair.Cert, nil))(t)
	if _, err := node.Batch(batchOf(t, 0, 1), now); !errors.Is(err, errdefs.ErrPermissionDenied) {
		t.Errorf("node without token: %v", err)
	}
	if _, err := node.Token(task(t, "a"), "n1", now); !errors.Is(err, errdefs.ErrPermissionDenied) {
		t.Errorf("token of a node: %v", err)
	}
	acting := must(NewSigner(nodePair.Key, nodePair.Cert, token.Encode()))(t)
	b := must(acting.Batch(batchOf(t, 0, 1), now))(t)
	v := NewVerifier(ca)
	if author, err := v.Batch(&b); err != nil || author != (Author{"n1", false}) {
		t.Errorf("acting seed: %v, %v", author, err)
	}
	if err := v.Token(token.Encode(), task(t, "a"), "n1", now); err != nil {
		t.Errorf("token: %v", err)
	}
	if err := v.Token(token.Encode(), task(t, "b"), "n1", now); !errors.Is(err, ErrUntrusted) {
		t.Errorf("token for another task: %v", err)
	}
	if _, err := acting.Batch(batchOf(t, 0, 1), now.Add(hour)); !errors.Is(err, errdefs.ErrPermissionDenied) {
		t.Errorf("after the token's end: %v", err)
	}
	if _, err := acting.Revocation(Revocation{Task: task(t, "b"), Signer: "x"}, now); !errors.Is(err, errdefs.ErrPermissionDenied) {
		t.Errorf("for another task: %v", err)
	}
	if _, err := acting.Batch(batchOf(t, 0, 0), now); !errors.Is(err, ErrMalformed) {
		t.Errorf("empty batch: %v", err)
	}
	if _, err := NewSigner(nodePair.Key, nodePair.Cert, []byte("junk")); !errors.Is(err, ErrMalformed) {
		t.Errorf("junk for a token: %v", err)
	}
	seedPair := pair(pki.Seed)
	seed := must(NewSigner(seedPair.Key, seedPair.Cert, token.Encode()))(t)
	b = must(seed.Batch(batchOf(t, 0, 1), now))(t)
	if author, err := v.Batch(&b); err != nil || !author.Seed || len(b.Token) != 0 {
		t.Errorf("a seed that was given a token: %v, %v", author, err)
	}
}

// rotating is a cluster whose CA was replaced.
type rotating struct{ *authority }

func TestNewRootsForgetTheOld(t *testing.T) {
	old, fresh := newAuthority(t), newAuthority(t)
	m := &rotating{old}
	v := NewVerifier(m)
	b := must(old.member(t, pki.Seed, "s", newECDSA(t), nil).Batch(batchOf(t, 0, 1), now))(t)
	if _, err := v.Batch(&b); err != nil {
		t.Fatal(err)
	}
	m.authority = fresh
	if _, err := v.Batch(&b); !errors.Is(err, ErrUntrusted) {
		t.Fatalf("believed by the old CA's word: %v", err)
	}
}

func TestCachedCertificateStillExpires(t *testing.T) {
	a := newAuthority(t)
	s, v := a.member(t, pki.Seed, "s", newECDSA(t), nil), NewVerifier(a)
	for _, at := range []time.Duration{0, 100 * hour, -100 * hour} {
		b := must(s.Batch(batchOf(t, 0, 1), now.Add(at)))(t)
		if _, err := v.Batch(&b); err != nil {
			t.Fatalf("at %s: %v", at, err)
		}
	}
	for _, at := range []time.Duration{101 * hour, -101 * hour} {
		b := must(s.Batch(batchOf(t, 0, 1), now.Add(at)))(t)
		if _, err := v.Batch(&b); !errors.Is(err, ErrUntrusted) {
			t.Fatalf("at %s: %v", at, err)
		}
	}
}

func TestLRUKeepsWhatWasUsedLast(t *testing.T) {
	l := lru[int]{max: 2}
	l.put("a", 1)
	l.put("b", 2)
	l.get("a")
	l.put("c", 3)
	if _, ok := l.get("b"); ok {
		t.Error("b is still there")
	}
	l.put("a", 4)
	if v, ok := l.get("a"); !ok || v != 4 || len(l.byKey) != 2 || l.order.Len() != 2 {
		t.Errorf("a = %d, %v, of %d", v, ok, l.order.Len())
	}
}
