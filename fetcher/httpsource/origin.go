package httpsource

import (
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/containerd/errdefs"

	"github.com/darter-p2p/darter/fetcher/source"
	"github.com/darter-p2p/darter/p2p"
)

// maxURL is the longest URL that is read, in bytes; it must fit what a scheduler takes.
const maxURL = 3500

// validatorKey begins the fragment of an origin that names a generation. A fragment
// never goes to a server.
const validatorKey = "darter-generation="

// Origin returns the origin of a URL's content, "" for validator = whatever is there,
// else only the generation that has it. Credentials in the URL and its own fragment
// are left out.
func Origin(u *url.URL, validator string) p2p.Origin {
	plain := *u
	plain.User, plain.Fragment, plain.RawFragment = nil, "", ""
	s := plain.String()
	if validator != "" {
		s += "#" + validatorKey + url.QueryEscape(validator)
	}
	return p2p.Origin(s)
}

// ParseOrigin reads what Origin wrote. The error is of class ErrInvalidArgument.
func ParseOrigin(o p2p.Origin) (u *url.URL, validator string, err error) {
	raw, fragment, _ := strings.Cut(string(o), "#")
	if u, err = ParseURL(raw); err != nil {
		return nil, "", err
	}
	if fragment == "" {
		return u, "", nil
	}
	escaped, ok := strings.CutPrefix(fragment, validatorKey)
	if validator, err = url.QueryUnescape(escaped); !ok || err != nil || !isValidator(validator) {
		return nil, "", fmt.Errorf("origin at %s: no such generation: %w", source.Clip(u.Host), errdefs.ErrInvalidArgument)
	}
	return u, validator, nil
}

// ParseURL reads an http or https URL. The error is of class ErrInvalidArgument and
// does not repeat the URL, which may hold a signature.
func ParseURL(raw string) (*url.URL, error) {
	bad := func(why string) error {
		return fmt.Errorf("URL: %s: %w", why, errdefs.ErrInvalidArgument)
	}
	if len(raw) > maxURL {
		return nil, bad(fmt.Sprintf("longer than %d bytes", maxURL))
	}
	u, err := url.Parse(raw)
	switch {
	case err != nil:
		return nil, bad("it cannot be read")
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, bad(fmt.Sprintf("scheme %q, want http or https", source.Clip(u.Scheme)))
	case u.Hostname() == "" || u.Opaque != "":
		return nil, bad("no host")
	case strings.ContainsAny(u.Hostname(), "%/\\ "):
		return nil, bad("bad host")
	case len(u.String()) > maxURL: // escaped, which is how it travels
		return nil, bad(fmt.Sprintf("longer than %d bytes when escaped", maxURL))
	}
	return u, nil
}

// FilteredQuery lists query parameters that do not change what a URL names: the
// signatures and expiry of presigned URLs of S3, GCS, OSS, OBS, COS and Azure, and the
// mirror's ns.
func FilteredQuery() []string {
	return []string{
		"X-Amz-*", "AWSAccessKeyId", "Signature", "Expires",
		"X-Goog-*", "GoogleAccessId",
		"x-oss-*", "OSSAccessKeyId", "SecurityToken",
		"X-Obs-*", "AccessKeyId",
		"q-sign-algorithm", "q-ak", "q-sign-time", "q-key-time", "q-header-list", "q-url-param-list", "q-signature", "x-cos-security-token",
		"sig", "se", "st", "sp", "sv", "sr", "spr", "sip", "ske", "skt", "skv", "sks", "skoid", "sktid",
		"ns",
	}
}

// Canonical returns a URL as it identifies a content: scheme and host in lower case,
// no default port, no credentials, no fragment, and without the query parameters that
// filter names ("x-*" = all that begin so; case does not count). The order of the
// others stays, for servers may mind it. filtered says that some were left out.
func Canonical(u *url.URL, filter []string) (canonical string, filtered bool) {
	c := url.URL{Scheme: strings.ToLower(u.Scheme), Host: strings.ToLower(u.Host), Path: u.Path, RawPath: u.RawPath}
	if port := u.Port(); port == "80" && c.Scheme == "http" || port == "443" && c.Scheme == "https" {
		c.Host = strings.TrimSuffix(c.Host, ":"+port)
	}
	if c.Path == "" {
		c.Path = "/"
	}
	var kept []string
	for part := range strings.SplitSeq(u.RawQuery, "&") {
		name, _, _ := strings.Cut(part, "=")
		if plain, err := url.QueryUnescape(name); err == nil {
			name = plain
		}
		switch {
		case part == "":
		case slices.ContainsFunc(filter, func(f string) bool { return names(f, name) }):
			filtered = true
		default:
			kept = append(kept, part)
		}
	}
	c.RawQuery = strings.Join(kept, "&")
	return c.String(), filtered
}

// names reports whether an entry of a filter is about a parameter.
func names(entry, parameter string) bool {
	if prefix, ok := strings.CutSuffix(entry, "*"); ok {
		return len(parameter) >= len(prefix) && strings.EqualFold(parameter[:len(prefix)], prefix)
	}
	return strings.EqualFold(entry, parameter)
}
