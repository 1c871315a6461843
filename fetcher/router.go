package fetcher

import (
	"context"
	"fmt"
	"strings"

	"github.com/containerd/errdefs"

	"github.com/darter-p2p/darter/fetcher/registry"
	"github.com/darter-p2p/darter/fetcher/source"
	"github.com/darter-p2p/darter/p2p"
)

// Router is the source.Source that reads each origin by the source of its scheme. One
// that is nil reads nothing.
type Router struct {
	Registry source.Source // oci://
	HTTP     source.Source // http:// and https://
}

var _ source.Source = Router{}

func (r Router) of(o p2p.Origin) (source.Source, error) {
	var s source.Source
	switch {
	case strings.HasPrefix(string(o), registry.Scheme):
		s = r.Registry
	case isURL(o):
		s = r.HTTP
	}
	if s == nil {
		return nil, fmt.Errorf("origin %q: nothing here reads it: %w", source.Clip(o.String()), errdefs.ErrInvalidArgument)
	}
	return s, nil
}

// isURL reports whether an origin is that of a URL.
func isURL(o p2p.Origin) bool {
	scheme, _, _ := strings.Cut(string(o), "://")
	return strings.EqualFold(scheme, "http") || strings.EqualFold(scheme, "https")
}

// Bearer implements Bearers, where the source of registries does.
func (r Router) Bearer(ctx context.Context, ask source.Request) (p2p.Secret, error) {
	if b, ok := r.Registry.(Bearers); ok {
		return b.Bearer(ctx, ask)
	}
	return "", fmt.Errorf("%s: no tokens: %w", ask.Origin, errdefs.ErrNotFound)
}

// Open implements source.Source.
func (r Router) Open(ctx context.Context, ask source.Request) (*source.Response, error) {
	s, err := r.of(ask.Origin)
	if err != nil {
		return nil, err
	}
	return s.Open(ctx, ask)
}

// Stat implements source.Source.
func (r Router) Stat(ctx context.Context, ask source.Request) (*source.Response, error) {
	s, err := r.of(ask.Origin)
	if err != nil {
		return nil, err
	}
	return s.Stat(ctx, ask)
}
