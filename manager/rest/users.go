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

// SignInBody is a name and its password.
type SignInBody struct {
	Name     string `json:"name"`
	Password string `json:"password"`
}

// Me is who the caller is.
type Me struct {
	User *model.User `json:"user"`
	// Token is the name of the token that the caller is known by; absent for a browser.
	Token string `json:"token,omitempty"`
	// ExpiresAt is the end of a session that began now.
	ExpiresAt model.Time `json:"expires_at,omitzero"`
}

// NewUserBody is a new user. Without a password it can sign in through a provider only.
type NewUserBody struct {
	Name     string   `json:"name"`
	Email    string   `json:"email,omitempty"`
	Roles    []string `json:"roles"`
	Password string   `json:"password,omitempty"`
	Subject  string   `json:"subject,omitempty"`
}

// UserBody is what may be said of a user.
type UserBody struct {
	Email    string   `json:"email,omitempty"`
	Roles    []string `json:"roles"`
	Disabled bool     `json:"disabled,omitempty"`
}

// PasswordBody is a new password. A user who changes the own one says the old one, too.
type PasswordBody struct {
	Old string `json:"old,omitempty"`
	New string `json:"new"`
}

func (a *API) sessionRoutes() []route {
	return []route{
		op(http.MethodPost, "/session", "signIn", "Begins a browser's session; the answer sets its cookie.", right{}, nil, a.signIn),
		op(http.MethodGet, "/session", "whoAmI", "Says who the caller is.", right{signedIn: true}, nil,
			func(_ context.Context, c *call, _ none) (*Me, error) {
				me := &Me{User: c.actor.User}
				if c.actor.Token != nil {
					me.Token = c.actor.Token.Name
				}
				return me, nil
			}),
		op(http.MethodDelete, "/session", "signOut", "Ends the session.", right{signedIn: true}, nil,
			func(ctx context.Context, c *call, _ none) (none, error) {
				if cookie, err := c.Cookie(Cookie); err == nil {
					if err := a.Guard.SignOut(ctx, cookie.Value); err != nil {
						return none{}, err
					}
				}
				http.SetCookie(c.writer, a.cookie("", -1))
				return none{}, nil
			}),
	}
}

func (a *API) signIn(ctx context.Context, c *call, in SignInBody) (*Me, error) {
	if err := a.origin.Check(c.Request); err != nil {
		return nil, fmt.Errorf("%w: %w", err, errdefs.ErrPermissionDenied)
	}
	actor, secret, session, err := a.Guard.SignIn(ctx, in.Name, in.Password, c.remote)
	if err != nil {
		return nil, err
	}
	c.actor = actor
	http.SetCookie(c.writer, a.cookie(secret, int(access.SessionLength/time.Second)))
	return &Me{User: actor.User, ExpiresAt: session.ExpiresAt}, nil
}

func (a *API) cookie(secret string, age int) *http.Cookie {
	return &http.Cookie{
		Name: Cookie, Value: secret, Path: "/", MaxAge: age,
		HttpOnly: true, Secure: a.Secure, SameSite: http.SameSiteStrictMode,
	}
}

func (a *API) userRoutes() []route {
	ownRead, ownWrite := read("users"), write("users")
	ownRead.own, ownWrite.own = true, true
	return []route{
		op(http.MethodGet, "/users", "listUsers", "Lists users.", read("users"), paged(searched),
			func(ctx context.Context, c *call, _ none) (Page[model.User], error) {
				return list[model.User](ctx, a, c, nil, nil)
			}),
		op(http.MethodPost, "/users", "createUser", "Makes a user.", write("users"), nil, a.createUser),
		op(http.MethodGet, "/users/{id}", "getUser", "Returns a user; everybody may see oneself.", ownRead, nil, a.ownUser),
		op(http.MethodPut, "/users/{id}", "updateUser", "Writes all of a user but name and password. A user who is disabled is out at once.", write("users"), nil,
			func(ctx context.Context, c *call, in UserBody) (*model.User, error) {
				u, err := byID[model.User](ctx, a, c)
				if err != nil {
					return nil, err
				}
				u.Email, u.Roles, u.Disabled = in.Email, in.Roles, in.Disabled
				if err := a.checkUser(ctx, u); err != nil {
					return nil, err
				}
				return u, a.Store.UpdateUser(ctx, u, a.Now())
			}),
		op(http.MethodDelete, "/users/{id}", "deleteUser", "Deletes a user with sessions and tokens.", write("users"), nil, remove(a, a.Store.DeleteUser)),
		op(http.MethodPut, "/users/{id}/password", "setPassword", "Sets a password and ends the user's sessions; everybody may set the own one.", ownWrite, nil, a.setPassword),
	}
}

// checkUser checks a user and that its roles are there.
func (a *API) checkUser(ctx context.Context, u *model.User) error {
	if err := u.Validate(); err != nil {
		return err
	}
	return a.Guard.CheckRoles(ctx, u.Roles)
}

func (a *API) createUser(ctx context.Context, _ *call, in NewUserBody) (*model.User, error) {
	u := &model.User{Name: in.Name, Email: in.Email, Roles: in.Roles, Subject: in.Subject}
	if u.Roles == nil {
		u.Roles = []string{}
	}
	if err := a.checkUser(ctx, u); err != nil {
		return nil, err
	}
	if in.Password != "" {
		hash, err := a.Guard.Hash(ctx, u.Name, in.Password)
		if err != nil {
			return nil, err
		}
		u.PasswordHash = hash
	}
	return u, a.Store.CreateUser(ctx, u, a.Now())
}

// ownUser returns the user that the path names, if the caller may see it.
func (a *API) ownUser(ctx context.Context, c *call, _ none) (*model.User, error) {
	id, err := c.id()
	if err != nil {
		return nil, err
	}
	if !c.any && id != c.actor.User.ID {
		return nil, fmt.Errorf("another user: %w", errdefs.ErrPermissionDenied)
	}
	return database.Get[model.User](ctx, a.Store, id)
}

func (a *API) setPassword(ctx context.Context, c *call, in PasswordBody) (none, error) {
	u, err := a.ownUser(ctx, c, none{})
	if err != nil {
		return none{}, err
	}
	if u.ID == c.actor.User.ID && u.PasswordHash != "" {
		if _, err := a.Guard.Password(ctx, u.Name, in.Old, c.remote); err != nil {
			if errdefs.IsUnauthorized(err) {
				return none{}, fmt.Errorf("old: is not the password: %w", errdefs.ErrPermissionDenied)
			}
			return none{}, err
		}
	}
	return none{}, a.Guard.SetPassword(ctx, u, in.New)
}
