// Package ca is the manager as its cluster's certificate authority. A host joins with a
// token and gets a short-lived certificate, which it renews; a certificate can be revoked,
// and members hear of it on the stream that they follow (package control).
//
// A token is a secret of 256 bits, kept as its hash, and the fingerprint of the CA, so
// that the host knows whom it gives the secret to. It is good for one role, for a number
// of hosts, until a time, unless it is revoked. It does not let anybody take the name of a
// member whose certificate is still good, or of one that was revoked since it was made.
package ca

import (
	"context"
	"crypto/x509"
	"fmt"
	"time"

	"github.com/containerd/errdefs"

	"github.com/darter-p2p/darter/internal/config"
	"github.com/darter-p2p/darter/internal/pki"
	"github.com/darter-p2p/darter/manager/database"
	"github.com/darter-p2p/darter/manager/model"
)

// Config is how hosts become members.
type Config struct {
	CA   string          `toml:"ca" doc:"Directory of ca.crt and ca.key (darter ca init) of the cluster's CA, with which the manager lets hosts join. Empty = the CA that it made in data, where [identity] has no files; else no host can join by token."`
	Life config.Duration `toml:"life" doc:"How long a host's certificate is good. It is renewed when a third of that is left: for so long the manager may be away."`
}

// Default gives certificates of a week: hosts stay members over a weekend without a manager.
func Default() Config { return Config{Life: config.Duration(7 * 24 * time.Hour)} }

// Bounds of Life.
const (
	minLife = time.Minute
	maxLife = 366 * 24 * time.Hour
)

// Validate returns the first value that cannot work.
func (c Config) Validate() error {
	if l := c.Life.Duration(); l < minLife || l > maxLife {
		return fmt.Errorf("life: %v is not within %v and %v: %w", l, minLife, maxLife, errdefs.ErrInvalidArgument)
	}
	return nil
}

// MaxTokenLife bounds a token.
const MaxTokenLife = 30 * 24 * time.Hour

// Authority gives certificates. Its methods may be called concurrently.
type Authority struct {
	ca    *pki.CA
	life  time.Duration
	store *database.Store
	now   func() time.Time
}

// New returns an Authority over a CA; now is the clock. Where another manager of the
// database has another CA it is ErrFailedPrecondition.
func New(ctx context.Context, c Config, ca *pki.CA, store *database.Store, now func() time.Time) (*Authority, error) {
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("join: %w", err)
	}
	if err := store.Authority(ctx, ca.Pin(), now()); err != nil {
		return nil, fmt.Errorf("join: %w", err)
	}
	return &Authority{ca: ca, life: c.Life.Duration(), store: store, now: now}, nil
}

// NewToken keeps a token of which role, uses, comment and author are set, for life. What
// it returns is shown once.
func (a *Authority) NewToken(ctx context.Context, t *model.JoinToken, life time.Duration) (string, error) {
	if err := t.Validate(); err != nil {
		return "", err
	}
	if life <= 0 || life > MaxTokenLife {
		return "", fmt.Errorf("life: %v, want more than 0 and at most %v: %w", life, MaxTokenLife, errdefs.ErrInvalidArgument)
	}
	secret, hash := newSecret()
	t.Hash, t.UsesLeft, t.Revoked, t.ExpiresAt = hash, t.Uses, false, model.At(a.now().Add(life))
	if err := a.store.CreateJoinToken(ctx, t, a.now()); err != nil {
		return "", err
	}
	return format(secret, a.ca.Pin()), nil
}

// Application is what a host asks to become.
type Application struct {
	Token string
	Name  string
	Role  pki.Role // that it will have use for; a token of another is refused
	CSR   []byte   // PKCS #10, DER; only its key counts
}

// Join gives a certificate for a token. A token that is not good is ErrUnauthenticated,
// without saying why; one of another role, or for a name that was revoked since, is
// ErrPermissionDenied; a name that a member has is ErrAlreadyExists. None of these costs
// a use.
func (a *Authority) Join(ctx context.Context, want Application) (*x509.Certificate, error) {
	secret, err := secretOf(want.Token)
	if err != nil {
		return nil, err
	}
	now := a.now()
	t, err := a.store.JoinTokenByHash(ctx, hashOf(secret))
	if errdefs.IsNotFound(err) || err == nil && (t.Revoked || !now.Before(t.ExpiresAt.Time)) {
		return nil, errNoToken
	}
	if err != nil {
		return nil, err
	}
	if want.Role != pki.Role(t.Role) {
		return nil, fmt.Errorf("the join token is for the role %s, this host wants %.40q: %w", t.Role, string(want.Role), errdefs.ErrPermissionDenied)
	}
	cert, row, err := a.sign(want.CSR, pki.Role(t.Role), want.Name, now)
	if err != nil {
		return nil, err
	}
	row.TokenID = t.ID
	err = a.store.Admit(ctx, row, now)
	if errdefs.IsNotFound(err) {
		err = errNoToken
	}
	if err != nil {
		return nil, err
	}
	return cert, nil
}

var errNoToken = fmt.Errorf("the join token is unknown, used up, expired or revoked: %w", errdefs.ErrUnauthenticated)

// Renew gives the next certificate to a member that showed a good one.
func (a *Authority) Renew(ctx context.Context, present *x509.Certificate, csr []byte) (*x509.Certificate, error) {
	who, err := pki.NameOf(present)
	if err != nil {
		return nil, err
	}
	now := a.now()
	if now.After(present.NotAfter) {
		return nil, fmt.Errorf("the certificate has ended: join with a token: %w", errdefs.ErrUnauthenticated)
	}
	cert, row, err := a.sign(csr, who.Role, who.Name, now)
	if err != nil {
		return nil, err
	}
	err = a.store.Renew(ctx, pki.Serial(present), row, now)
	if errdefs.IsNotFound(err) {
		return nil, fmt.Errorf("the certificate was not given by a manager: it is renewed by darter ca: %w", errdefs.ErrFailedPrecondition)
	}
	if err != nil {
		return nil, err
	}
	return cert, nil
}

// sign makes a certificate and its row.
func (a *Authority) sign(csr []byte, role pki.Role, name string, now time.Time) (*x509.Certificate, *model.Certificate, error) {
	cert, err := a.ca.Sign(csr, pki.Request{Role: role, Name: name, ValidFor: a.life}, now)
	if err != nil {
		return nil, nil, err
	}
	return cert, &model.Certificate{Serial: pki.Serial(cert), Role: model.Role(role), Name: name, KeyHash: pki.KeyHash(cert), ExpiresAt: model.At(cert.NotAfter)}, nil
}

// RevokeSerial revokes a certificate by its number, also one that darter ca made. It is
// the operator's word that the number is of this CA.
func (a *Authority) RevokeSerial(ctx context.Context, serial, by string) (*model.Certificate, error) {
	if err := model.CheckSerial(serial); err != nil {
		return nil, err
	}
	return a.store.RevokeSerial(ctx, serial, by, a.now(), a.ca.Certificate().NotAfter)
}

// followEvery is how often a manager asks the database for what others revoked.
const followEvery = time.Second

// Follow has an identity, the manager's own, refuse what is revoked, until ctx ends, and
// returns nil. A database that does not answer changes nothing.
func Follow(ctx context.Context, store *database.Store, id *pki.Identity, now func() time.Time) error {
	tick := time.NewTicker(followEvery)
	defer tick.Stop()
	for {
		serials, err := store.Revoked(ctx, now())
		if err == nil {
			id.SetRevoked(serials)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}
