// Package upstream says which servers darter reads for others. A seed fetches what any
// node names: without bounds it would be a way into services that only it can reach.
package upstream

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"
)

// Config lists upstreams. An entry is a host ("files.example.com"), all hosts below a
// domain ("*.example.com"), an address or a network ("10.0.0.0/8"), each with or without
// ":port" (a network without), or "*".
type Config struct {
	Allow []string `toml:"allow" doc:"Hosts (files.example.com, *.example.com), addresses and networks (10.0.0.0/8), with or without :port, that are read for others, and for URLs. Registries in a table or a hosts.toml are always read. Empty allows all but loopback and link-local addresses; to read these too, name them: [\"*\", \"127.0.0.0/8\"]."`
	Deny  []string `toml:"deny" doc:"The same, for what is never read. It counts before allow."`
}

// Validate reports every entry that cannot work, by its key.
func (c Config) Validate() error {
	_, err := New(c)
	return err
}

// Policy decides by a Config. It may be used concurrently.
type Policy struct {
	allow, deny []rule
	own         bool
}

// rule is one entry; one of net, name and all is set.
type rule struct {
	net  netip.Prefix
	name string // "*.x" = below x
	all  bool
	port string // "" = any
}

// New returns the policy of c.
func New(c Config) (*Policy, error) {
	p := &Policy{}
	var errs []error
	for _, list := range []struct {
		key     string
		entries []string
		rules   *[]rule
	}{{"allow", c.Allow, &p.allow}, {"deny", c.Deny, &p.deny}} {
		for _, entry := range list.entries {
			r, err := parseRule(entry)
			if err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", list.key, err))
			}
			*list.rules = append(*list.rules, r)
		}
	}
	return p, errors.Join(errs...)
}

func parseRule(s string) (rule, error) {
	bad := fmt.Errorf("%q: want a host, *.domain, an address or a network, with or without :port", s)
	if n, err := netip.ParsePrefix(s); err == nil {
		return rule{net: n.Masked()}, nil
	}
	if ip, ok := Literal(s); ok {
		return rule{net: netip.PrefixFrom(ip, ip.BitLen())}, nil
	}
	host, port := s, ""
	if h, p, err := net.SplitHostPort(s); err == nil {
		if n, err := strconv.ParseUint(p, 10, 16); err != nil || n == 0 {
			return rule{}, bad
		}
		host, port = h, p
	}
	if ip, ok := Literal(host); ok {
		return rule{net: netip.PrefixFrom(ip, ip.BitLen()), port: port}, nil
	}
	if host == "*" {
		return rule{all: true, port: port}, nil
	}
	name := strings.ToLower(host)
	if strings.Trim(strings.TrimPrefix(name, "*."), "abcdefghijklmnopqrstuvwxyz0123456789.-_") != "" || strings.TrimPrefix(name, "*.") == "" {
		return rule{}, bad
	}
	return rule{name: name, port: port}, nil
}

// matches reports whether the entry is about a host, or about an address of it.
func (r rule) matches(host, port string, ip netip.Addr) bool {
	if r.port != "" && r.port != port {
		return false
	}
	switch {
	case r.all:
		return true
	case r.name == "":
		return ip.IsValid() && r.net.Contains(ip)
	}
	if below, ok := strings.CutPrefix(r.name, "*"); ok {
		return strings.HasSuffix(host, below)
	}
	return host == r.name
}

// named reports whether the entry names an address or a host, rather than many at once.
func (r rule) named() bool { return !r.all && !strings.HasPrefix(r.name, "*") }

// errDenied is wrapped by every refusal.
var errDenied = fmt.Errorf("upstream is not allowed: %w", errdefs.ErrPermissionDenied)

// Own returns the policy for what this host reads for its own users: its own loopback
// and links are theirs to read, the lists still count.
func (p *Policy) Own() *Policy { return &Policy{allow: p.allow, deny: p.deny, own: true} }

// Host checks a host by its name, before it is looked up. The error is of class
// ErrPermissionDenied.
func (p *Policy) Host(host, port string) error {
	host = plain(host)
	if ip, ok := Literal(host); ok {
		return p.Address(host, port, ip)
	}
	about := func(r rule) bool { return r.matches(host, port, netip.Addr{}) }
	byAddress := func(r rule) bool { return r.net.IsValid() } // Address decides
	switch {
	case strings.ContainsFunc(host, func(c rune) bool { return c <= ' ' || c > '~' }):
		return fmt.Errorf("%q: not an ASCII name: %w", host, errDenied)
	case slices.ContainsFunc(p.deny, about):
		return fmt.Errorf("%s: %w", host, errDenied)
	case len(p.allow) > 0 && !slices.ContainsFunc(p.allow, about) && !slices.ContainsFunc(p.allow, byAddress):
		return fmt.Errorf("%s: %w", host, errDenied)
	case !p.own && IsLoopback(host) && !slices.ContainsFunc(p.allow, func(r rule) bool { return r.named() && (about(r) || byAddress(r)) }):
		return fmt.Errorf("%s is this machine: %w", host, errDenied)
	}
	return nil
}

// Address checks the address that a host was found to have.
func (p *Policy) Address(host, port string, ip netip.Addr) error {
	host, ip = plain(host), ip.Unmap().WithZone("")
	about := func(r rule) bool { return r.matches(host, port, ip) }
	if slices.ContainsFunc(p.deny, about) {
		return fmt.Errorf("%s (%s): %w", host, ip, errDenied)
	}
	if ip.IsMulticast() {
		return fmt.Errorf("%s (%s) is no server: %w", host, ip, errDenied)
	}
	if !p.own && (ip.IsLoopback() || ip.IsUnspecified() || IsLinkLocal(ip)) {
		if !slices.ContainsFunc(p.allow, func(r rule) bool { return r.named() && about(r) }) {
			return fmt.Errorf("%s (%s) is this machine or its link: %w", host, ip, errDenied)
		}
		return nil
	}
	if len(p.allow) > 0 && !slices.ContainsFunc(p.allow, about) {
		return fmt.Errorf("%s (%s): %w", host, ip, errDenied)
	}
	return nil
}

// plain is a host without brackets and its last dot, in lower case.
func plain(host string) string {
	return strings.ToLower(strings.TrimSuffix(strings.Trim(host, "[]"), "."))
}
