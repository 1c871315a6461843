package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/darter-p2p/darter/internal/config"
	"github.com/darter-p2p/darter/manager/model"
)

// sessionCookie is the name of the cookie that a sign-in by password begins with.
const sessionCookie = "darter_session"

// login is darter login.
type login struct {
	manager managerClient
	user    string
	token   bool
	life    string
	format  string
}

func loginCommand() *cobra.Command {
	l := &login{manager: managerClient{http: &http.Client{Timeout: time.Minute}}}
	c := &cobra.Command{
		Use:   "login [URL]",
		Short: "Sign in at a manager, or say who is signed in",
		Long: `login makes a personal access token at the manager and keeps it in darter/manager.json
below ~/.config, readable by its owner alone; the other commands that ask a manager use
it. The password is asked for, or read from standard input. With --token a token is read
in its place: one that was made by another way, such as for a user who signs in through
an OpenID Connect provider.

Without a URL it says who is signed in. ` + tokenVariable + ` and ` + managerVariable + ` go before what is kept.`,
		Example: `  darter login https://manager.example:8080 --user root
  darter login https://manager.example:8080 --user ci --life 90d < password
  darter login https://manager.example:8080 --token < token`,
		Args: usage(cobra.MaximumNArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			if err := checkFormat(l.format); err != nil {
				return err
			}
			if len(args) == 0 {
				return l.show(c)
			}
			l.manager.url = args[0]
			return l.run(c)
		},
	}
	c.Flags().StringVar(&l.user, "user", "root", "who signs in")
	c.Flags().BoolVar(&l.token, "token", false, "read a personal access token from standard input, not a password")
	c.Flags().StringVar(&l.life, "life", "7d", "how long the sign-in lasts")
	formatFlag(c, &l.format)
	return c
}

func logoutCommand() *cobra.Command {
	return &cobra.Command{
		Use: "logout", Short: "Forget the sign-in at the manager, and have the manager forget it", Args: usage(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			kept, err := readCredentials()
			if err == nil && kept.TokenID > 0 {
				m := managerClient{url: kept.Manager, http: &http.Client{Timeout: time.Minute}, as: bearer(kept.Token)}
				if err := m.ask(c.Context(), http.MethodDelete, fmt.Sprintf("/tokens/%d", kept.TokenID), nil, nil); err != nil {
					fmt.Fprintf(c.ErrOrStderr(), "the manager still knows the token until it expires: %v\n", err)
				}
			}
			return forgetCredentials()
		},
	}
}

func bearer(token string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token) }
}

// me is who the manager says that the caller is.
type me struct {
	User  model.User `json:"user"`
	Token string     `json:"token,omitempty"`
}

// show says who is signed in.
func (l *login) show(c *cobra.Command) error {
	who, err := l.manager.caller()
	if err != nil {
		return err
	}
	var one me
	if err := l.manager.ask(c.Context(), http.MethodGet, "/session", nil, &one); err != nil {
		return err
	}
	if l.format == "json" {
		return encode(c.OutOrStdout(), map[string]any{"manager": who.url, "user": one.User, "token": one.Token})
	}
	_, err = fmt.Fprintf(c.OutOrStdout(), "%s as %s (%s), by the token %s\n", who.url, printable(one.User.Name), printable(strings.Join(one.User.Roles, ", ")), printable(one.Token))
	return err
}

func (l *login) run(c *cobra.Command) error {
	life, err := config.ParseDuration(l.life)
	if err != nil {
		return fmt.Errorf("--life: %w: %w", err, errdefs.ErrInvalidArgument)
	}
	who, err := l.manager.caller()
	if err != nil {
		return err
	}
	if travelsInClear(who.url) {
		fmt.Fprintln(c.ErrOrStderr(), "warning: http: whoever is between reads the password and the token")
	}
	what := "Password of " + l.user
	if l.token {
		what = "Token"
	}
	secret, err := readSecret(c.InOrStdin(), c.ErrOrStderr(), what)
	if err != nil {
		return err
	}
	kept := credentials{Manager: who.url, Token: secret}
	if l.token {
		err = l.byToken(c.Context(), &kept)
	} else {
		err = l.byPassword(c.Context(), &kept, secret, life.Duration())
	}
	if err != nil {
		return err
	}
	path, err := kept.write()
	if err != nil {
		return err
	}
	if l.format == "json" {
		kept.Token = ""
		return encode(c.OutOrStdout(), kept)
	}
	until := ""
	if !kept.ExpiresAt.IsZero() {
		until = " until " + kept.ExpiresAt.Local().Format(time.DateTime)
	}
	_, err = fmt.Fprintf(c.OutOrStdout(), "Signed in at %s as %s%s; kept in %s\n", kept.Manager, printable(kept.User), until, path)
	return err
}

// byToken looks that the manager takes a token.
func (l *login) byToken(ctx context.Context, kept *credentials) error {
	l.manager.as = bearer(kept.Token)
	var one me
	if err := l.manager.ask(ctx, http.MethodGet, "/session", nil, &one); err != nil {
		return err
	}
	kept.User = one.User.Name
	return nil
}

// byPassword begins a session, makes a token with it, and ends the session.
func (l *login) byPassword(ctx context.Context, kept *credentials, password string, life time.Duration) error {
	l.manager.as = func(*http.Request) {}
	var one me
	cookies, err := l.manager.do(ctx, http.MethodPost, "/session", map[string]string{"name": l.user, "password": password}, &one)
	if err != nil {
		var f *failure
		if errors.As(err, &f) && f.code == exitUnauthorized {
			return &failure{exitUnauthorized, fmt.Errorf("%s does not take %s: wrong name or password, or the user is disabled", kept.Manager, printable(l.user))}
		}
		return err
	}
	l.manager.as = func(r *http.Request) {
		for _, c := range cookies {
			if c.Name == sessionCookie {
				r.AddCookie(c)
			}
		}
	}
	host, err := os.Hostname()
	if err != nil {
		host = "host"
	}
	var made struct {
		Token  model.AccessToken `json:"token"`
		Secret string            `json:"secret"`
	}
	err = l.manager.ask(ctx, http.MethodPost, "/tokens", map[string]any{
		"name": model.NameFrom("login-"+host) + "-" + strings.ToLower(rand.Text()[:8]), "scopes": []string{"*"}, "expires_in_seconds": int64(life / time.Second),
	}, &made)
	kept.User, kept.Token, kept.TokenID, kept.ExpiresAt = one.User.Name, made.Secret, made.Token.ID, made.Token.ExpiresAt.Time
	return errors.Join(err, l.manager.ask(ctx, http.MethodDelete, "/session", nil, nil))
}

// maxSecret bounds a password or token, in bytes.
const maxSecret = 8 << 10

// readSecret reads a line, without showing it where a person types it.
func readSecret(in io.Reader, notes io.Writer, what string) (string, error) {
	var text []byte
	var err error
	if f, ok := in.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		fmt.Fprintf(notes, "%s: ", what)
		text, err = term.ReadPassword(int(f.Fd()))
		fmt.Fprintln(notes)
	} else {
		text, err = io.ReadAll(io.LimitReader(in, maxSecret))
	}
	if err != nil {
		return "", fmt.Errorf("read the %s: %w", strings.ToLower(what), err)
	}
	secret := strings.TrimRight(string(text), "\r\n")
	if secret == "" || strings.ContainsAny(secret, "\r\n") {
		return "", fmt.Errorf("standard input has no line with the %s: %w", strings.ToLower(what), errdefs.ErrInvalidArgument)
	}
	return secret, nil
}

// travelsInClear reports plain HTTP to another host.
func travelsInClear(manager string) bool {
	u, err := url.Parse(manager)
	if err != nil || u.Scheme != "http" {
		return false
	}
	ip, err := netip.ParseAddr(u.Hostname())
	return u.Hostname() != "localhost" && (err != nil || !ip.IsLoopback())
}
