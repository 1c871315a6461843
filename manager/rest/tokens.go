package rest

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/containerd/errdefs"

	"github.com/darter-p2p/darter/manager/access"
	"github.com/darter-p2p/darter/manager/database"
	"github.com/darter-p2p/darter/manager/model"
)

// TokenBody is a new personal access token of the caller.
type TokenBody struct {
	Name             string   `json:"name"`
	Scopes           []string `json:"scopes"`
	ExpiresInSeconds int64    `json:"expires_in_seconds"`
}

// NewToken is a token with its secret, which is shown this once.
type NewToken struct {
	Token  model.AccessToken `json:"token"`
	Secret string            `json:"secret"`
}

func (a *API) tokenRoutes() []route {
	ownRead, ownWrite := read("tokens"), write("tokens")
	ownRead.own, ownWrite.own = true, true
	return []route{
		op(http.MethodGet, "/tokens", "listTokens", "Lists the caller's tokens, or everybody's.", ownRead,
			paged(searched, param{name: "user_id", doc: "Only those of this user.", kind: "integer"}),
			func(ctx context.Context, c *call, _ none) (Page[model.AccessToken], error) {
				q, err := c.page()
				if err != nil {
					return Page[model.AccessToken]{}, err
				}
				c.where(&q, []string{"user_id"}, nil)
				if !c.any {
					q.Where["user_id"] = c.actor.User.ID
				}
				rows, total, err := database.List[model.AccessToken](ctx, a.Store, q)
				return pageOf(rows, total, q), err
			}),
		op(http.MethodPost, "/tokens", "createToken", "Makes a token of the caller. A token cannot make another.", ownWrite, nil, a.createToken),
		op(http.MethodGet, "/tokens/{id}", "getToken", "Returns a token.", ownRead, nil, a.token),
		op(http.MethodPost, "/tokens/{id}/revoke", "revokeToken", "Makes a token worthless and keeps its row.", ownWrite, nil,
			func(ctx context.Context, c *call, _ none) (*model.AccessToken, error) {
				t, err := a.token(ctx, c, none{})
				if err != nil {
					return nil, err
				}
				t.Revoked = true
				return t, a.Store.RevokeToken(ctx, t.ID)
			}),
		op(http.MethodDelete, "/tokens/{id}", "deleteToken", "Deletes a token.", ownWrite, nil,
			func(ctx context.Context, c *call, _ none) (none, error) {
				t, err := a.token(ctx, c, none{})
				if err != nil {
					return none{}, err
				}
				return none{}, a.Store.DeleteToken(ctx, t.ID)
			}),
	}
}

func (a *API) createToken(ctx context.Context, c *call, in TokenBody) (*NewToken, error) {
	if c.actor.Token != nil {
		return nil, fmt.Errorf("a token cannot make another: %w", errdefs.ErrPermissionDenied)
	}
	life := in.ExpiresInSeconds
	if life > int64(access.MaxTokenLife/time.Second) {
		life = -1 // too long; the product below must not overflow
	}
	secret, t, err := a.Guard.NewToken(ctx, c.actor.User.ID, in.Name, in.Scopes, time.Duration(max(life, -1))*time.Second)
	if err != nil {
		return nil, err
	}
	return &NewToken{*t, secret}, nil
}

// token returns the token that the path names, if the caller may see it. A stranger's is
// not there.
func (a *API) token(ctx context.Context, c *call, _ none) (*model.AccessToken, error) {
	t, err := byID[model.AccessToken](ctx, a, c)
	if err == nil && !c.any && t.UserID != c.actor.User.ID {
		return nil, fmt.Errorf("no such token: %w", errdefs.ErrNotFound)
	}
	return t, err
}
