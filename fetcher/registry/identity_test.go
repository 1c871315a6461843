package registry

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/containerd/errdefs"

	"github.com/darter-p2p/darter/fetcher/source"
)

func TestIdentityOf(t *testing.T) {
	for in, want := range map[string]string{
		IdentityAuthorization("refresh:me"): "refresh:me",
		IdentityAuthorization(""):           "",
		basicAuth:                           "",
		"Basic !":                           "",
		"Bearer t":                          "",
		"":                                  "",
	} {
		if got := identityOf(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

// A refresh token is posted to the token server, and nobody else sees it.
func TestIdentityTokenIsExchanged(t *testing.T) {
	const secret = "refresh-7f3a"
	f, a := newFake(t), &realm{life: 300}
	var mu sync.Mutex
	var posted []string
	realmHost := start(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := r.ParseForm(); err != nil || r.Method != http.MethodPost || r.PostForm.Get("refresh_token") != secret || r.Header.Get("Authorization") != "" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		mu.Lock()
		posted = append(posted, r.URL.RawQuery+" "+r.PostForm.Get("grant_type")+" "+r.PostForm.Get("service")+" "+r.PostForm.Get("scope"))
		mu.Unlock()
		a.mu.Lock()
		a.issued++
		fmt.Fprintf(w, `{"access_token":"t%d","expires_in":300,"refresh_token":"other"}`, a.issued)
		a.mu.Unlock()
	}))
	a.issued = 1
	f.authorize = a.wants(realmHost)
	o := f.putBlob(start(t, f), []byte("hello"))
	s := newSource(t, Default(), Options{})
	for range 2 {
		if got, err := open(t, s, withAuth(whole(o), IdentityAuthorization(secret))); err != nil || string(got) != "hello" {
			t.Fatalf("%q, %v", got, err)
		}
	}
	if len(posted) != 1 || posted[0] != " refresh_token test repository:repo:pull" {
		t.Errorf("posted %q", posted)
	}
	for _, r := range f.requests() {
		if v := r.Header.Get("Authorization"); v != "" && v != "Bearer t2" {
			t.Errorf("the registry saw %q", v)
		}
	}
	_, err := open(t, s, withAuth(whole(o), IdentityAuthorization("wrong")))
	if !errors.Is(err, errdefs.ErrUnauthenticated) || strings.Contains(err.Error(), "wrong") {
		t.Errorf("a wrong token: %v", err)
	}
}

// A token server that redirects does not carry a refresh token elsewhere.
func TestIdentityTokenIsNotRedirected(t *testing.T) {
	f, a := newFake(t), &realm{issued: 1}
	elsewhere := 0
	other := start(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { elsewhere++ }))
	f.authorize = a.wants(start(t, http.RedirectHandler("http://"+other+"/", http.StatusTemporaryRedirect)))
	s := newSource(t, Default(), Options{})
	_, err := open(t, s, withAuth(whole(f.putBlob(start(t, f), []byte("x"))), IdentityAuthorization("refresh")))
	var e *source.Error
	if !errors.As(err, &e) || e.Status != http.StatusTemporaryRedirect || elsewhere != 0 {
		t.Errorf("%v, %d requests elsewhere", err, elsewhere)
	}
}

// A registry that takes passwords only is not shown a refresh token.
func TestIdentityTokenStaysFromBasic(t *testing.T) {
	f := newFake(t)
	f.authorize = func(w http.ResponseWriter, _ *http.Request) bool {
		w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
		w.WriteHeader(401)
		return false
	}
	s := newSource(t, Default(), Options{})
	if _, err := open(t, s, withAuth(whole(f.putBlob(start(t, f), []byte("x"))), IdentityAuthorization("refresh"))); !errors.Is(err, errdefs.ErrUnauthenticated) {
		t.Errorf("%v", err)
	}
	for _, r := range f.requests() {
		if v := r.Header.Get("Authorization"); v != "" {
			t.Errorf("the registry saw %q", v)
		}
	}
}
