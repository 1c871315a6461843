package rest

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/containerd/errdefs"

	"github.com/darter-p2p/darter/manager/database"
	"github.com/darter-p2p/darter/manager/model"
)

// Authority is the manager as its cluster's certificate authority.
type Authority interface {
	// NewToken keeps a token of which role, uses, comment and author are set, for life, and
	// returns what is shown once.
	NewToken(ctx context.Context, t *model.JoinToken, life time.Duration) (string, error)
	// RevokeSerial revokes a certificate by its number, also one that no manager gave.
	RevokeSerial(ctx context.Context, serial, by string) (*model.Certificate, error)
}

// JoinTokenBody is a new join token.
type JoinTokenBody struct {
	Role             model.Role `json:"role"`
	ExpiresInSeconds int64      `json:"expires_in_seconds"`
	// Uses is how many hosts it lets join; 0 = one.
	Uses    int64  `json:"uses,omitempty"`
	Comment string `json:"comment,omitempty"`
}

// NewJoinToken is a join token with its secret, which is shown this once.
type NewJoinToken struct {
	Token  model.JoinToken `json:"token"`
	Secret string          `json:"secret"`
}

// RevocationBody says what is revoked: all of a member's certificates, or one by its number.
type RevocationBody struct {
	Role   model.Role `json:"role,omitempty"`
	Name   string     `json:"name,omitempty"`
	Serial string     `json:"serial,omitempty"`
}

// Revocation is what was revoked.
type Revocation struct {
	Certificates []model.Certificate `json:"certificates"`
	// Tokens are those that the member joined with and that are good still: revoke them too
	// where somebody else may have them.
	Tokens []model.JoinToken `json:"tokens"`
}

func (a *API) joinRoutes() []route {
	role := param{name: "role", doc: "Only those of this role.", kind: "string",
		enum: []string{string(model.RoleScheduler), string(model.RoleSeed), string(model.RoleNode)}}
	return []route{
		op(http.MethodGet, "/join-tokens", "listJoinTokens", "Lists join tokens, the newest first, without their secrets.", read("join-tokens"), paged(role),
			func(ctx context.Context, c *call, _ none) (Page[model.JoinToken], error) {
				return newest[model.JoinToken](ctx, a, c, "role")
			}),
		op(http.MethodPost, "/join-tokens", "createJoinToken", "Makes a token with which hosts become members. Its secret is shown this once.", write("join-tokens"), nil, a.createJoinToken),
		op(http.MethodGet, "/join-tokens/{id}", "getJoinToken", "Returns a join token without its secret.", read("join-tokens"), nil, get[model.JoinToken](a)),
		op(http.MethodPost, "/join-tokens/{id}/revoke", "revokeJoinToken", "Makes a join token worthless. Hosts that joined with it stay.", write("join-tokens"), nil,
			func(ctx context.Context, c *call, _ none) (*model.JoinToken, error) {
				t, err := byID[model.JoinToken](ctx, a, c)
				if err != nil {
					return nil, err
				}
				t.Revoked = true
				return t, a.Store.RevokeJoinToken(ctx, t.ID)
			}),
		op(http.MethodGet, "/certificates", "listCertificates", "Lists certificates that managers gave, or that were revoked by number, the newest first.", read("certificates"),
			paged(searched, role, param{name: "name", doc: "Only those of this member.", kind: "string"}, param{name: "revoked", doc: "Only those that were revoked.", kind: "boolean"}),
			func(ctx context.Context, c *call, _ none) (Page[model.Certificate], error) {
				return newest[model.Certificate](ctx, a, c, "role", "name")
			}),
		op(http.MethodPost, "/certificates/revoke", "revokeCertificates",
			"Revokes all certificates of a member (role and name), or one by its serial number, also one of darter ca. Members refuse it within seconds and close what it has open.",
			write("certificates"), nil, a.revokeCertificates),
	}
}

// newest is a part of a list, the newest first, of those that have what texts ask for.
func newest[T rows](ctx context.Context, a *API, c *call, texts ...string) (Page[T], error) {
	q, err := c.page()
	if err != nil {
		return Page[T]{}, err
	}
	q.Newest = true
	c.where(&q, nil, texts)
	if c.query.Get("revoked") == "true" {
		q.Set = "revoked_at"
	}
	list, total, err := database.List[T](ctx, a.Store, q)
	return pageOf(list, total, q), err
}

// errNoAuthority is the answer of a manager that has no CA.
func errNoAuthority() error {
	return fmt.Errorf("this manager has no CA: set join.ca in its configuration: %w", errdefs.ErrFailedPrecondition)
}

func (a *API) createJoinToken(ctx context.Context, c *call, in JoinTokenBody) (*NewJoinToken, error) {
	if a.Authority == nil {
		return nil, errNoAuthority()
	}
	t := &model.JoinToken{Role: in.Role, Uses: in.Uses, Comment: in.Comment, Author: c.actor.String()}
	if t.Uses == 0 {
		t.Uses = 1
	}
	life := in.ExpiresInSeconds
	if life > int64(maxTokenLife/time.Second) {
		life = -1 // too long; the product below must not overflow
	}
	secret, err := a.Authority.NewToken(ctx, t, time.Duration(max(life, -1))*time.Second)
	if err != nil {
		return nil, err
	}
	return &NewJoinToken{*t, secret}, nil
}

// maxTokenLife is longer than any token's.
const maxTokenLife = 366 * 24 * time.Hour

func (a *API) revokeCertificates(ctx context.Context, c *call, in RevocationBody) (out *Revocation, err error) {
	out = &Revocation{Certificates: []model.Certificate{}, Tokens: []model.JoinToken{}}
	switch {
	case (in.Serial == "") == (in.Role == "" && in.Name == ""):
		return nil, fmt.Errorf("serial, or role and name: one of the two: %w", errdefs.ErrInvalidArgument)
	case in.Serial != "" && a.Authority == nil:
		return nil, errNoAuthority()
	case in.Serial != "":
		one, err := a.Authority.RevokeSerial(ctx, in.Serial, c.actor.String())
		if err != nil {
			return nil, err
		}
		out.Certificates = append(out.Certificates, *one)
	default:
		revoked, err := a.Store.RevokeMember(ctx, in.Role, in.Name, c.actor.String(), a.Now())
		if err != nil {
			return nil, err
		}
		if len(revoked) == 0 {
			return nil, fmt.Errorf("no good certificate of %.20s %.130q was given by a manager (one of darter ca is revoked by its serial): %w",
				in.Role, in.Name, errdefs.ErrNotFound)
		}
		out.Certificates = revoked
	}
	if out.Tokens, err = a.goodTokens(ctx, out.Certificates); err != nil {
		return nil, err
	}
	return out, a.changed(nil)
}

// goodTokens returns the tokens that certificates come from, those that are good still.
func (a *API) goodTokens(ctx context.Context, certificates []model.Certificate) ([]model.JoinToken, error) {
	good, seen := []model.JoinToken{}, map[int64]bool{0: true}
	for _, one := range certificates {
		if seen[one.TokenID] {
			continue
		}
		seen[one.TokenID] = true
		t, err := database.Get[model.JoinToken](ctx, a.Store, one.TokenID)
		switch {
		case errdefs.IsNotFound(err): // long ago
		case err != nil:
			return nil, err
		case t.Good(model.At(a.Now())):
			good = append(good, *t)
		}
	}
	return good, nil
}
