package registry

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/containerd/errdefs"

	"github.com/darter-p2p/darter/fetcher/source"
	"github.com/darter-p2p/darter/fetcher/upstream"
)

// MaxManifest is the largest manifest that is read, in bytes.
const MaxManifest = 8 << 20

// mirrorPause is how long a mirror is left alone after it gave no answer.
const mirrorPause = 10 * time.Second

// Options are what a Source is given beside its configuration.
type Options struct {
	// Hosts is asked for registries that have no table; nil = none.
	Hosts Hosts
	// Instance names this node in the loop header, without spaces and commas.
	Instance string
	// Policy bounds which registries are read that no table and no Hosts name, and where
	// they may point; nil = as far as reach does.
	Policy *upstream.Policy
	// UserAgent is sent where the reader has none; "" = "darter".
	UserAgent string
}

// Source is the source.Source of registries. Make one with New.
type Source struct {
	limits   Limits
	hosts    Hosts
	sites    map[string]*site // by ParseHost's form
	common   *http.Transport  // for hosts without a table
	tokens   *tokens
	policy   *upstream.Policy
	instance string
	agent    string

	mu     sync.Mutex
	paused map[string]time.Time // until when, by a mirror's URL
}

var _ source.Source = (*Source)(nil)

// New returns a Source. It reads the certificate files that c names.
func New(c Config, o Options) (*Source, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	if strings.ContainsAny(o.Instance, ", \t\r\n") {
		return nil, fmt.Errorf("instance %q: a space or comma: %w", o.Instance, errdefs.ErrInvalidArgument)
	}
	s := &Source{
		limits:   c.Origin,
		hosts:    o.Hosts,
		sites:    map[string]*site{},
		common:   newTransport(c.Origin, nil, http.ProxyFromEnvironment),
		tokens:   newTokens(),
		policy:   o.Policy,
		instance: o.Instance,
		agent:    o.UserAgent,
		paused:   map[string]time.Time{},
	}
	if s.agent == "" {
		s.agent = "darter"
	}
	if s.instance == "" {
		s.instance = "darter"
	}
	for _, r := range c.Registries {
		own, err := newSite(r, c.Origin)
		if err != nil {
			return nil, fmt.Errorf("registry %s: %w", r.Host, err)
		}
		host, _ := ParseHost(r.Host) // Validate has seen it
		s.sites[host] = own
	}
	return s, nil
}

// Close closes idle connections. Bodies that are open stay good.
func (s *Source) Close() error {
	s.common.CloseIdleConnections()
	for _, own := range s.sites {
		own.transport.CloseIdleConnections()
	}
	return nil
}

// each tries the endpoints of a registry in their order and returns the first answer,
// or the last error: that of the registry itself.
func (s *Source) each(
	ctx context.Context, r source.Request, try func(*Endpoint, Ref) (*source.Response, error),
) (*source.Response, error) {
	ref, err := ParseOrigin(r.Origin)
	if err != nil {
		return nil, err
	}
	eps, err := s.endpoints(ref.Host, !strings.Contains(ref.Reference, ":"))
	if err != nil {
		return nil, err
	}
	for i := range eps {
		ep := &eps[i]
		if ep.Mirror && s.isPaused(ep) {
			continue
		}
		var resp *source.Response
		if resp, err = try(ep, ref); err == nil {
			return resp, nil
		}
		if ctx.Err() != nil {
			return nil, err
		}
		var e *source.Error
		if ep.Mirror && errors.As(err, &e) && e.Status == 0 {
			s.pause(ep)
		}
	}
	return nil, err
}

func (s *Source) isPaused(ep *Endpoint) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	until, ok := s.paused[ep.URL.String()]
	if ok && !time.Now().Before(until) {
		delete(s.paused, ep.URL.String())
		return false
	}
	return ok
}

func (s *Source) pause(ep *Endpoint) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.paused[ep.URL.String()] = time.Now().Add(mirrorPause)
}
