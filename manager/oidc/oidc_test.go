package oidc_test

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"go.uber.org/goleak"

	"github.com/darter-p2p/darter/manager/model"
	"github.com/darter-p2p/darter/manager/oidc"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// liar is a provider whose ID tokens say what a test wants; package rest's tests have a real one.
type liar struct {
	*httptest.Server
	key    *rsa.PrivateKey // that it signs with
	known  *rsa.PrivateKey // that it publishes
	header string
	claims map[string]any
}

func newLiar(t *testing.T) *liar {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	l := &liar{key: key, known: key, header: `{"alg":"RS256","kid":"1"}`}
	b64 := base64.RawURLEncoding.EncodeToString
	l.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer := map[string]any{}
		switch r.URL.Path {
		case "/.well-known/openid-configuration":
			answer = map[string]any{"issuer": l.URL, "authorization_endpoint": l.URL + "/auth", "token_endpoint": l.URL + "/token", "jwks_uri": l.URL + "/keys"}
		case "/keys":
			answer["keys"] = []any{map[string]any{
				"kty": "RSA", "alg": "RS256", "use": "sig", "kid": "1",
				"n": b64(l.known.N.Bytes()), "e": b64(big.NewInt(int64(l.known.E)).Bytes()),
			}}
		case "/token":
			body, err := json.Marshal(l.claims)
			if err != nil {
				t.Error(err)
			}
			signed := b64([]byte(l.header)) + "." + b64(body)
			sum := sha256.Sum256([]byte(signed))
			signature, err := rsa.SignPKCS1v15(rand.Reader, l.key, crypto.SHA256, sum[:])
			if err != nil {
				t.Error(err)
			}
			answer = map[string]any{"access_token": "x", "token_type": "Bearer", "id_token": signed + "." + b64(signature)}
		}
		w.Header().Set("Content-Type", "application/json")
		if err := json.NewEncoder(w).Encode(answer); err != nil {
			t.Error(err)
		}
	}))
	t.Cleanup(l.Close)
	return l
}

func TestIDTokens(t *testing.T) {
	other, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		change func(l *liar)
		want   oidc.Identity // without the issuer
		says   string        // of the refusal, "" = none
	}{
		"fine":             {func(*liar) {}, oidc.Identity{Subject: "sub", Name: "eve", Email: "eve@a.test"}, ""},
		"verified, a text": {func(l *liar) { l.claims["email_verified"] = "true" }, oidc.Identity{Subject: "sub", Name: "eve", Email: "eve@a.test"}, ""},
		"unverified":       {func(l *liar) { l.claims["email_verified"] = false }, oidc.Identity{Subject: "sub", Name: "eve"}, ""},
		"nothing is said":  {func(l *liar) { delete(l.claims, "email_verified") }, oidc.Identity{Subject: "sub", Name: "eve"}, ""},
		"another key":      {func(l *liar) { l.key = other }, oidc.Identity{}, "signature"},
		"unsigned":         {func(l *liar) { l.header = `{"alg":"none"}` }, oidc.Identity{}, "signature"},
		"by the secret":    {func(l *liar) { l.header = `{"alg":"HS256"}` }, oidc.Identity{}, "signature"},
		"expired":          {func(l *liar) { l.claims["exp"] = time.Now().Add(-time.Hour).Unix() }, oidc.Identity{}, "expired"},
		"another issuer":   {func(l *liar) { l.claims["iss"] = "https://evil.test" }, oidc.Identity{}, "issue"},
		"another audience": {func(l *liar) { l.claims["aud"] = "somebody" }, oidc.Identity{}, "audience"},
		"another party":    {func(l *liar) { l.claims["azp"] = "somebody" }, oidc.Identity{}, "another client"},
		"another nonce":    {func(l *liar) { l.claims["nonce"] = "guessed" }, oidc.Identity{}, "another sign-in"},
		"another token":    {func(l *liar) { l.claims["at_hash"] = "AAAA" }, oidc.Identity{}, "ID token"},
		"no subject":       {func(l *liar) { l.claims["sub"] = "" }, oidc.Identity{}, "subject"},
		"a long subject":   {func(l *liar) { l.claims["sub"] = strings.Repeat("x", 500) }, oidc.Identity{}, "subject"},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLiar(t)
			p := &model.Provider{Name: "liar", Issuer: l.URL, ClientID: "darter"}
			c := oidc.New(time.Now)
			_, a, err := c.Begin(t.Context(), p, "https://m.test/callback")
			if err != nil {
				t.Fatal(err)
			}
			l.claims = map[string]any{
				"iss": l.URL, "sub": "sub", "aud": "darter", "exp": time.Now().Add(time.Hour).Unix(), "nonce": a.Nonce,
				"preferred_username": "eve", "email": "eve@a.test", "email_verified": true,
			}
			tt.change(l)
			got, err := c.Finish(t.Context(), p, "https://m.test/callback", a, url.Values{"state": {a.State}, "code": {"1"}})
			if tt.says != "" {
				if !errdefs.IsUnauthorized(err) || !strings.Contains(err.Error(), tt.says) {
					t.Errorf("%+v, %v", got, err)
				}
				return
			}
			tt.want.Subject = l.URL + " " + tt.want.Subject
			if err != nil || got != tt.want {
				t.Errorf("%+v, want %+v: %v", got, tt.want, err)
			}
		})
	}
}

func TestAttempt(t *testing.T) {
	a := oidc.Attempt{Provider: "p", State: "s", Nonce: "n", Verifier: "v", Return: "/x"}
	if got, err := oidc.ParseAttempt(a.Cookie()); err != nil || got != a {
		t.Errorf("%+v, %v", got, err)
	}
	for _, bad := range []string{"", "e30", "!", "bnVsbA", strings.Repeat("A", 5000), (oidc.Attempt{State: "s", Nonce: "n"}).Cookie(), (oidc.Attempt{}).Cookie()} {
		if got, err := oidc.ParseAttempt(bad); !errdefs.IsUnauthorized(err) || got != (oidc.Attempt{}) {
			t.Errorf("%.20q: %+v, %v", bad, got, err)
		}
	}
}
