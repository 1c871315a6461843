package oidc

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/containerd/errdefs"
	gooidc "github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/darter-p2p/darter/manager/model"
)

// Identity is who a provider says that somebody is.
type Identity struct {
	// Subject is "<issuer> <sub>": never given to another person, and not shared with
	// another issuer, whatever the provider's row is called.
	Subject string
	// Name is what the person is called there; it identifies nobody.
	Name string
	// Email is empty unless the provider has verified it; it identifies nobody either.
	Email string
}

// atOnce is how many sign-ins may wait for providers, timeout for how long one may.
const (
	atOnce  = 32
	timeout = 15 * time.Second
)

// Client signs people in. It is safe for concurrent use.
type Client struct {
	now   func() time.Time
	http  *http.Client
	turns chan struct{}
	known discoveries
}

// New returns a client; now is the clock that tokens expire by.
func New(now func() time.Time) *Client {
	return &Client{now: now, http: newHTTP(), turns: make(chan struct{}, atOnce)}
}

// Begin returns the provider's page to send a browser to, and the attempt that the browser
// keeps. redirect is the callback's URL, which the provider must know.
func (c *Client) Begin(ctx context.Context, p *model.Provider, redirect string) (page string, a Attempt, err error) {
	err = c.bounded(ctx, func(ctx context.Context) error {
		found, err := c.discover(ctx, p.Issuer)
		if err != nil {
			return err
		}
		a = Attempt{Provider: p.Name, State: random(), Nonce: random(), Verifier: oauth2.GenerateVerifier()}
		page = config(p, found, redirect).AuthCodeURL(a.State, gooidc.Nonce(a.Nonce), oauth2.S256ChallengeOption(a.Verifier))
		return nil
	})
	return page, a, err
}

// Finish returns who the browser's user is. answer is the query that the provider sent the
// browser back with; redirect is as in Begin.
func (c *Client) Finish(ctx context.Context, p *model.Provider, redirect string, a Attempt, answer url.Values) (id Identity, err error) {
	if a.Provider != p.Name || !same(answer.Get("state"), a.State) {
		return id, fmt.Errorf("the answer is not that of a sign-in that this browser began: %w", errdefs.ErrUnauthenticated)
	}
	if iss := answer.Get("iss"); iss != "" && iss != p.Issuer { // RFC 9207
		return id, fmt.Errorf("the answer is another provider's: %w", errdefs.ErrUnauthenticated)
	}
	if why := answer.Get("error"); why != "" {
		return id, fmt.Errorf("provider %s refuses: %.60q: %w", p.Name, why, errdefs.ErrPermissionDenied)
	}
	code := answer.Get("code")
	if code == "" {
		return id, fmt.Errorf("the answer has no code: %w", errdefs.ErrUnauthenticated)
	}
	err = c.bounded(ctx, func(ctx context.Context) (err error) {
		id, err = c.redeem(ctx, p, redirect, a, code)
		return err
	})
	return id, err
}

// redeem gives the code for an ID token and reads that.
func (c *Client) redeem(ctx context.Context, p *model.Provider, redirect string, a Attempt, code string) (id Identity, err error) {
	found, err := c.discover(ctx, p.Issuer)
	if err != nil {
		return id, err
	}
	token, err := config(p, found, redirect).Exchange(ctx, code, oauth2.VerifierOption(a.Verifier))
	if err != nil {
		return id, refusal(p, err)
	}
	raw, ok := token.Extra("id_token").(string)
	if !ok {
		return id, fmt.Errorf("provider %s gave no ID token: %w", p.Name, errdefs.ErrUnauthenticated)
	}
	verified, err := found.VerifierContext(ctx, &gooidc.Config{ClientID: p.ClientID, Now: c.now}).Verify(ctx, raw)
	if err != nil {
		return id, fmt.Errorf("ID token of provider %s: %w: %w", p.Name, err, errdefs.ErrUnauthenticated)
	}
	if !same(verified.Nonce, a.Nonce) {
		return id, fmt.Errorf("ID token of provider %s: it is of another sign-in: %w", p.Name, errdefs.ErrUnauthenticated)
	}
	if verified.AccessTokenHash != "" {
		if err := verified.VerifyAccessToken(token.AccessToken); err != nil {
			return id, fmt.Errorf("ID token of provider %s: %w: %w", p.Name, err, errdefs.ErrUnauthenticated)
		}
	}
	return c.read(ctx, p, found, verified, token)
}

// claims are what is read of an ID token or of the provider's answer about a user.
type claims struct {
	AuthorizedParty string `json:"azp"`
	Username        string `json:"preferred_username"`
	Name            string `json:"name"`
	Email           string `json:"email"`
	EmailVerified   any    `json:"email_verified"` // a few providers write "true"
}

// read makes an identity of an ID token. A name that it lacks is asked for.
func (c *Client) read(ctx context.Context, p *model.Provider, found *gooidc.Provider, verified *gooidc.IDToken, token *oauth2.Token) (Identity, error) {
	bad := func(what string) (Identity, error) {
		return Identity{}, fmt.Errorf("ID token of provider %s: %s: %w", p.Name, what, errdefs.ErrUnauthenticated)
	}
	var said claims
	if err := verified.Claims(&said); err != nil {
		return bad("its claims cannot be read")
	}
	if said.AuthorizedParty != "" && said.AuthorizedParty != p.ClientID {
		return bad("it is another client's")
	}
	id := Identity{Subject: verified.Issuer + " " + verified.Subject}
	if verified.Subject == "" || len(id.Subject) > model.MaxSubject {
		return bad("its subject is empty or too long")
	}
	if said.Username == "" && found.UserInfoEndpoint() != "" {
		// It only lacks a name where this fails, and the sign-in goes on.
		if more, err := found.UserInfo(ctx, oauth2.StaticTokenSource(token)); err == nil && more.Subject == verified.Subject {
			said = claims{}
			if err := more.Claims(&said); err != nil {
				said = claims{}
			}
		}
	}
	if id.Name = said.Username; id.Name == "" {
		id.Name = said.Name
	}
	if said.EmailVerified == true || said.EmailVerified == "true" {
		id.Email = said.Email
	}
	return id, nil
}

// refusal is why a code could not be redeemed. The provider's own words stay here: they
// are for the log, not for strangers.
func refusal(p *model.Provider, err error) error {
	var said *oauth2.RetrieveError
	switch {
	case !errors.As(err, &said):
		return fmt.Errorf("provider %s does not answer: %w: %w", p.Name, err, errdefs.ErrUnavailable)
	case said.ErrorCode == "invalid_grant":
		return fmt.Errorf("provider %s does not take the code: it was used, is too old or was begun elsewhere: %w", p.Name, errdefs.ErrUnauthenticated)
	}
	return fmt.Errorf("provider %s does not take this manager's client ID and secret: %w: %w", p.Name, err, errdefs.ErrUnavailable)
}

// bounded calls f with a deadline and this client's HTTP, if there is room.
func (c *Client) bounded(ctx context.Context, f func(context.Context) error) error {
	select {
	case c.turns <- struct{}{}:
	default:
		return fmt.Errorf("too many sign in at once: %w", errdefs.ErrResourceExhausted)
	}
	defer func() { <-c.turns }()
	ctx, stop := context.WithTimeout(ctx, timeout)
	defer stop()
	return f(gooidc.ClientContext(ctx, c.http))
}

func config(p *model.Provider, found *gooidc.Provider, redirect string) *oauth2.Config {
	scopes := p.Scopes
	if len(scopes) == 0 {
		scopes = []string{"profile", "email"}
	}
	return &oauth2.Config{
		ClientID: p.ClientID, ClientSecret: p.ClientSecret, Endpoint: found.Endpoint(), RedirectURL: redirect,
		Scopes: append([]string{gooidc.ScopeOpenID}, scopes...),
	}
}

func same(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }
