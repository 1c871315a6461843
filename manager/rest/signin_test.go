package rest_test

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/zitadel/oidc/v3/example/server/exampleop"
	"github.com/zitadel/oidc/v3/example/server/storage"

	"github.com/darter-p2p/darter/manager/database"
	"github.com/darter-p2p/darter/manager/model"
	"github.com/darter-p2p/darter/manager/rest"
)

// base is where browsers reach the manager of these tests.
const base = "http://manager.test"

// dex is a real OpenID Connect provider, zitadel's example server, with the users
// test-user@127.0.0.1 and test-user2 and the client darter.
type dex struct {
	*httptest.Server
	world *world
}

func newDex(t *testing.T, w *world) *dex {
	t.Helper()
	var handler http.Handler
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { handler.ServeHTTP(rw, r) }))
	t.Cleanup(server.Close)
	storage.RegisterClients(storage.WebClient("darter", "the secret", base+"/api/v1/session/providers/dex/callback", base+"/api/v1/session/providers/other/callback"))
	handler = exampleop.SetupServer(server.URL, storage.NewStorage(storage.NewUserStore(server.URL)), slog.New(slog.DiscardHandler), false)
	w.now = time.Now() // the provider's clock
	w.root = w.token(1, "now", time.Hour, "*")
	return &dex{server, w}
}

func (d *dex) register(name, secret string) model.Provider {
	return want[model.Provider](d.world, 201, "POST", "/api/v1/providers",
		fmt.Sprintf(`{"name":%q,"issuer":%q,"client_id":"darter","client_secret":%q,"roles":[]}`, name, d.URL, secret))
}

// begin has a browser begin a sign-in; it returns the provider's page and the cookie.
func (d *dex) begin(t *testing.T, provider string) (*url.URL, *http.Cookie) {
	t.Helper()
	answer := d.world.do(request("GET", "/api/v1/session/providers/"+provider+"?return=/console", "", ""))
	page, err := url.Parse(answer.Header().Get("Location"))
	cookies := answer.Result().Cookies()
	if answer.Code != http.StatusSeeOther || err != nil || len(cookies) != 1 {
		t.Fatalf("begin: %d %v %v %s", answer.Code, cookies, err, answer.Body)
	}
	if c := cookies[0]; !c.HttpOnly || c.SameSite != http.SameSiteLaxMode || c.MaxAge <= 0 {
		t.Errorf("cookie %+v", c)
	}
	return page, cookies[0]
}

// person signs in at the provider's page and returns where that sends the browser.
func (d *dex) person(t *testing.T, page *url.URL, name string) *url.URL {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	browser := &http.Client{
		Jar: jar, Transport: d.Client().Transport,
		CheckRedirect: func(r *http.Request, _ []*http.Request) error {
			if strings.HasPrefix(r.URL.String(), base) {
				return http.ErrUseLastResponse
			}
			return nil
		},
	}
	get := func(answer *http.Response, err error) *http.Response {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, answer.Body); err != nil {
			t.Fatal(err)
		}
		if err := answer.Body.Close(); err != nil {
			t.Fatal(err)
		}
		return answer
	}
	form := get(browser.Get(page.String()))
	id := form.Request.URL.Query().Get("authRequestID")
	end := get(browser.PostForm(d.URL+"/login/username", url.Values{"username": {name}, "password": {"verysecure"}, "id": {id}}))
	to, err := end.Location()
	if err != nil || !strings.HasPrefix(to.String(), base) {
		t.Fatalf("%s: the provider answers %d %v %v", name, end.StatusCode, to, err)
	}
	return to
}

// back has the browser come back to the manager.
func (d *dex) back(to *url.URL, cookie *http.Cookie) *httptest.ResponseRecorder {
	r := request("GET", to.RequestURI(), "", "")
	if cookie != nil {
		r.AddCookie(cookie)
	}
	return d.world.do(r)
}

// session returns the session's cookie of an answer, nil where there is none.
func session(answer *httptest.ResponseRecorder) *http.Cookie {
	for _, c := range answer.Result().Cookies() {
		if c.Name == "darter_session" {
			return c
		}
	}
	return nil
}

func (d *dex) users(t *testing.T) []model.User {
	t.Helper()
	users, _, err := database.List[model.User](t.Context(), d.world.store, database.Query{})
	if err != nil {
		t.Fatal(err)
	}
	return users
}

// walkSignIn signs in through a provider.
func walkSignIn(t *testing.T, w *world) {
	d := newDex(t, w)
	d.register("dex", "the secret")
	want[rest.Page[rest.SignInBy]](w, 200, "GET", "/api/v1/session/providers", "")
	page, cookie := d.begin(t, "dex")
	if answer := d.back(d.person(t, page, "test-user2"), cookie); session(answer) == nil {
		t.Errorf("through a provider: %d %s", answer.Code, answer.Body)
	}
}

// A person signs in through a real provider twice: the first time makes an account of role
// guest, the second finds it by its subject.
func TestSignInThroughProvider(t *testing.T) {
	w := newWorld(t)
	d := newDex(t, w)
	d.register("dex", "the secret")
	// Somebody who is called like the person at the provider, and has its mail address.
	w.user("test-user2", "root")
	want[model.User](w, 200, "PUT", "/api/v1/users/2", `{"email":"test-user2@zitadel.ch","roles":["root"]}`)

	if answer := w.do(request("GET", "/api/v1/session/providers", "", "")); !strings.Contains(answer.Body.String(), `{"name":"dex","url":"/api/v1/session/providers/dex"}`) {
		t.Errorf("providers: %d %s", answer.Code, answer.Body)
	}
	for range 2 {
		page, cookie := d.begin(t, "dex")
		q := page.Query()
		for name, one := range map[string]string{"code_challenge_method": "S256", "response_type": "code", "scope": "openid profile email", "redirect_uri": base + "/api/v1/session/providers/dex/callback"} {
			if q.Get(name) != one {
				t.Errorf("%s is %q, want %q", name, q.Get(name), one)
			}
		}
		answer := d.back(d.person(t, page, "test-user2"), cookie)
		in := session(answer)
		if answer.Code != http.StatusOK || in == nil || !in.HttpOnly || in.SameSite != http.SameSiteStrictMode || !strings.Contains(answer.Body.String(), `url=/console"`) {
			t.Fatalf("signed in: %d %+v %s", answer.Code, in, answer.Body)
		}
		r := request("GET", "/api/v1/session", "", "")
		r.AddCookie(in)
		var me struct{ User model.User }
		if err := json.Unmarshal(w.do(r).Body.Bytes(), &me); err != nil || me.User.Name != "test-user2-2" || fmt.Sprint(me.User.Roles) != "[guest]" ||
			me.User.Subject != d.URL+" id2" || me.User.Email != "test-user2@zitadel.ch" {
			t.Errorf("who am I: %+v, %v", me, err)
		}
		r = request("POST", "/api/v1/clusters", "", `{"name":"x"}`)
		r.AddCookie(in)
		if answer := w.do(r); answer.Code != http.StatusForbidden {
			t.Errorf("a guest changes: %d", answer.Code)
		}
	}
	if n := len(d.users(t)); n != 3 {
		t.Errorf("%d users, want 3", n)
	}
	page := want[struct{ Items []model.Audit }](w, 200, "GET", "/api/v1/audits?action=finishSignIn&outcome=ok", "")
	if len(page.Items) != 2 || page.Items[0].Actor != "test-user2-2" || strings.Contains(fmt.Sprint(page.Items), "code=") {
		t.Errorf("audits %+v", page.Items)
	}
	if answer := w.do(request("GET", "/api/v1/providers", w.root, "")); strings.Contains(answer.Body.String(), "the secret") {
		t.Error("the client's secret is shown")
	}
}

// What must not sign anybody in, each with a real provider's answer.
func TestSignInRefused(t *testing.T) {
	w := newWorld(t)
	d := newDex(t, w)
	dexRow := d.register("dex", "the secret")
	d.register("other", "the secret")
	d.register("wrong", "another secret")
	down := httptest.NewServer(http.NotFoundHandler())
	down.Close()
	want[model.Provider](w, 201, "POST", "/api/v1/providers", fmt.Sprintf(`{"name":"down","issuer":%q,"client_id":"darter","roles":[]}`, down.URL))

	page, cookie := d.begin(t, "dex")
	used := d.person(t, page, "test-user2")
	if answer := d.back(used, cookie); answer.Code != http.StatusOK {
		t.Fatalf("first: %d %s", answer.Code, answer.Body)
	}
	// altered returns a way back of a sign-in, some of whose parts are another's.
	altered := func(change func(page, to *url.URL, c *http.Cookie) (*url.URL, *http.Cookie)) (*url.URL, *http.Cookie) {
		page, cookie := d.begin(t, "dex")
		to, _ := change(page, nil, cookie)
		if to == nil {
			to = d.person(t, page, "test-user2")
		}
		return change(nil, to, cookie)
	}
	set := func(u *url.URL, name, value string) *url.URL {
		q := u.Query()
		q.Set(name, value)
		if value == "" {
			q.Del(name)
		}
		out := *u
		out.RawQuery = q.Encode()
		return &out
	}
	type change = func(page, to *url.URL, c *http.Cookie) (*url.URL, *http.Cookie)
	after := func(f func(to *url.URL, c *http.Cookie) (*url.URL, *http.Cookie)) change {
		return func(page, to *url.URL, c *http.Cookie) (*url.URL, *http.Cookie) {
			if page != nil {
				return nil, nil
			}
			return f(to, c)
		}
	}
	for name, tt := range map[string]struct {
		change change
		status int
		says   string
	}{
		"wrong state": {after(func(to *url.URL, c *http.Cookie) (*url.URL, *http.Cookie) { return set(to, "state", "guessed"), c }), 401, "not that of a sign-in"},
		"no state":    {after(func(to *url.URL, c *http.Cookie) (*url.URL, *http.Cookie) { return set(to, "state", ""), c }), 401, "not that of a sign-in"},
		"wrong nonce": {func(page, to *url.URL, c *http.Cookie) (*url.URL, *http.Cookie) {
			if page != nil {
				return d.person(t, set(page, "nonce", "another"), "test-user2"), nil
			}
			return to, c
		}, 401, "another sign-in"},
		"no nonce": {func(page, to *url.URL, c *http.Cookie) (*url.URL, *http.Cookie) {
			if page != nil {
				return d.person(t, set(page, "nonce", ""), "test-user2"), nil
			}
			return to, c
		}, 401, "another sign-in"},
		"another verifier": {func(page, to *url.URL, c *http.Cookie) (*url.URL, *http.Cookie) {
			if page != nil {
				return d.person(t, set(page, "code_challenge", strings.Repeat("A", 43)), "test-user2"), nil
			}
			return to, c
		}, 401, "does not take the code"},
		"replayed code": {after(func(to *url.URL, c *http.Cookie) (*url.URL, *http.Cookie) {
			return set(to, "code", used.Query().Get("code")), c
		}), 401, "does not take the code"},
		"made-up code":        {after(func(to *url.URL, c *http.Cookie) (*url.URL, *http.Cookie) { return set(to, "code", "x"), c }), 401, "does not take the code"},
		"no code":             {after(func(to *url.URL, c *http.Cookie) (*url.URL, *http.Cookie) { return set(to, "code", ""), c }), 401, "no code"},
		"another browser":     {after(func(to *url.URL, _ *http.Cookie) (*url.URL, *http.Cookie) { return to, nil }), 401, "has begun no sign-in"},
		"the first, replayed": {after(func(*url.URL, *http.Cookie) (*url.URL, *http.Cookie) { return used, cookie }), 401, "does not take the code"},
		"a broken cookie": {after(func(to *url.URL, _ *http.Cookie) (*url.URL, *http.Cookie) {
			return to, &http.Cookie{Name: "darter_signin", Value: "e30"}
		}), 401, "no sign-in has begun"},
		"another provider": {after(func(to *url.URL, c *http.Cookie) (*url.URL, *http.Cookie) {
			u, err := url.Parse(strings.Replace(to.String(), "/dex/", "/other/", 1))
			if err != nil {
				t.Fatal(err)
			}
			return u, c
		}), 401, "not that of a sign-in"},
		"another issuer": {after(func(to *url.URL, c *http.Cookie) (*url.URL, *http.Cookie) { return set(to, "iss", "https://evil"), c }), 401, "another provider"},
		"the person denies": {after(func(to *url.URL, c *http.Cookie) (*url.URL, *http.Cookie) {
			return set(to, "error", "access_denied"), c
		}), 403, "access_denied"},
	} {
		t.Run(name, func(t *testing.T) {
			w.t = t
			before := len(d.users(t))
			to, c := altered(tt.change)
			answer := d.back(to, c)
			if answer.Code != tt.status || !strings.Contains(answer.Body.String(), tt.says) || session(answer) != nil {
				t.Errorf("status %d, want %d and %q: %s %v", answer.Code, tt.status, tt.says, answer.Body, answer.Header())
			}
			if after := len(d.users(t)); after != before {
				t.Errorf("%d users, were %d", after, before)
			}
		})
	}
	w.t = t
	for _, tt := range []struct {
		path   string
		status int
		says   string
	}{
		{"/api/v1/session/providers/none", 404, "no such row"},
		{"/api/v1/session/providers/down", 503, "down does not answer"},
		{"/api/v1/session/providers/dex?return=https://evil", 400, "return"},
		{"/api/v1/session/providers/dex?return=//evil", 400, "return"},
		{"/api/v1/session/providers/dex?return=/%5cevil", 400, "return"},
		{"/api/v1/session/providers/dex?redirect_uri=https://evil", 400, "unknown parameter"},
	} {
		if answer := w.do(request("GET", tt.path, "", "")); answer.Code != tt.status || !strings.Contains(answer.Body.String(), tt.says) || len(answer.Result().Cookies()) > 0 {
			t.Errorf("%s: %d %s", tt.path, answer.Code, answer.Body)
		}
	}
	// A secret that the provider does not know is the operator's fault, not the person's.
	want[model.Provider](w, 200, "PUT", fmt.Sprint("/api/v1/providers/", dexRow.ID),
		fmt.Sprintf(`{"name":"dex","issuer":%q,"client_id":"darter","client_secret":"another","roles":[]}`, d.URL))
	page, cookie = d.begin(t, "dex")
	if answer := d.back(d.person(t, page, "test-user2"), cookie); answer.Code != 503 || strings.Contains(answer.Body.String(), "another") {
		t.Errorf("a wrong secret: %d %s", answer.Code, answer.Body)
	}
	want[model.Provider](w, 200, "PUT", fmt.Sprint("/api/v1/providers/", dexRow.ID),
		fmt.Sprintf(`{"name":"dex","issuer":%q,"client_id":"darter","client_secret":"the secret","roles":[]}`, d.URL))

	// A user who is disabled is out, by the session that is open and by a new sign-in.
	page, cookie = d.begin(t, "dex")
	in := session(d.back(d.person(t, page, "test-user2"), cookie))
	all := d.users(t)
	want[model.User](w, 200, "PUT", fmt.Sprint("/api/v1/users/", all[len(all)-1].ID), `{"roles":["guest"],"disabled":true}`)
	r := request("GET", "/api/v1/session", "", "")
	r.AddCookie(in)
	if answer := w.do(r); answer.Code != 401 {
		t.Errorf("a disabled user's session: %d", answer.Code)
	}
	page, cookie = d.begin(t, "dex")
	if answer := d.back(d.person(t, page, "test-user2"), cookie); answer.Code != 403 || !strings.Contains(answer.Body.String(), "disabled") || session(answer) != nil {
		t.Errorf("a disabled user signs in: %d %s", answer.Code, answer.Body)
	}
	// The provider is down in the middle of a sign-in.
	page, cookie = d.begin(t, "dex")
	to := d.person(t, page, "test-user2")
	d.Close()
	if answer := d.back(to, cookie); answer.Code != 503 || session(answer) != nil {
		t.Errorf("the provider goes down: %d %s", answer.Code, answer.Body)
	}
}
