package access

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/containerd/errdefs"

	"github.com/darter-p2p/darter/manager/database"
	"github.com/darter-p2p/darter/manager/model"
)

// Session lengths and how long the roles that were read count. A role that was changed
// through another manager counts here after rolesAge.
const (
	SessionLength = 24 * time.Hour
	MaxTokenLife  = 10 * 365 * 24 * time.Hour
	rolesAge      = 2 * time.Second
	usedEvery     = time.Minute // how exact a token's time of use is
	hashesAtOnce  = 2
)

// Actor is who calls.
type Actor struct {
	User *model.User
	// Token is what a program called with; nil for a person.
	Token *model.AccessToken
}

// Kind is the audit's word.
func (a *Actor) Kind() string {
	switch {
	case a == nil:
		return "unknown"
	case a.Token != nil:
		return "token"
	}
	return "user"
}

// String is the audit's name: the user's, with a token's as "user/token".
func (a *Actor) String() string {
	switch {
	case a == nil:
		return ""
	case a.Token != nil:
		return a.User.Name + "/" + a.Token.Name
	}
	return a.User.Name
}

// Guard authenticates and authorizes. Its methods may be called concurrently.
type Guard struct {
	store    *database.Store
	now      func() time.Time
	hasher   *hasher
	failures failures

	mu     sync.Mutex
	policy *policy
	readAt time.Time
}

// New returns a guard over the users of a database; now is the clock. The configuration
// must be valid.
func New(c Config, store *database.Store, now func() time.Time) *Guard {
	return &Guard{store: store, now: now, hasher: newHasher(c.Cost, hashesAtOnce)}
}

// unauthenticated is all that a stranger is told.
func unauthenticated(what string) error {
	return fmt.Errorf("%s: %w", what, errdefs.ErrUnauthenticated)
}

// FirstAdministrator makes the user root where there is no user at all. With an empty
// password a random one is made and returned, to be shown once.
func (g *Guard) FirstAdministrator(ctx context.Context, password string) (made bool, random string, err error) {
	const name = "root"
	if password == "" {
		random = RandomPassword()
		password = random
	} else if err := checkPassword(name, password); err != nil {
		return false, "", fmt.Errorf("first administrator: %w", err)
	}
	// Hashing is slow, and mostly there is a user.
	if _, total, err := database.List[model.User](ctx, g.store, database.Query{Limit: 1}); err != nil || total > 0 {
		return false, "", err
	}
	hash, err := g.hasher.hash(ctx, password)
	if err != nil {
		return false, "", err
	}
	made, err = g.store.CreateFirstUser(ctx, &model.User{Name: name, Roles: []string{model.RootRole}, PasswordHash: hash}, g.now())
	if !made {
		random = ""
	}
	return made, random, err
}

// SignIn checks a password and begins a session; the secret is the browser's cookie.
// remote is the caller's address, "" where it is not known.
func (g *Guard) SignIn(ctx context.Context, name, password, remote string) (*Actor, string, *model.Session, error) {
	actor, err := g.Password(ctx, name, password, remote)
	if err != nil {
		return nil, "", nil, err
	}
	secret, session, err := g.Begin(ctx, actor.User)
	return actor, secret, session, err
}

// Begin begins a session of a user who is known to be the one.
func (g *Guard) Begin(ctx context.Context, u *model.User) (secret string, _ *model.Session, _ error) {
	secret = newSecret(sessionPrefix)
	hash, _ := hashSecret(sessionPrefix, secret)
	now := g.now()
	session := &model.Session{UserID: u.ID, Hash: hash, CreatedAt: model.At(now), ExpiresAt: model.At(now.Add(SessionLength))}
	return secret, session, g.store.CreateSession(ctx, session)
}

// Password returns the user whose password it is.
func (g *Guard) Password(ctx context.Context, name, password, remote string) (*Actor, error) {
	if len(name) > model.MaxName || len(password) > 4*MaxPassword {
		return nil, unauthenticated("wrong name or password")
	}
	if err := g.failures.begin(g.now(), name, remote); err != nil {
		return nil, err
	}
	u, err := g.store.UserByName(ctx, name)
	if err != nil && !errdefs.IsNotFound(err) {
		return nil, err
	}
	hash := ""
	if u != nil {
		hash = u.PasswordHash
	}
	ok, stale, err := g.hasher.check(ctx, password, hash)
	if err != nil {
		return nil, err
	}
	if !ok || u.Disabled {
		return nil, unauthenticated("wrong name or password")
	}
	g.failures.good(name, remote)
	if stale {
		fresh, err := g.hasher.hash(ctx, password)
		if err != nil {
			return nil, err
		}
		if err := g.store.ReplaceHash(ctx, u.ID, u.PasswordHash, fresh); err != nil {
			return nil, err
		}
	}
	return &Actor{User: u}, nil
}

// SignOut ends a session; one that is not there is no error.
func (g *Guard) SignOut(ctx context.Context, secret string) error {
	hash, ok := hashSecret(sessionPrefix, secret)
	if !ok {
		return nil
	}
	return g.store.DeleteSession(ctx, hash)
}

// Session returns whose session a cookie is.
func (g *Guard) Session(ctx context.Context, secret string) (*Actor, error) {
	hash, ok := hashSecret(sessionPrefix, secret)
	if !ok {
		return nil, unauthenticated("no session")
	}
	s, err := g.store.SessionByHash(ctx, hash)
	if err != nil {
		return nil, notKnown(err, "no session")
	}
	if !g.now().Before(s.ExpiresAt.Time) {
		return nil, unauthenticated("the session has ended")
	}
	u, err := g.enabled(ctx, s.UserID)
	if err != nil {
		return nil, err
	}
	return &Actor{User: u}, nil
}

// Bearer returns whose personal access token a secret is. Guessing is hopeless, so
// failures are not counted.
func (g *Guard) Bearer(ctx context.Context, secret string) (*Actor, error) {
	hash, ok := hashSecret(tokenPrefix, secret)
	if !ok {
		return nil, unauthenticated("no token")
	}
	t, err := g.store.TokenByHash(ctx, hash)
	if err != nil {
		return nil, notKnown(err, "no token")
	}
	now := g.now()
	switch {
	case t.Revoked:
		return nil, unauthenticated("the token is revoked")
	case !now.Before(t.ExpiresAt.Time):
		return nil, unauthenticated("the token has expired")
	}
	u, err := g.enabled(ctx, t.UserID)
	if err != nil {
		return nil, err
	}
	if now.Sub(t.UsedAt.Time) > usedEvery {
		if err := g.store.UseToken(ctx, t.ID, now); err != nil {
			return nil, err
		}
	}
	return &Actor{User: u, Token: t}, nil
}

func (g *Guard) enabled(ctx context.Context, id int64) (*model.User, error) {
	u, err := g.store.User(ctx, id)
	if err != nil {
		return nil, notKnown(err, "no such user")
	}
	if u.Disabled {
		return nil, unauthenticated("the user is disabled")
	}
	return u, nil
}

// notKnown turns "no such row" into "not believed", and leaves faults as they are.
func notKnown(err error, what string) error {
	if errdefs.IsNotFound(err) {
		return unauthenticated(what)
	}
	return err
}

// May returns nil if an actor may do an action (model.Read or Write) to a kind of object
// (one of model.Objects); own says that it is the actor's own.
func (g *Guard) May(ctx context.Context, a *Actor, object, action string, own bool) error {
	if a == nil {
		return unauthenticated("sign in")
	}
	if a.Token != nil && !inScope(a.Token.Scopes, object, action) {
		return fmt.Errorf("the token's scopes have no %s:%s: %w", object, action, errdefs.ErrPermissionDenied)
	}
	p, err := g.roles(ctx)
	if err != nil {
		return err
	}
	ok, err := p.allows(a.User.Roles, object, action, own)
	if err != nil {
		return err
	}
	if !ok {
		return fmt.Errorf("no role of %s has %s:%s: %w", a.User.Name, object, action, errdefs.ErrPermissionDenied)
	}
	return nil
}

// RolesChanged makes roles be read anew at the next call.
func (g *Guard) RolesChanged() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.policy = nil
}

func (g *Guard) roles(ctx context.Context) (*policy, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.policy != nil && g.now().Sub(g.readAt) < rolesAge {
		return g.policy, nil
	}
	roles, err := g.store.Roles(ctx)
	if err != nil {
		return nil, err
	}
	if g.policy, err = newPolicy(roles); err != nil {
		return nil, err
	}
	g.readAt = g.now()
	return g.policy, nil
}

// AllRoles returns the built-in roles and those that are kept.
func (g *Guard) AllRoles(ctx context.Context) ([]model.AccessRole, error) {
	kept, err := g.store.Roles(ctx)
	return append(builtIn(), kept...), err
}

// CheckRoles reports a role that is not there.
func (g *Guard) CheckRoles(ctx context.Context, names []string) error {
	all, err := g.AllRoles(ctx)
	if err != nil {
		return err
	}
	known := map[string]bool{}
	for _, r := range all {
		known[r.Name] = true
	}
	for _, name := range names {
		if !known[name] {
			return fmt.Errorf("roles: no role %q: %w", name, errdefs.ErrInvalidArgument)
		}
	}
	return nil
}

// BuiltIn reports whether a role is always there and cannot be changed.
func BuiltIn(name string) bool { return name == model.RootRole || name == model.GuestRole }

// Hash checks a new password and returns its hash.
func (g *Guard) Hash(ctx context.Context, name, password string) (string, error) {
	if err := checkPassword(name, password); err != nil {
		return "", err
	}
	return g.hasher.hash(ctx, password)
}

// SetPassword gives a user a new password and ends the user's sessions.
func (g *Guard) SetPassword(ctx context.Context, u *model.User, password string) error {
	hash, err := g.Hash(ctx, u.Name, password)
	if err != nil {
		return err
	}
	u.PasswordHash = hash
	return errors.Join(g.store.UpdateUser(ctx, u, g.now()), g.store.DeleteSessions(ctx, u.ID))
}

// NewToken makes a personal access token; its secret is returned once and never again.
func (g *Guard) NewToken(ctx context.Context, user int64, name string, scopes []string, life time.Duration) (string, *model.AccessToken, error) {
	if life <= 0 || life > MaxTokenLife {
		return "", nil, fmt.Errorf("expires_in_seconds: %d is not within 1 and %d: %w",
			int64(life/time.Second), int64(MaxTokenLife/time.Second), errdefs.ErrInvalidArgument)
	}
	secret := newSecret(tokenPrefix)
	hash, _ := hashSecret(tokenPrefix, secret)
	now := g.now()
	t := &model.AccessToken{UserID: user, Name: name, Hash: hash, Scopes: scopes, ExpiresAt: model.At(now.Add(life))}
	if err := t.Validate(); err != nil {
		return "", nil, err
	}
	if err := g.store.CreateToken(ctx, t, now); err != nil {
		return "", nil, err
	}
	return secret, t, nil
}
