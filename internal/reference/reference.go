// Package reference reads what people and registries' hooks write for an image: a
// reference ("nginx:1.27", "registry.example/app@sha256:…") or the URL of a manifest
// ("https://registry.example/v2/app/manifests/1.0").
package reference

import (
	"fmt"
	"net/url"
	"regexp"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/opencontainers/go-digest"
)

// component is one word of a repository's name, by the distribution specification.
var component = regexp.MustCompile(`^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*$`)

// maxLen bounds what is read, in bytes.
const maxLen = 4 << 10

// Image names an image of a registry.
type Image struct {
	Registry   string        // host[:port]; "docker.io" for Docker Hub
	Repository string        // "library/nginx"
	Tag        string        // "" = by digest alone
	Digest     digest.Digest // "" = by tag
}

// Parse reads a reference or the URL of a manifest. Neither names nothing: a reference
// without a tag and a digest means the tag "latest". With a tag and a digest, the digest
// counts. The error is ErrInvalidArgument.
func Parse(s string) (Image, error) {
	if len(s) > maxLen {
		return Image{}, fmt.Errorf("image of %d bytes, want at most %d: %w", len(s), maxLen, errdefs.ErrInvalidArgument)
	}
	if strings.HasPrefix(s, "http://") || strings.HasPrefix(s, "https://") {
		return parseURL(s)
	}
	return parse(s)
}

func parse(s string) (Image, error) {
	bare, sum, byDigest := strings.Cut(s, "@")
	ref, err := name.ParseReference(bare)
	if err != nil {
		return Image{}, fmt.Errorf("image %q: %w: %w", clip(s), err, errdefs.ErrInvalidArgument)
	}
	i := Image{Registry: ref.Context().RegistryStr(), Repository: ref.Context().RepositoryStr(), Tag: ref.Identifier()}
	for word := range strings.SplitSeq(i.Repository, "/") {
		if !component.MatchString(word) {
			return Image{}, fmt.Errorf("image %q: %q cannot be part of a repository's name: %w", clip(s), clip(word), errdefs.ErrInvalidArgument)
		}
	}
	if i.Registry == name.DefaultRegistry {
		i.Registry = "docker.io"
	}
	if !byDigest {
		return i, nil
	}
	i.Tag = ""
	if i.Digest, err = digest.Parse(sum); err != nil || i.Digest.Algorithm() != digest.SHA256 {
		return Image{}, fmt.Errorf("image %q: want a sha256 digest behind the @: %w", clip(s), errdefs.ErrInvalidArgument)
	}
	return i, nil
}

// parseURL reads "<scheme>://<host>/v2/<repository>/manifests/<reference>". How the
// registry is reached is the node's own setting, whatever the scheme.
func parseURL(s string) (Image, error) {
	bad := func(why string) (Image, error) {
		return Image{}, fmt.Errorf("manifest's URL %q: %s: %w", clip(s), why, errdefs.ErrInvalidArgument)
	}
	u, err := url.Parse(s)
	if err != nil || u.Host == "" {
		return bad("no URL")
	}
	if u.User != nil {
		return bad("holds a credential; give it apart")
	}
	path, ok := strings.CutPrefix(u.Path, "/v2/")
	at := strings.LastIndex(path, "/manifests/")
	if !ok || at < 0 {
		return bad(`want "/v2/<repository>/manifests/<tag or digest>"`)
	}
	repository, id := path[:at], path[at+len("/manifests/"):]
	if u.Host == "registry-1.docker.io" || u.Host == name.DefaultRegistry {
		u.Host = "docker.io"
	}
	sep := ":"
	if strings.Contains(id, ":") {
		sep = "@"
	}
	if id == "" || strings.Contains(id, "/") {
		return bad("no tag or digest at its end")
	}
	return parse(u.Host + "/" + repository + sep + id)
}

// String returns the reference, whole: with registry, and tag or digest.
func (i Image) String() string {
	if i.Digest != "" {
		return i.Registry + "/" + i.Repository + "@" + i.Digest.String()
	}
	return i.Registry + "/" + i.Repository + ":" + i.Tag
}

// clip cuts foreign text for an error.
func clip(s string) string { return s[:min(len(s), 200)] }
