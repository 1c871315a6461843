package registry

import (
	"fmt"
	"strings"

	"github.com/containerd/errdefs"

	"github.com/darter-p2p/darter/p2p"
)

// Scheme begins every origin that this package reads.
const Scheme = "oci://"

// Kind is what a registry's content is; the names are those of fetcher.Kind.
type Kind string

const (
	// Blobs are layers and configs.
	Blobs Kind = "blobs"
	// Manifests are manifests and indexes.
	Manifests Kind = "manifests"
)

// Ref is an origin in its parts.
type Ref struct {
	Host       string // host[:port] as clients name it, "docker.io"
	Repository string // "library/nginx"
	Kind       Kind
	Reference  string // a digest, or a tag of a manifest
}

// Origin returns the origin of a content:
// "oci://<host>/<repository>/{blobs,manifests}/<digest or tag>". Names of Docker Hub
// are made canonical, so that one content has one origin. It does not check its
// arguments; ParseOrigin does, when the origin is read.
func Origin(host, repository string, kind Kind, reference string) p2p.Origin {
	if h, err := ParseHost(host); err == nil {
		host = h
	}
	if r, err := ParseRepository(host, repository); err == nil {
		repository = r
	}
	return p2p.Origin(Scheme + host + "/" + repository + "/" + string(kind) + "/" + reference)
}

// ParseOrigin reads what Origin wrote. The error is of class ErrInvalidArgument.
func ParseOrigin(o p2p.Origin) (Ref, error) {
	rest, ok := strings.CutPrefix(string(o), Scheme)
	if !ok {
		return Ref{}, badOrigin(o, "does not begin with "+Scheme)
	}
	host, rest, _ := strings.Cut(rest, "/")
	rest, reference, ok := cutLast(rest)
	if !ok {
		return Ref{}, badOrigin(o, "no reference")
	}
	repository, kind, ok := cutLast(rest)
	if !ok {
		return Ref{}, badOrigin(o, "no kind")
	}
	ref := Ref{Kind: Kind(kind), Reference: reference}
	if ref.Kind != Blobs && ref.Kind != Manifests {
		return Ref{}, badOrigin(o, "kind is neither blobs nor manifests")
	}
	if ref.Kind == Blobs && !strings.Contains(reference, ":") {
		return Ref{}, badOrigin(o, "a blob has a digest")
	}
	var err error
	if ref.Host, err = ParseHost(host); err != nil {
		return Ref{}, fmt.Errorf("origin: %w", err)
	}
	if ref.Repository, err = ParseRepository(ref.Host, repository); err != nil {
		return Ref{}, fmt.Errorf("origin: %w", err)
	}
	if err := CheckReference(reference); err != nil {
		return Ref{}, fmt.Errorf("origin: %w", err)
	}
	return ref, nil
}

func badOrigin(o p2p.Origin, why string) error {
	return fmt.Errorf("origin %q: %s: %w", clip(string(o)), why, errdefs.ErrInvalidArgument)
}

func cutLast(s string) (before, after string, found bool) {
	i := strings.LastIndexByte(s, '/')
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+1:], true
}

// Origin returns the origin that the parts make.
func (r Ref) Origin() p2p.Origin { return Origin(r.Host, r.Repository, r.Kind, r.Reference) }

// path is the API path below an endpoint's root.
func (r Ref) path() string { return "/" + r.Repository + "/" + string(r.Kind) + "/" + r.Reference }
