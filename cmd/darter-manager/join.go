package main

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/containerd/errdefs"

	"github.com/darter-p2p/darter/internal/pki"
	"github.com/darter-p2p/darter/manager/ca"
	"github.com/darter-p2p/darter/manager/database"
	"github.com/darter-p2p/darter/manager/rest"
)

// authority is the manager's identity, with the CA that it lets hosts join by.
type authority struct {
	id *pki.Identity
	ca *ca.Authority // nil = no host joins here
}

// newAuthority takes the CA of join.ca, or the one that the manager made for itself.
func newAuthority(ctx context.Context, cfg *Config, id *pki.Identity, store *database.Store) (*authority, error) {
	a := &authority{id: id}
	if cfg.Join.CA == "" && cfg.Identity.CA != "" {
		return a, nil
	}
	own, err := pki.LoadCA(cfg.caDir())
	if err != nil {
		return nil, fmt.Errorf("join: %w", err)
	}
	_, cert := id.Signer()
	if err := cert.CheckSignatureFrom(own.Certificate()); err != nil || own.Cluster() != id.Cluster() {
		return nil, fmt.Errorf("join.ca: %s is not the CA of identity.cert: %w", cfg.caDir(), errdefs.ErrInvalidArgument)
	}
	a.ca, err = ca.New(ctx, cfg.Join, own, store, time.Now)
	return a, err
}

// rest is the authority for the REST API; nil where there is none.
func (a *authority) rest() rest.Authority {
	if a.ca == nil {
		return nil
	}
	return a.ca
}

// credentials are those of the members' address. Where hosts join it lets in who has no
// certificate, for that one call.
func (a *authority) credentials(roles ...pki.Role) credentials.TransportCredentials {
	if a.ca == nil {
		return a.id.Guard(a.id.ServerTLS(roles...))
	}
	return a.id.Guard(a.ca.ServerTLS(a.id, roles...))
}

// register adds the service for hosts that join.
func (a *authority) register(r grpc.ServiceRegistrar) {
	if a.ca != nil {
		a.ca.Register(r)
	}
}
