package trust

import (
	"crypto"
	"crypto/x509"
	"fmt"
	"sync"
	"time"

	"github.com/darter-p2p/darter/internal/pki"
	"github.com/darter-p2p/darter/p2p"
)

// Members says whom to believe; *pki.Identity and *pki.CA are both of this kind.
// Methods may be called concurrently.
type Members interface {
	// Roots returns the CAs that are trusted now; another pool after a change.
	Roots() *x509.CertPool
	// Cluster returns the name that the certificates must carry.
	Cluster() string
}

// Author is who made a statement that verified.
type Author struct {
	Host p2p.HostID
	Seed bool // a configured seed; false = a node with a scheduler's token
}

// Verifier checks statements. It remembers the certificates and tokens that verified,
// so that a further statement of the same author costs one signature check. Its
// methods may be called concurrently.
type Verifier struct {
	members Members

	mu     sync.Mutex
	roots  *x509.CertPool // that the caches are about
	certs  lru[member]
	tokens lru[Token]
}

// How many certificates (seeds and schedulers of a cluster) and tokens (acting seeds
// of tasks) are remembered.
const (
	maxCerts  = 256
	maxTokens = 1024
)

// NewVerifier returns a verifier of the statements of a cluster.
func NewVerifier(m Members) *Verifier {
	return &Verifier{
		members: m,
		certs:   lru[member]{max: maxCerts},
		tokens:  lru[Token]{max: maxTokens},
	}
}

// Batch checks all that can be checked of a batch without the content: its form, the
// author's certificate at the time of signing, the author's right to speak for this
// task, and the signature. An error wraps ErrUntrusted.
func (v *Verifier) Batch(b *Batch) (Author, error) {
	if err := b.check(); err != nil {
		return Author{}, fmt.Errorf("verify batch of %s: %w: %w", b.Task.Short(), ErrUntrusted, err)
	}
	m, err := v.author(b.Task, b.Cert, b.Token, b.Signed)
	if err != nil {
		return Author{}, fmt.Errorf("verify batch of %s: %w: %w", b.Task.Short(), ErrUntrusted, err)
	}
	if !signed(m.key, domainBatch, b.appendBody(nil), b.Sig) {
		return Author{}, fmt.Errorf("verify batch of %s: %w: not signed by %s", b.Task.Short(), ErrUntrusted, m.name)
	}
	return m.author(), nil
}

// Revocation checks a revocation in the same way. The author is who revokes;
// r.Signer is whose map is revoked.
func (v *Verifier) Revocation(r *Revocation) (Author, error) {
	if err := r.check(); err != nil {
		return Author{}, fmt.Errorf("verify revocation of %s: %w: %w", r.Task.Short(), ErrUntrusted, err)
	}
	m, err := v.author(r.Task, r.Cert, r.Token, r.Signed)
	if err != nil {
		return Author{}, fmt.Errorf("verify revocation of %s: %w: %w", r.Task.Short(), ErrUntrusted, err)
	}
	if !signed(m.key, domainRevocation, r.appendBody(nil), r.Sig) {
		return Author{}, fmt.Errorf("verify revocation of %s: %w: not signed by %s", r.Task.Short(), ErrUntrusted, m.name)
	}
	return m.author(), nil
}

// Token checks an encoded token and that it lets host sign for task at the given
// time, for a host that is given one. An error wraps ErrUntrusted.
func (v *Verifier) Token(token []byte, task p2p.TaskID, host p2p.HostID, at time.Time) error {
	if err := v.token(token, task, host, wholeSeconds(at)); err != nil {
		return fmt.Errorf("verify token: %w: %w", ErrUntrusted, err)
	}
	return nil
}

// author returns the member of a certificate if it may sign for a task.
func (v *Verifier) author(task p2p.TaskID, cert, token []byte, at time.Time) (member, error) {
	m, err := v.member(cert, at)
	if err != nil {
		return member{}, err
	}
	switch {
	case m.name.Role == pki.Seed && len(token) == 0:
		return m, nil
	case m.name.Role == pki.Seed:
		return member{}, fmt.Errorf("%s is a seed and carries a token", m.name)
	case m.name.Role != pki.Node:
		return member{}, fmt.Errorf("%s is neither a seed nor a node", m.name)
	case len(token) == 0:
		return member{}, fmt.Errorf("%s is no seed and carries no token", m.name)
	}
	return m, v.token(token, task, p2p.HostID(m.name.Name), at)
}

func (v *Verifier) token(encoded []byte, task p2p.TaskID, host p2p.HostID, at time.Time) error {
	t, known := v.knownToken(encoded)
	if !known {
		var err error
		if t, err = DecodeToken(encoded); err != nil {
			return err
		}
	}
	// The scheduler's certificate is checked for each time of signing, known token or not.
	m, err := v.member(t.Cert, at)
	if err != nil {
		return fmt.Errorf("token: %w", err)
	}
	if m.name.Role != pki.Scheduler {
		return fmt.Errorf("token: %s is no scheduler", m.name)
	}
	if !known {
		if !signed(m.key, domainToken, t.appendBody(nil), t.Sig) {
			return fmt.Errorf("token: not signed by %s", m.name)
		}
		v.mu.Lock()
		v.tokens.put(string(encoded), t)
		v.mu.Unlock()
	}
	return t.covers(task, host, at)
}

func (v *Verifier) knownToken(encoded []byte) (Token, bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.tokens.get(string(encoded))
}

// member is what a certificate of the cluster says.
type member struct {
	name        pki.Name
	key         crypto.PublicKey
	begin, ends time.Time // of the whole chain
}

func (m member) author() Author {
	return Author{Host: p2p.HostID(m.name.Name), Seed: m.name.Role == pki.Seed}
}

// member returns the member of a certificate that was valid at the given time.
func (v *Verifier) member(der []byte, at time.Time) (member, error) {
	roots := v.members.Roots()
	v.mu.Lock()
	if roots != v.roots {
		v.roots, v.certs, v.tokens = roots, lru[member]{max: maxCerts}, lru[Token]{max: maxTokens}
	}
	m, known := v.certs.get(string(der))
	v.mu.Unlock()
	if known && !at.Before(m.begin) && !at.After(m.ends) {
		return m, nil
	}
	m, err := parseMember(der, roots, v.members.Cluster(), at)
	if err != nil {
		return member{}, err
	}
	v.mu.Lock()
	if roots == v.roots {
		v.certs.put(string(der), m)
	}
	v.mu.Unlock()
	return m, nil
}

func parseMember(der []byte, roots *x509.CertPool, cluster string, at time.Time) (member, error) {
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return member{}, err
	}
	chains, err := cert.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
	if err != nil {
		return member{}, fmt.Errorf("certificate %q at %s: %w", cert.Subject.CommonName, at.Format(time.RFC3339), err)
	}
	name, err := pki.NameOf(cert)
	if err != nil {
		return member{}, err
	}
	switch {
	case name.Cluster != cluster:
		return member{}, fmt.Errorf("%s is of another cluster than %q", name, cluster)
	case !signs(cert.PublicKey):
		return member{}, fmt.Errorf("%s has a %T, want ECDSA P-256 or Ed25519", name, cert.PublicKey)
	case cert.IsCA, cert.KeyUsage&x509.KeyUsageDigitalSignature == 0:
		return member{}, fmt.Errorf("%s has a certificate that is not for signatures", name)
	}
	m := member{name: name, key: cert.PublicKey, begin: cert.NotBefore, ends: cert.NotAfter}
	for _, c := range chains[0] {
		if c.NotBefore.After(m.begin) {
			m.begin = c.NotBefore
		}
		if c.NotAfter.Before(m.ends) {
			m.ends = c.NotAfter
		}
	}
	return m, nil
}
