package mirror

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"

	"github.com/darter-p2p/darter/fetcher"
	"github.com/darter-p2p/darter/fetcher/registry"
)

// route is what a request's path asks for.
type route struct {
	base       bool // GET /v2/: is there a registry
	repository string
	kind       fetcher.Kind
	digest     digest.Digest // "" where a tag is asked for
	tag        string
}

// parseRoute reads a path of the distribution API's pull side. What is not part of
// it is ErrNotImplemented, a bad name ErrInvalidArgument.
func parseRoute(path string) (route, error) {
	if path == "/v2" || path == "/v2/" {
		return route{base: true}, nil
	}
	rest, ok := strings.CutPrefix(path, "/v2/")
	if !ok {
		return route{}, fmt.Errorf("path is not below /v2/: %w", errdefs.ErrNotImplemented)
	}
	rest, reference := cutLast(rest)
	name, kind := cutLast(rest)
	r := route{repository: name, kind: fetcher.Kind(kind)}
	if name == "" || r.kind != fetcher.Blob && r.kind != fetcher.Manifest {
		return route{}, fmt.Errorf("path is neither of a blob nor of a manifest: %w", errdefs.ErrNotImplemented)
	}
	if _, err := registry.ParseRepository("", name); err != nil {
		return route{}, err
	}
	if err := registry.CheckReference(reference); err != nil {
		return route{}, err
	}
	if !strings.Contains(reference, ":") {
		if r.kind == fetcher.Blob {
			return route{}, fmt.Errorf("a blob is asked for by digest: %w", errdefs.ErrInvalidArgument)
		}
		r.tag = reference
		return r, nil
	}
	r.digest = digest.Digest(reference)
	if r.digest.Algorithm() != digest.SHA256 {
		return route{}, fmt.Errorf("digests of %s are not served: %w", r.digest.Algorithm(), errdefs.ErrNotImplemented)
	}
	return r, nil
}

func cutLast(s string) (before, after string) {
	i := strings.LastIndexByte(s, '/')
	if i < 0 {
		return "", s
	}
	return s[:i], s[i+1:]
}

// upstream returns the registry that a request means: the one that the door is for,
// else Dragonfly's header, else containerd's ns, else the configured one. "" is none.
func (h *Handler) upstream(r *http.Request) (string, error) {
	if h.only {
		return h.registry, nil
	}
	if v := r.Header.Get("X-Dragonfly-Registry"); v != "" {
		return parseUpstream(v)
	}
	if v := r.URL.Query().Get("ns"); v != "" {
		return parseUpstream(v)
	}
	return h.registry, nil
}

// parseUpstream reads a registry's host or URL.
func parseUpstream(s string) (string, error) {
	if strings.Contains(s, "://") {
		u, err := url.Parse(s)
		if err != nil {
			return "", fmt.Errorf("registry: not a URL: %w", errdefs.ErrInvalidArgument)
		}
		s = u.Host
	}
	return registry.ParseHost(strings.TrimSuffix(s, "/"))
}
