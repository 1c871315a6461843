package rest

import (
	"context"
	"errors"
	"fmt"
	"html"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/containerd/log"

	"github.com/darter-p2p/darter/manager/access"
	"github.com/darter-p2p/darter/manager/database"
	"github.com/darter-p2p/darter/manager/model"
	"github.com/darter-p2p/darter/manager/oidc"
	"github.com/darter-p2p/darter/manager/problem"
)

// signInCookie holds a browser's sign-in that has begun, for signInTime.
const (
	signInCookie = "darter_signin"
	signInTime   = 10 * time.Minute
)

// SignInBy is a provider that one can sign in through, as strangers see it.
type SignInBy struct {
	Name string `json:"name"`
	URL  string `json:"url"` // where a browser begins
}

func (a *API) signInRoutes() []route {
	begin := op(http.MethodGet, "/session/providers/{name}", "beginSignIn", "Sends a browser to an OIDC provider to sign in.", right{}, []param{
		{name: "return", doc: "Path of this manager where the browser goes in the end.", kind: "string"},
	}, a.beginSignIn).forBrowsers(http.StatusSeeOther, "")
	finish := op(http.MethodGet, "/session/providers/{name}/callback", "finishSignIn",
		"Where an OIDC provider sends the browser back to; the answer sets the session's cookie.", right{}, []param{
			{name: "state", doc: "That of the sign-in that has begun.", kind: "string"},
			{name: "code", doc: "The provider's code.", kind: "string"},
			{name: "error", doc: "Why the provider refuses.", kind: "string"},
			{name: "iss", doc: "The provider's issuer.", kind: "string"},
		}, a.finishSignIn).forBrowsers(http.StatusOK, "text/html")
	finish.open, finish.audited = true, true
	return []route{
		op(http.MethodGet, "/session/providers", "listSignIns", "Lists the OIDC providers that one can sign in through.", right{}, paged(searched),
			func(ctx context.Context, c *call, _ none) (Page[SignInBy], error) {
				q, err := c.page()
				if err != nil {
					return Page[SignInBy]{}, err
				}
				rows, total, err := database.List[model.Provider](ctx, a.Store, q)
				var out []SignInBy
				for _, p := range rows {
					out = append(out, SignInBy{p.Name, signInPath(p.Name)})
				}
				return pageOf(out, total, q), err
			}),
		begin, finish,
	}
}

func signInPath(provider string) string { return Prefix + "/session/providers/" + provider }

// provider returns the provider that the path names, and the callback's URL.
func (a *API) provider(ctx context.Context, c *call) (*model.Provider, string, error) {
	if a.URL == "" {
		return nil, "", fmt.Errorf("signing in through a provider needs the manager's public_url: %w", errdefs.ErrNotImplemented)
	}
	p, err := a.Store.ProviderByName(ctx, c.PathValue("name"))
	if err != nil {
		return nil, "", err
	}
	return p, a.URL + signInPath(p.Name) + "/callback", nil
}

func (a *API) beginSignIn(ctx context.Context, c *call, _ none) (http.Handler, error) {
	p, redirect, err := a.provider(ctx, c)
	if err != nil {
		return nil, err
	}
	back := Prefix + "/session"
	if c.query.Has("return") {
		if back = c.query.Get("return"); !local(back) {
			return nil, fmt.Errorf("return: %.60q, want a path of this manager: %w", back, errdefs.ErrInvalidArgument)
		}
	}
	page, attempt, err := a.signIns.Begin(ctx, p, redirect)
	if err != nil {
		return nil, provided(ctx, p, err)
	}
	attempt.Return = back
	http.SetCookie(c.writer, a.attemptCookie(p, attempt.Cookie(), int(signInTime/time.Second)))
	return http.RedirectHandler(page, http.StatusSeeOther), nil
}

func (a *API) finishSignIn(ctx context.Context, c *call, _ none) (http.Handler, error) {
	p, redirect, err := a.provider(ctx, c)
	if err != nil {
		return nil, err
	}
	cookie, err := c.Cookie(signInCookie)
	if err != nil {
		return nil, fmt.Errorf("this browser has begun no sign-in, or too long ago: %w", errdefs.ErrUnauthenticated)
	}
	http.SetCookie(c.writer, a.attemptCookie(p, "", -1)) // it counts once
	attempt, err := oidc.ParseAttempt(cookie.Value)
	if err != nil {
		return nil, err
	}
	id, err := a.signIns.Finish(ctx, p, redirect, attempt, c.query)
	if err != nil {
		return nil, provided(ctx, p, err)
	}
	actor, secret, _, err := a.Guard.External(ctx, p, id)
	c.actor = actor
	if err != nil {
		return nil, err
	}
	http.SetCookie(c.writer, a.cookie(secret, int(access.SessionLength/time.Second)))
	back := attempt.Return
	if !local(back) {
		back = Prefix + "/session"
	}
	return signedIn{back}, nil
}

// provided gives a fault of a provider's the words that a person at a browser needs; what
// the provider said is for the log.
func provided(ctx context.Context, p *model.Provider, err error) error {
	entry := log.G(ctx).WithError(err).WithField("provider", p.Name)
	if !errdefs.IsUnavailable(err) {
		if !errors.Is(err, context.Canceled) {
			entry.Info("A sign-in was refused")
		}
		return err
	}
	entry.Warning("A provider cannot be used to sign in")
	return &problem.Fault{
		Status: http.StatusServiceUnavailable,
		Detail: fmt.Sprintf("the provider %s does not answer, or does not know this manager; its log says more", p.Name),
	}
}

func (a *API) attemptCookie(p *model.Provider, value string, age int) *http.Cookie {
	return &http.Cookie{
		Name: signInCookie, Value: value, Path: signInPath(p.Name), MaxAge: age,
		// Lax, for the provider's site sends the browser back.
		HttpOnly: true, Secure: a.Secure, SameSite: http.SameSiteLaxMode,
	}
}

// local reports whether a browser stays at this manager when it is sent to a path.
func local(path string) bool {
	u, err := url.Parse(path)
	return err == nil && u.Scheme == "" && u.Host == "" && strings.HasPrefix(path, "/") && !strings.HasPrefix(path, "//") &&
		!strings.ContainsAny(path, "\\\r\n\t") && len(path) <= 512
}

// signedIn is the page that ends a sign-in. It goes on by itself: a redirect would count
// as the provider's site's, and the session's cookie, which is SameSite=Strict, would stay
// behind.
type signedIn struct{ to string }

func (s signedIn) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	to := html.EscapeString(s.to)
	fmt.Fprintf(w, "<!doctype html><title>darter</title><meta http-equiv=\"refresh\" content=\"0;url=%s\"><p>Signed in. <a href=\"%s\">Go on</a>\n", to, to)
}
