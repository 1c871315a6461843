package registry

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/darter-p2p/darter/fetcher/source"
	"github.com/darter-p2p/darter/fetcher/source/httpread"
	"github.com/darter-p2p/darter/fetcher/upstream"
)

const (
	defaultTokenLife = 60 * time.Second // where the server does not say, by the token specification
	maxTokenLife     = 24 * time.Hour
	maxTokens        = 4096
	maxTokenAnswer   = 256 << 10 // bytes
)

// tokenKey says for whom and what a token is good.
type tokenKey struct {
	root       string // the endpoint's URL
	repository string
	credential [sha256.Size]byte // of the Authorization that it was got with; zero = anonymous
}

func keyOf(ep *Endpoint, repository, authorization string) tokenKey {
	k := tokenKey{root: ep.URL.String(), repository: repository}
	if authorization != "" {
		k.credential = sha256.Sum256([]byte(authorization))
	}
	return k
}

type token struct {
	value   string
	expires time.Time
}

// tokens remembers bearer tokens until they expire, in memory only. Readers who want
// the same one at once share one fetch.
type tokens struct {
	now func() time.Time

	mu      sync.Mutex
	held    map[tokenKey]token
	flights map[tokenKey]*flight
}

type flight struct {
	done  chan struct{} // closed when value and err are set
	value string
	err   error
}

func newTokens() *tokens {
	return &tokens{now: time.Now, held: map[tokenKey]token{}, flights: map[tokenKey]*flight{}}
}

// get returns a token that has not expired, or "".
func (t *tokens) get(k tokenKey) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.valid(k)
}

func (t *tokens) valid(k tokenKey) string {
	if held, ok := t.held[k]; ok && t.now().Before(held.expires) {
		return held.value
	}
	return ""
}

// renew returns a token other than refused, the one that the registry did not take:
// a held one, that of a fetch under way, or that of a fetch of its own.
func (t *tokens) renew(ctx context.Context, k tokenKey, refused string, fetch func(context.Context) (token, error)) (string, error) {
	for {
		t.mu.Lock()
		if v := t.valid(k); v != "" && v != refused {
			t.mu.Unlock()
			return v, nil
		}
		f, others := t.flights[k]
		if !others {
			f = &flight{done: make(chan struct{})}
			t.flights[k] = f
		}
		t.mu.Unlock()
		if !others {
			return t.fly(ctx, k, f, fetch)
		}
		select {
		case <-f.done:
		case <-ctx.Done():
			return "", ctx.Err()
		}
		if f.err == nil || !isContextError(f.err) {
			return f.value, f.err
		}
		// The reader who fetched went away; this one takes over.
	}
}

func (t *tokens) fly(ctx context.Context, k tokenKey, f *flight, fetch func(context.Context) (token, error)) (string, error) {
	got, err := fetch(ctx)
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.flights, k)
	if err == nil {
		t.makeRoom()
		t.held[k] = got
	}
	f.value, f.err = got.value, err
	close(f.done)
	return f.value, f.err
}

// makeRoom drops what expired, and if that is not enough everything: tokens are cheap to get again.
func (t *tokens) makeRoom() {
	if len(t.held) < maxTokens {
		return
	}
	now := t.now()
	for k, held := range t.held {
		if !now.Before(held.expires) {
			delete(t.held, k)
		}
	}
	if len(t.held) >= maxTokens {
		clear(t.held)
	}
}

func isContextError(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

// fetchToken asks the token server that ep's challenge names. basic is the reader's
// own Authorization of scheme Basic, or "" to ask anonymously. A refresh token in it is
// posted, as OAuth 2 has it.
func (s *Source) fetchToken(ctx context.Context, ep *Endpoint, ref Ref, c challenge, basic string) (token, error) {
	u, err := realmOf(ep, ref, c, basic != "")
	if err != nil {
		return token{}, &source.Error{Host: ep.URL.Host, Err: err}
	}
	header := http.Header{"User-Agent": {s.agent}, "Accept": {"application/json"}, source.HopHeader: {s.instance}}
	started := s.tokens.now()
	var resp *http.Response
	if identity := identityOf(basic); identity != "" {
		resp, err = s.postIdentity(ctx, ep, u, header, identity)
	} else {
		if basic != "" {
			header.Set("Authorization", basic)
		}
		resp, err = s.follow(ctx, ep, http.MethodGet, u, header)
	}
	if err != nil {
		return token{}, err
	}
	if resp.StatusCode != http.StatusOK {
		return token{}, source.ErrorOf(resp, u.Host, s.tokens.now())
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxTokenAnswer))
	if err != nil {
		return token{}, httpread.AnswerError(ctx, u.Host, fmt.Errorf("token: %w", err))
	}
	got, err := parseToken(answer, started)
	if err != nil {
		return token{}, &source.Error{Status: resp.StatusCode, Host: u.Host, Err: err}
	}
	return got, nil
}

// realmOf makes the URL of a token request, as docker's clients do.
func realmOf(ep *Endpoint, ref Ref, c challenge, secret bool) (*url.URL, error) {
	u, err := url.Parse(c.params["realm"])
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return nil, fmt.Errorf("token realm %q is not a URL", clip(c.params["realm"]))
	}
	if secret && u.Scheme == "http" && ep.URL.Scheme == "https" && !(upstream.IsLoopback(u.Host) && upstream.IsLoopback(ep.URL.Host)) {
		return nil, fmt.Errorf("token realm %s is http: no credential goes there", clip(u.Host))
	}
	u.User, u.Fragment = nil, ""
	q := u.Query()
	if service := c.params["service"]; service != "" {
		q.Set("service", service)
	}
	scopes := strings.Fields(c.params["scope"])
	if len(scopes) == 0 {
		scopes = []string{"repository:" + ref.Repository + ":pull"}
	}
	for _, scope := range scopes {
		q.Add("scope", scope)
	}
	u.RawQuery = q.Encode()
	return u, nil
}

var errNoToken = errors.New("token server's answer holds no token")

// parseToken reads a token server's answer. issued is when it was asked.
func parseToken(answer []byte, issued time.Time) (token, error) {
	var a struct {
		Token       string  `json:"token"`
		AccessToken string  `json:"access_token"`
		ExpiresIn   float64 `json:"expires_in"`
	}
	if err := json.Unmarshal(answer, &a); err != nil {
		return token{}, fmt.Errorf("token server's answer: %w", err)
	}
	got := token{value: a.Token}
	if a.AccessToken != "" {
		got.value = a.AccessToken
	}
	if got.value == "" || strings.ContainsFunc(got.value, notTokenText) {
		return token{}, errNoToken
	}
	life := defaultTokenLife
	if a.ExpiresIn > 0 {
		life = time.Duration(min(a.ExpiresIn, maxTokenLife.Seconds()) * float64(time.Second))
	}
	// A token is given up before its end, so that it does not expire on its way.
	got.expires = issued.Add(life - min(life/10, 10*time.Second))
	return got, nil
}

func notTokenText(r rune) bool { return r <= ' ' || r > '~' }
