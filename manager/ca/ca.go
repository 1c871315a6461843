// Package ca is the manager as its cluster's certificate authority. A host joins with a
// token and gets a short-lived certificate, which it renews; a certificate can be revoked,
// and members hear of it.
//
// A token is a secret of 256 bits, kept as its hash, and the fingerprint of the CA, so
// that the host knows whom it gives the secret to. It is good for one role, for a number
// of hosts, until a time, unless it is revoked. It does not let anybody take the name of a
// member whose certificate is still good.
package ca

import (
	"context"
	"crypto/x509"
	"fmt"
	"slices"
	"time"

	"github.com/containerd/errdefs"

	"github.com/darter-p2p/darter/internal/pki"
)

// Token lets hosts join.
type Token struct {
	ID      int64     `json:"id"`
	Hash    string    `json:"-"`
	Role    pki.Role  `json:"role"`
	Comment string    `json:"comment,omitempty"`
	Uses    int       `json:"uses"` // left
	Expires time.Time `json:"expires_at"`
	Revoked bool      `json:"revoked"`
}

// Certificate is one that was given.
type Certificate struct {
	Serial  string    `json:"serial"`
	Role    pki.Role  `json:"role"`
	Name    string    `json:"name"`
	Expires time.Time `json:"expires_at"`
	Revoked bool      `json:"revoked"`
}

// Store keeps tokens and certificates. Methods may be called concurrently, also by
// several managers.
type Store interface {
	// CreateJoinToken keeps a token and sets its ID.
	CreateJoinToken(ctx context.Context, t *Token) error
	// UseJoinToken takes one use of the token with this hash that is good at now, in one
	// step; ErrNotFound where there is none such.
	UseJoinToken(ctx context.Context, hash string, now time.Time) (*Token, error)
	// RevokeJoinToken ends a token.
	RevokeJoinToken(ctx context.Context, id int64) error
	// AddCertificate keeps a certificate. Where replaces is false and another of the same
	// role and name is good at now, it is ErrAlreadyExists.
	AddCertificate(ctx context.Context, c Certificate, replaces bool, now time.Time) error
	// Certificate returns the certificate with a serial number.
	Certificate(ctx context.Context, serial string) (*Certificate, error)
	// RevokeMember revokes every certificate of a member that is good at now.
	RevokeMember(ctx context.Context, role pki.Role, name string, now time.Time) (int, error)
	// RevokedCertificates lists those that would be good at now.
	RevokedCertificates(ctx context.Context, now time.Time) ([]Certificate, error)
}

// Life is how long a certificate that a manager gives is good.
const Life = 24 * time.Hour

// MaxTokenLife bounds a token.
const MaxTokenLife = 30 * 24 * time.Hour

// joining are the roles that hosts may join with.
var joining = []pki.Role{pki.Node, pki.Seed, pki.Scheduler}

// Authority gives certificates.
type Authority struct {
	ca    *pki.CA
	store Store
	now   func() time.Time
}

// New returns an Authority over a CA.
func New(ca *pki.CA, st Store, now func() time.Time) *Authority { return &Authority{ca, st, now} }

// NewToken makes a token for hosts of a role. What it returns first is shown once.
func (a *Authority) NewToken(ctx context.Context, role pki.Role, life time.Duration, uses int, comment string) (string, *Token, error) {
	switch {
	case !slices.Contains(joining, role):
		return "", nil, fmt.Errorf("role: %.40q, want node, seed or scheduler: %w", string(role), errdefs.ErrInvalidArgument)
	case life <= 0 || life > MaxTokenLife:
		return "", nil, fmt.Errorf("life: %v, want more than 0 and at most %v: %w", life, MaxTokenLife, errdefs.ErrInvalidArgument)
	case uses < 1 || uses > 100_000:
		return "", nil, fmt.Errorf("uses: %d, want 1 to 100000: %w", uses, errdefs.ErrInvalidArgument)
	}
	secret, hash := newSecret()
	t := &Token{Hash: hash, Role: role, Comment: comment, Uses: uses, Expires: a.now().Add(life)}
	if err := a.store.CreateJoinToken(ctx, t); err != nil {
		return "", nil, err
	}
	return format(secret, a.ca.Pin()), t, nil
}

// Join gives a certificate for a token. A token that is not good is ErrUnauthenticated,
// without saying why; a name that a member has is ErrAlreadyExists.
func (a *Authority) Join(ctx context.Context, token, name string, csr []byte) (*x509.Certificate, error) {
	secret, err := secretOf(token)
	if err != nil {
		return nil, err
	}
	// What cannot be signed must not cost a use.
	now := a.now()
	if _, err := a.ca.Sign(csr, pki.Request{Role: pki.Node, Name: name, ValidFor: Life}, now); err != nil {
		return nil, err
	}
	t, err := a.store.UseJoinToken(ctx, hashOf(secret), now)
	if errdefs.IsNotFound(err) {
		return nil, fmt.Errorf("the join token is unknown, used up, expired or revoked: %w", errdefs.ErrUnauthenticated)
	}
	if err != nil {
		return nil, err
	}
	return a.give(ctx, t.Role, name, csr, false)
}

// Renew gives the next certificate to a member that showed a good one.
func (a *Authority) Renew(ctx context.Context, present *x509.Certificate, csr []byte) (*x509.Certificate, error) {
	who, err := pki.NameOf(present)
	if err != nil {
		return nil, err
	}
	if !slices.Contains(joining, who.Role) {
		return nil, fmt.Errorf("certificates of role %s are not renewed here: %w", who.Role, errdefs.ErrPermissionDenied)
	}
	if c, err := a.store.Certificate(ctx, pki.Serial(present)); err != nil && !errdefs.IsNotFound(err) {
		return nil, err
	} else if err == nil && c.Revoked {
		return nil, fmt.Errorf("the certificate was revoked: %w", errdefs.ErrUnauthenticated)
	} else if err != nil {
		return nil, fmt.Errorf("the certificate was not given by a manager: it is renewed by darter ca: %w", errdefs.ErrPermissionDenied)
	}
	return a.give(ctx, who.Role, who.Name, csr, true)
}

func (a *Authority) give(ctx context.Context, role pki.Role, name string, csr []byte, replaces bool) (*x509.Certificate, error) {
	now := a.now()
	cert, err := a.ca.Sign(csr, pki.Request{Role: role, Name: name, ValidFor: Life}, now)
	if err != nil {
		return nil, err
	}
	c := Certificate{Serial: pki.Serial(cert), Role: role, Name: name, Expires: cert.NotAfter}
	if err := a.store.AddCertificate(ctx, c, replaces, now); err != nil {
		if errdefs.IsAlreadyExists(err) {
			return nil, fmt.Errorf("%s %q is a member with a good certificate; revoke it first: %w", role, name, err)
		}
		return nil, err
	}
	return cert, nil
}

// Revoke puts a member out: its certificates, and with them its way to renew them.
func (a *Authority) Revoke(ctx context.Context, role pki.Role, name string) (int, error) {
	return a.store.RevokeMember(ctx, role, name, a.now())
}

// Revoked lists the serial numbers that members are to refuse.
func (a *Authority) Revoked(ctx context.Context) ([]string, error) {
	all, err := a.store.RevokedCertificates(ctx, a.now())
	if err != nil {
		return nil, err
	}
	serials := make([]string, len(all))
	for i, c := range all {
		serials[i] = c.Serial
	}
	return serials, nil
}
