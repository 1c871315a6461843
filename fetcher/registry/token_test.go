package registry

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/containerd/errdefs"

	"github.com/darter-p2p/darter/fetcher/source"
)

const basicAuth = "Basic dXNlcjpwYXNz"

func withAuth(r source.Request, authorization string) source.Request {
	r.Header = http.Header{"Authorization": {authorization}}
	return r
}

func TestAnonymousToken(t *testing.T) {
	f, a := newFake(t), &realm{life: 300}
	f.authorize = a.wants(start(t, a))
	o := f.putBlob(start(t, f), []byte("hello"))
	s := newSource(t, Default(), Options{})
	now := time.Now()
	s.tokens.now = func() time.Time { return now }
	read := func(want int) {
		t.Helper()
		if got, err := open(t, s, whole(o)); err != nil || string(got) != "hello" {
			t.Fatalf("%q, %v", got, err)
		}
		if a.count() != want {
			t.Fatalf("%d token requests, want %d", a.count(), want)
		}
	}
	read(1)
	if u := a.asked[0].URL.Query(); u.Get("service") != "test" || u.Get("scope") != "repository:repo:pull" {
		t.Errorf("token request %v", u)
	}
	read(1)
	now = now.Add(289 * time.Second)
	read(1) // still good
	now = now.Add(2 * time.Second)
	read(2) // given up 10 s before its end
	a.mu.Lock()
	a.issued++ // the registry forgot it early
	a.mu.Unlock()
	read(3)
	if n := len(f.requests()); n != 8 {
		t.Errorf("%d requests at the registry, want 5 and 3 refused", n)
	}
}

func TestTokenIsSharedByConcurrentReaders(t *testing.T) {
	f, a := newFake(t), &realm{life: 300}
	f.authorize = a.wants(start(t, a))
	o := f.putBlob(start(t, f), []byte("hello"))
	s := newSource(t, Default(), Options{})
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if _, err := open(t, s, whole(o)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if a.count() != 1 {
		t.Errorf("%d token requests for 20 readers", a.count())
	}
}

func TestReadersCredentials(t *testing.T) {
	f, a := newFake(t), &realm{life: 300, basic: basicAuth}
	f.authorize = a.wants(start(t, a))
	o := f.putBlob(start(t, f), []byte("hello"))
	s := newSource(t, Default(), Options{})

	_, err := open(t, s, whole(o))
	var e *source.Error
	if !errors.As(err, &e) || e.Status != 401 || !strings.HasPrefix(e.Header.Get("WWW-Authenticate"), "Bearer realm=") {
		t.Fatalf("anonymous: %v, want the registry's own challenge", err)
	}
	if _, err := open(t, s, withAuth(whole(o), basicAuth)); err != nil {
		t.Fatalf("with a password: %v", err)
	}
	if _, err := open(t, s, whole(o)); !errors.Is(err, errdefs.ErrUnauthenticated) {
		t.Errorf("anonymous, after somebody with a password: %v", err)
	}
	asked := a.count()
	if _, err := open(t, s, withAuth(whole(o), "Bearer t1")); err != nil {
		t.Errorf("with a token of his own: %v", err)
	}
	if _, err := open(t, s, withAuth(whole(o), "Bearer wrong")); !errors.Is(err, errdefs.ErrUnauthenticated) {
		t.Errorf("with a wrong token: %v", err)
	}
	if a.count() != asked {
		t.Error("a token was fetched for a reader who has one")
	}
}

func TestBasicChallenge(t *testing.T) {
	f := newFake(t)
	f.authorize = func(w http.ResponseWriter, r *http.Request) bool {
		if r.Header.Get("Authorization") == basicAuth {
			return true
		}
		w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
		w.WriteHeader(401)
		return false
	}
	o := f.putBlob(start(t, f), []byte("hello"))
	s := newSource(t, Default(), Options{})
	if _, err := open(t, s, whole(o)); !errors.Is(err, errdefs.ErrUnauthenticated) {
		t.Errorf("anonymous: %v", err)
	}
	if _, err := open(t, s, withAuth(whole(o), basicAuth)); err != nil {
		t.Errorf("with the password: %v", err)
	}
	if n := len(f.requests()); n != 2 {
		t.Errorf("%d requests, want 2", n)
	}
}

func TestBadTokenServers(t *testing.T) {
	for name, tc := range map[string]struct {
		realm http.HandlerFunc
		want  error
	}{
		"unavailable": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) }, errdefs.ErrUnavailable},
		"busy":        {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(429) }, errdefs.ErrResourceExhausted},
		"refuses":     {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(403) }, errdefs.ErrUnauthenticated},
		"not JSON":    {func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "hello") }, errdefs.ErrUnavailable},
		"no token":    {func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "{}") }, errdefs.ErrUnavailable},
		"forged header": {func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(w, `{"token":"a\r\nX-Evil: 1"}`)
		}, errdefs.ErrUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			a, f := &realm{issued: 1}, newFake(t)
			f.authorize = a.wants(start(t, tc.realm))
			s := newSource(t, Default(), Options{})
			if _, err := open(t, s, whole(f.putBlob(start(t, f), []byte("x")))); !errors.Is(err, tc.want) {
				t.Errorf("%v, want %v", err, tc.want)
			}
		})
	}
}

func TestRealmOf(t *testing.T) {
	https, http := &Endpoint{URL: mustRoot("https://r.test")}, &Endpoint{URL: mustRoot("http://r.test")}
	ref := Ref{Repository: "a/b"}
	for _, tc := range []struct {
		ep     *Endpoint
		params map[string]string
		secret bool
		want   string // "" = refused
	}{
		{https, map[string]string{"realm": "https://a.test/t?x=1", "service": "s", "scope": "p q"}, true, "https://a.test/t?scope=p&scope=q&service=s&x=1"},
		{https, map[string]string{"realm": "https://u:p@a.test/t"}, false, "https://a.test/t?scope=repository%3Aa%2Fb%3Apull"},
		{https, map[string]string{"realm": "http://a.test/t", "scope": "p"}, false, "http://a.test/t?scope=p"},
		{https, map[string]string{"realm": "http://a.test/t", "scope": "p"}, true, ""},
		{http, map[string]string{"realm": "http://a.test/t", "scope": "p"}, true, "http://a.test/t?scope=p"},
		{https, map[string]string{"realm": "/token"}, false, ""},
		{https, map[string]string{"realm": "ftp://a.test/t"}, false, ""},
		{https, map[string]string{"realm": "%zz"}, false, ""},
	} {
		u, err := realmOf(tc.ep, ref, challenge{params: tc.params}, tc.secret)
		if (err == nil) != (tc.want != "") || err == nil && u.String() != tc.want {
			t.Errorf("%v: %v, %v; want %s", tc.params, u, err, tc.want)
		}
	}
}

func TestParseToken(t *testing.T) {
	at := time.Unix(1000, 0)
	for in, want := range map[string]token{
		`{"token":"a"}`:                         {"a", at.Add(54 * time.Second)},
		`{"access_token":"b","expires_in":300}`: {"b", at.Add(290 * time.Second)},
		`{"token":"a","access_token":"b"}`:      {"b", at.Add(54 * time.Second)},
		`{"token":"a","expires_in":10}`:         {"a", at.Add(9 * time.Second)},
		`{"token":"a","expires_in":1e300}`:      {"a", at.Add(24*time.Hour - 10*time.Second)},
		`{"token":"a","expires_in":-5}`:         {"a", at.Add(54 * time.Second)},
		`{"token":""}`:                          {},
		`{"token":"a b"}`:                       {},
		`{"token":5}`:                           {},
		`[]`:                                    {},
		``:                                      {},
	} {
		got, err := parseToken([]byte(in), at)
		if got != want || (err == nil) != (want.value != "") {
			t.Errorf("%s: %+v, %v; want %+v", in, got, err, want)
		}
	}
}

func FuzzParseToken(f *testing.F) {
	f.Add([]byte(`{"token":"a","expires_in":300}`))
	f.Add([]byte(`{"access_token":"b"}`))
	at := time.Unix(1000, 0)
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := parseToken(b, at)
		if err == nil && (got.value == "" || got.expires.Before(at) || got.expires.After(at.Add(maxTokenLife))) {
			t.Errorf("%q: %+v", b, got)
		}
	})
}

// When the reader who fetches goes away, one of those who wait takes over.
func TestTokenFetchIsTakenOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ts := newTokens()
		ctx, leave := context.WithCancel(t.Context())
		fetches := 0
		var wg sync.WaitGroup
		wg.Go(func() {
			_, err := ts.renew(ctx, tokenKey{}, "", func(ctx context.Context) (token, error) {
				fetches++
				<-ctx.Done()
				return token{}, ctx.Err()
			})
			if !errors.Is(err, context.Canceled) {
				t.Errorf("the one who left: %v", err)
			}
		})
		synctest.Wait()
		for range 5 {
			wg.Go(func() {
				got, err := ts.renew(t.Context(), tokenKey{}, "", func(context.Context) (token, error) {
					fetches++
					time.Sleep(time.Second)
					return token{"t", time.Now().Add(time.Hour)}, nil
				})
				if got != "t" || err != nil {
					t.Errorf("%q, %v", got, err)
				}
			})
		}
		synctest.Wait()
		leave()
		wg.Wait()
		if fetches != 2 {
			t.Errorf("%d fetches, want 2", fetches)
		}
	})
}

func TestTokensAreBounded(t *testing.T) {
	ts := newTokens()
	for i := range 3 * maxTokens {
		key := tokenKey{repository: fmt.Sprint(i)}
		_, err := ts.renew(t.Context(), key, "", func(context.Context) (token, error) {
			return token{"t", time.Now().Add(time.Hour)}, nil
		})
		if err != nil || len(ts.held) > maxTokens {
			t.Fatalf("%v, %d tokens held", err, len(ts.held))
		}
	}
}
