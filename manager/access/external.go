package access

import (
	"context"
	"fmt"

	"github.com/containerd/errdefs"

	"github.com/darter-p2p/darter/manager/model"
	"github.com/darter-p2p/darter/manager/oidc"
)

// External begins a session of the user who a provider says it is. The account is found by
// its subject alone: a name or a mail address at a provider is nobody's here. The first
// time one is made with the provider's roles, under the name there, or that with a number
// where it is taken. A user who is disabled is ErrPermissionDenied.
func (g *Guard) External(ctx context.Context, p *model.Provider, id oidc.Identity) (*Actor, string, *model.Session, error) {
	u := &model.User{Email: id.Email, Roles: p.Roles, Subject: id.Subject}
	if model.CheckEmail("email", u.Email) != nil {
		u.Email = ""
	}
	if len(u.Roles) == 0 {
		u.Roles = []string{model.GuestRole}
	}
	u, err := g.store.EnsureSubject(ctx, u, model.NameFrom(id.Name), g.now())
	if err != nil {
		return nil, "", nil, fmt.Errorf("account: %w", err)
	}
	actor := &Actor{User: u}
	if u.Disabled {
		return actor, "", nil, fmt.Errorf("the user %s is disabled: %w", u.Name, errdefs.ErrPermissionDenied)
	}
	secret, session, err := g.Begin(ctx, u)
	return actor, secret, session, err
}
