package credential

import (
	"cmp"
	"net/url"
	"path"
	"slices"
	"strings"
)

// pattern is a place that a credential is for, as the kubelet has it:
// "*.azurecr.io", "registry.io:8080/path". A wildcard stands for (part of) one label
// of the host name, never for a port or in a path.
type pattern struct {
	labels []string // of the host name, in lower case
	port   string
	path   string // begins of the paths that it is for
}

// parsePattern reads a pattern or an image's name. It fails on what is no URL
// without its scheme.
func parsePattern(s string) (pattern, error) {
	u, err := url.Parse("https://" + s)
	if err != nil {
		return pattern{}, err
	}
	return pattern{strings.Split(strings.ToLower(u.Hostname()), "."), u.Port(), u.Path}, nil
}

// covers reports whether a credential for p is for the image: the same number of
// labels, each matched, the same port, and a path that begins so. As with the kubelet,
// the path "/foo" covers "/foobar", and no port is another port than any.
func (p pattern) covers(image pattern) bool {
	if p.port != image.port || len(p.labels) != len(image.labels) || !strings.HasPrefix(image.path, p.path) {
		return false
	}
	for i, label := range p.labels {
		if ok, err := path.Match(label, image.labels[i]); err != nil || !ok {
			return false
		}
	}
	return true
}

// matches reports whether a pattern of a provider's matchImages covers an image.
func matches(glob, image string) bool {
	p, err := parsePattern(glob)
	if err != nil {
		return false
	}
	i, err := parsePattern(image)
	return err == nil && p.covers(i)
}

// keyring holds logins by the places that they are for, most specific first.
type keyring []key

type key struct {
	name  string // host[:port][/path]
	for_  pattern
	login login
}

// newKeyring makes a keyring of the entries of a docker config or of a provider's
// answer. Empty logins and keys that are no places are left out.
func newKeyring(logins map[string]login) keyring {
	var ring keyring
	for name, l := range logins {
		name = placeName(name)
		p, err := parsePattern(name)
		if err == nil && name != "" && l.authorization() != "" {
			ring = append(ring, key{name, p, l})
		}
	}
	// The kubelet's order: a longer path is before a shorter one, and a letter before a wildcard.
	slices.SortFunc(ring, func(a, b key) int {
		return cmp.Or(strings.Compare(b.name, a.name), strings.Compare(a.login.user, b.login.user))
	})
	return ring
}

// placeName strips from a key what is not part of a place: the scheme, and the path
// of the registry's API.
func placeName(s string) string {
	s = strings.TrimPrefix(strings.TrimPrefix(s, "https://"), "http://")
	host, rest, _ := strings.Cut(s, "/")
	host = strings.ToLower(host)
	for _, api := range []string{"v1", "v2"} {
		if rest == api || strings.HasPrefix(rest, api+"/") {
			rest = strings.TrimPrefix(strings.TrimPrefix(rest, api), "/")
			break
		}
	}
	if rest == "" {
		return host
	}
	return host + "/" + rest
}

// find returns the login for an image, and the key that it stands under.
func (k keyring) find(image string) (login, string, bool) {
	at, err := parsePattern(image)
	if err != nil {
		return login{}, "", false
	}
	for _, key := range k {
		if key.for_.covers(at) {
			return key.login, key.name, true
		}
	}
	// Docker Hub has other names in files than in images.
	if strings.HasPrefix(image, hub+"/") {
		for _, name := range []string{"index.docker.io", "registry-1.docker.io"} {
			for _, key := range k {
				if key.name == name {
					return key.login, key.name, true
				}
			}
		}
	}
	return login{}, "", false
}

// Docker Hub's name in images, and the one that docker's files and helpers know it by.
const (
	hub       = "docker.io"
	hubServer = "https://index.docker.io/v1/"
)
