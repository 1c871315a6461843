package fetcher

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/containerd/errdefs"

	"github.com/darter-p2p/darter/fetcher/access"
	"github.com/darter-p2p/darter/fetcher/source"
	"github.com/darter-p2p/darter/p2p"
	"github.com/darter-p2p/darter/p2p/node"
)

// Bearers gets the tokens that stand for passwords; *registry.Source is one.
type Bearers interface {
	// Bearer returns a short-lived token for the password in r.Header at r.Origin, or
	// ErrNotFound where the origin gives none.
	Bearer(ctx context.Context, r source.Request) (p2p.Secret, error)
}

// credential is what a reader lends to the piece network for as long as he reads.
type credential struct {
	bearers Bearers // nil = none
	origin  p2p.Origin
	own     string // Authorization
}

// lend returns the reader's credential, nil if he has none.
func (l *Local) lend(w wish) node.Credential {
	own := w.header.Get("Authorization")
	if own == "" || w.origin == "" || w.open {
		return nil
	}
	bearers, _ := l.origin.(Bearers)
	return credential{bearers: bearers, origin: w.origin, own: own}
}

// Own implements node.Credential.
func (c credential) Own() p2p.Secret { return p2p.Secret(c.own) }

// Bearer implements node.Credential. The reader's own token travels if it says that it
// ends soon; a password stays here, and the token travels that it is good for.
func (c credential) Bearer(ctx context.Context) (p2p.Secret, error) {
	if token := access.Bearer(c.own); token != "" {
		if access.Travels(token, time.Now()) {
			return token, nil
		}
		return "", fmt.Errorf("the reader's token does not say that it ends soon: %w", errdefs.ErrNotFound)
	}
	if c.bearers == nil {
		return "", fmt.Errorf("no token for a password: %w", errdefs.ErrNotFound)
	}
	return c.bearers.Bearer(ctx, source.Request{Origin: c.origin, Header: http.Header{"Authorization": {c.own}}})
}

// String hides the credential from logs.
func (credential) String() string { return "(secret)" }

// GoString hides the credential from logs.
func (credential) GoString() string { return "(secret)" }
