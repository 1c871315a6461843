package registry

import (
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"

	"github.com/darter-p2p/darter/fetcher/source"
)

// Docker Hub has a name that clients use and another host that answers.
const (
	dockerHub       = "docker.io"
	dockerHubServer = "registry-1.docker.io"
)

const maxNameLength = 255 // of a host or a repository, in bytes

var (
	hostPattern       = regexp.MustCompile(`^[a-z0-9]([a-z0-9._-]*[a-z0-9])?$`)
	repositoryPattern = regexp.MustCompile(`^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*$`)
	tagPattern        = regexp.MustCompile(`^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$`)
)

// ParseHost reads a registry's host[:port] as clients name it, and returns it in
// lower case, with Docker Hub's other names mapped to "docker.io". The error is of
// class ErrInvalidArgument.
func ParseHost(s string) (string, error) {
	host := strings.ToLower(s)
	if err := checkHost(host); err != nil {
		return "", fmt.Errorf("registry host %q: %w: %w", clip(s), err, errdefs.ErrInvalidArgument)
	}
	switch host {
	case "index.docker.io", dockerHubServer:
		return dockerHub, nil
	}
	return host, nil
}

func checkHost(host string) error {
	if len(host) > maxNameLength {
		return fmt.Errorf("longer than %d bytes", maxNameLength)
	}
	if rest, ok := strings.CutPrefix(host, "["); ok {
		addr, after, closed := strings.Cut(rest, "]")
		ip, err := netip.ParseAddr(addr)
		if !closed || err != nil || !ip.Is6() || ip.Zone() != "" {
			return errors.New("not an IPv6 address in brackets")
		}
		if after == "" {
			return nil
		}
		port, ok := strings.CutPrefix(after, ":")
		if !ok {
			return errors.New("text after the address")
		}
		return checkPort(port)
	}
	name, port, hasPort := strings.Cut(host, ":")
	if hasPort {
		if err := checkPort(port); err != nil {
			return err
		}
	}
	if !hostPattern.MatchString(name) || strings.Contains(name, "..") {
		return errors.New("not a host name")
	}
	return nil
}

func checkPort(s string) error {
	if n, err := strconv.ParseUint(s, 10, 16); err != nil || n == 0 || strconv.FormatUint(n, 10) != s {
		return fmt.Errorf("bad port %q", clip(s))
	}
	return nil
}

// ParseRepository checks a repository's name by the grammar of the distribution
// specification and returns it as host stores it: Docker Hub keeps names of one
// word under "library/". The error is of class ErrInvalidArgument.
func ParseRepository(host, s string) (string, error) {
	if len(s) > maxNameLength || !repositoryPattern.MatchString(s) {
		return "", fmt.Errorf("repository %q: not a repository name: %w", clip(s), errdefs.ErrInvalidArgument)
	}
	if host == dockerHub && !strings.Contains(s, "/") {
		return "library/" + s, nil
	}
	return s, nil
}

// CheckReference reports whether s is a tag or a digest. The error is of class ErrInvalidArgument.
func CheckReference(s string) error {
	if strings.Contains(s, ":") {
		if err := digest.Digest(s).Validate(); err != nil {
			return fmt.Errorf("digest %q: %w: %w", clip(s), err, errdefs.ErrInvalidArgument)
		}
		return nil
	}
	if !tagPattern.MatchString(s) {
		return fmt.Errorf("tag %q: not a tag: %w", clip(s), errdefs.ErrInvalidArgument)
	}
	return nil
}

// clip shortens what a stranger sent, for messages.
func clip(s string) string { return source.Clip(s) }
