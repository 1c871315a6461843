package registry

import (
	"context"
	"fmt"
	"net/http"

	"github.com/containerd/errdefs"

	"github.com/darter-p2p/darter/fetcher/source"
	"github.com/darter-p2p/darter/p2p"
)

// Bearer returns the token, without its scheme, that stands for the password in
// r.Header at r.Origin: the one that the registry's token server gave for it, with
// which this Source reads itself. It is good for minutes and for one repository. Where
// the registry takes the password itself, it is ErrNotFound.
func (s *Source) Bearer(ctx context.Context, r source.Request) (p2p.Secret, error) {
	ref, err := ParseOrigin(r.Origin)
	if err != nil {
		return "", err
	}
	eps, err := s.endpoints(ref.Host, false)
	if err != nil {
		return "", err
	}
	for i := range eps {
		ep := &eps[i]
		if ep.Mirror {
			continue
		}
		key := keyOf(ep, ref.Repository, r.Header.Get("Authorization"))
		if held := s.tokens.get(key); held != "" {
			return p2p.Secret(held), nil
		}
		if _, err := s.stat(ctx, ep, ref, source.Request{Origin: r.Origin, Header: http.Header{"Authorization": r.Header["Authorization"]}}); err != nil {
			return "", fmt.Errorf("get a token: %w", err)
		}
		if held := s.tokens.get(key); held != "" {
			return p2p.Secret(held), nil
		}
	}
	return "", fmt.Errorf("registry %s gives no tokens: %w", ref.Host, errdefs.ErrNotFound)
}
