package oidc

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	gooidc "github.com/coreos/go-oidc/v3/oidc"
)

// A provider's discovery document counts for maxAge; maxKnown bounds how many are kept, and
// maxAnswer the bytes of a provider's answer.
const (
	maxAge    = 10 * time.Minute
	maxKnown  = 64
	maxAnswer = 1 << 20
)

// discoveries are the providers that answered, by issuer.
type discoveries struct {
	mu       sync.Mutex
	byIssuer map[string]discovery
}

type discovery struct {
	*gooidc.Provider
	at time.Time
}

// discover returns what an issuer says of itself.
func (c *Client) discover(ctx context.Context, issuer string) (*gooidc.Provider, error) {
	if found := c.known.get(issuer, c.now()); found != nil {
		return found, nil
	}
	found, err := gooidc.NewProvider(ctx, issuer)
	if err != nil {
		return nil, fmt.Errorf("discover the provider %s: %w: %w", issuer, err, errdefs.ErrUnavailable)
	}
	c.known.put(issuer, discovery{found, c.now()})
	return found, nil
}

func (d *discoveries) get(issuer string, now time.Time) *gooidc.Provider {
	d.mu.Lock()
	defer d.mu.Unlock()
	if one, ok := d.byIssuer[issuer]; ok && now.Sub(one.at) < maxAge {
		return one.Provider
	}
	return nil
}

func (d *discoveries) put(issuer string, one discovery) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.byIssuer) >= maxKnown || d.byIssuer == nil {
		d.byIssuer = map[string]discovery{}
	}
	d.byIssuer[issuer] = one
}

// newHTTP asks providers. It follows no redirect, for that could carry the client's secret
// elsewhere, and keeps no connection: sign-ins are rare.
func newHTTP() *http.Client {
	return &http.Client{
		Transport: short{&http.Transport{Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true, ForceAttemptHTTP2: true}},
		CheckRedirect: func(*http.Request, []*http.Request) error {
			return http.ErrUseLastResponse
		},
	}
}

// short cuts long answers.
type short struct{ http.RoundTripper }

func (s short) RoundTrip(r *http.Request) (*http.Response, error) {
	answer, err := s.RoundTripper.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	answer.Body = struct {
		io.Reader
		io.Closer
	}{io.LimitReader(answer.Body, maxAnswer), answer.Body}
	return answer, nil
}
