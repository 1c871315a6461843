package trust

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"time"

	"github.com/containerd/errdefs"

	"github.com/darter-p2p/darter/internal/pki"
	"github.com/darter-p2p/darter/p2p"
)

// What a signature is over: one of these, then the statement's encoding without its
// signature. A signature of one kind of statement is none of another, nor of
// anything else that the same key signs.
const (
	domainToken      = "darter/trust/token/v1\x00"
	domainBatch      = "darter/trust/batch/v1\x00"
	domainRevocation = "darter/trust/revocation/v1\x00"
)

// Signer makes statements in the name of one certificate. It is immutable: make
// another when the certificate was replaced or another token came. Its methods may
// be called concurrently, and none blocks but for the arithmetic.
type Signer struct {
	key   crypto.Signer
	cert  []byte
	name  pki.Name
	token []byte
	grant Token // token decoded; zero without one
}

// NewSigner returns a signer with an identity's key and certificate. The token is the
// encoded Token of a scheduler, nil without one; a seed needs none, and one that is
// given to it is ignored. A key that is neither ECDSA P-256 nor Ed25519 is
// ErrInvalidArgument, a token that does not decode is ErrMalformed.
func NewSigner(key crypto.Signer, cert *x509.Certificate, token []byte) (*Signer, error) {
	name, err := pki.NameOf(cert)
	if err != nil {
		return nil, fmt.Errorf("new signer: %w", err)
	}
	if !signs(cert.PublicKey) {
		return nil, fmt.Errorf("new signer: the key of %s is a %T, want ECDSA P-256 or Ed25519: %w", name, key.Public(), errdefs.ErrInvalidArgument)
	}
	s := &Signer{key: key, cert: cert.Raw, name: name}
	if len(token) > 0 && name.Role != pki.Seed {
		s.token = append([]byte(nil), token...)
		if s.grant, err = DecodeToken(token); err != nil {
			return nil, fmt.Errorf("new signer: %w", err)
		}
	}
	return s, nil
}

// Host returns the name in the signer's certificate.
func (s *Signer) Host() p2p.HostID { return p2p.HostID(s.name.Name) }

// Token says that host may read task from the origin and sign its digests until
// expires, which is cut to whole seconds. Only a scheduler may say so
// (ErrPermissionDenied).
func (s *Signer) Token(task p2p.TaskID, host p2p.HostID, expires time.Time) (Token, error) {
	if s.name.Role != pki.Scheduler {
		return Token{}, fmt.Errorf("sign token: %s is no scheduler: %w", s.name, errdefs.ErrPermissionDenied)
	}
	t := Token{Task: task, Host: host, Expires: wholeSeconds(expires), Cert: s.cert}
	err := t.check()
	if err == nil {
		t.Sig, err = s.sign(domainToken, t.appendBody(nil))
	}
	if err != nil {
		return Token{}, fmt.Errorf("sign token: %w", err)
	}
	return t, nil
}

// Batch returns b with Signed, Cert, Token and Sig filled in. A signer that is no
// seed and has no token for this task and time gets ErrPermissionDenied: nobody
// would believe it.
func (s *Signer) Batch(b Batch, now time.Time) (Batch, error) {
	b.Signed, b.Cert, b.Token, b.Sig = wholeSeconds(now), s.cert, s.token, nil
	err := s.may(b.Task, b.Signed)
	if err == nil {
		err = b.check()
	}
	if err == nil {
		b.Sig, err = s.sign(domainBatch, b.appendBody(nil))
	}
	if err != nil {
		return Batch{}, fmt.Errorf("sign batch: %w", err)
	}
	return b, nil
}

// Revocation returns r with Signed, Cert, Token and Sig filled in. It is subject to
// the same condition as Batch. A long reason is cut.
func (s *Signer) Revocation(r Revocation, now time.Time) (Revocation, error) {
	r.Reason = cutText(r.Reason, MaxReasonLen)
	r.Signed, r.Cert, r.Token, r.Sig = wholeSeconds(now), s.cert, s.token, nil
	err := s.may(r.Task, r.Signed)
	if err == nil {
		err = r.check()
	}
	if err == nil {
		r.Sig, err = s.sign(domainRevocation, r.appendBody(nil))
	}
	if err != nil {
		return Revocation{}, fmt.Errorf("sign revocation: %w", err)
	}
	return r, nil
}

// may reports whether others will accept the signer's word on a task.
func (s *Signer) may(task p2p.TaskID, signed time.Time) error {
	switch {
	case s.name.Role == pki.Seed:
		return nil
	case s.name.Role != pki.Node || s.token == nil:
		return fmt.Errorf("%s is no seed and has no token: %w", s.name, errdefs.ErrPermissionDenied)
	}
	if err := s.grant.covers(task, s.Host(), signed); err != nil {
		return fmt.Errorf("%w: %w", err, errdefs.ErrPermissionDenied)
	}
	return nil
}

// covers reports whether the token lets host sign for task at the given time.
func (t *Token) covers(task p2p.TaskID, host p2p.HostID, signed time.Time) error {
	switch {
	case t.Task != task:
		return fmt.Errorf("the token is for task %s, not for %s", t.Task.Short(), task.Short())
	case t.Host != host:
		return fmt.Errorf("the token is for host %s, not for %s", t.Host, host)
	case signed.After(t.Expires):
		return fmt.Errorf("the token ended at %s, before the signing at %s", t.Expires.Format(time.RFC3339), signed.Format(time.RFC3339))
	}
	return nil
}

func (s *Signer) sign(domain string, body []byte) ([]byte, error) {
	if _, ok := s.key.Public().(ed25519.PublicKey); ok {
		return s.key.Sign(rand.Reader, append([]byte(domain), body...), crypto.Hash(0))
	}
	sum := hash(domain, body)
	return s.key.Sign(rand.Reader, sum[:], crypto.SHA256)
}

// signed reports whether sig is a signature of key over the domain and body.
func signed(key crypto.PublicKey, domain string, body, sig []byte) bool {
	switch key := key.(type) {
	case *ecdsa.PublicKey:
		sum := hash(domain, body)
		return ecdsa.VerifyASN1(key, sum[:], sig)
	case ed25519.PublicKey:
		return ed25519.Verify(key, append([]byte(domain), body...), sig)
	}
	return false
}

// signs reports whether statements are signed with keys of this type.
func signs(key crypto.PublicKey) bool {
	switch key := key.(type) {
	case *ecdsa.PublicKey:
		return key.Curve == elliptic.P256()
	case ed25519.PublicKey:
		return true
	}
	return false
}

func hash(domain string, body []byte) (sum [sha256.Size]byte) {
	h := sha256.New()
	h.Write([]byte(domain))
	h.Write(body)
	h.Sum(sum[:0])
	return sum
}

func wholeSeconds(t time.Time) time.Time { return time.Unix(t.Unix(), 0).UTC() }
