package credential

import (
	"context"
	"errors"
	"fmt"

	"github.com/darter-p2p/darter/fetcher/registry"
)

// Source knows credentials. Methods may be called concurrently.
type Source interface {
	// Authorization returns the value of the Authorization header ("Bearer …", "Basic …")
	// with which this node may read a repository of a registry, as clients name them
	// ("docker.io", "library/nginx"); "" when none is known, which is no error. It may run
	// a program of the operator's and take as long as credentials.timeout. The value is for
	// fetcher.Content.Header or source.Request.Header: what it takes to make a registry
	// accept it, such as an exchange for a token, is done there.
	Authorization(ctx context.Context, registry, repository string) (string, error)
}

// First is the Source that asks sources in their order and returns the first
// credential. One that fails is passed over; its error is returned where no other
// knows a credential, and told to failed (nil = to nobody) where one does.
func First(failed func(ctx context.Context, err error), sources ...Source) Source {
	return &first{failed, sources}
}

type first struct {
	failed  func(context.Context, error)
	sources []Source
}

// Authorization implements Source.
func (f *first) Authorization(ctx context.Context, registry, repository string) (string, error) {
	var errs []error
	for _, s := range f.sources {
		value, err := s.Authorization(ctx, registry, repository)
		if err == nil && value != "" {
			if err := errors.Join(errs...); err != nil && f.failed != nil {
				f.failed(ctx, err)
			}
			return value, nil
		}
		if ctx.Err() != nil {
			return "", ctx.Err()
		}
		if err != nil {
			errs = append(errs, err)
		}
	}
	return "", errors.Join(errs...)
}

// place is a repository in its canonical form.
type place struct{ registry, repository string }

// placeOf checks a repository's name. The error is of class ErrInvalidArgument.
func placeOf(host, repository string) (place, error) {
	var p place
	var err error
	if p.registry, err = registry.ParseHost(host); err != nil {
		return place{}, fmt.Errorf("credential: %w", err)
	}
	if p.repository, err = registry.ParseRepository(p.registry, repository); err != nil {
		return place{}, fmt.Errorf("credential: %w", err)
	}
	return p, nil
}

// image is the repository's full name, as the kubelet knows it: without tag and digest.
func (p place) image() string { return p.registry + "/" + p.repository }
