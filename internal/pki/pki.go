// Package pki makes, loads and checks the certificates by which the members of a
// cluster know each other. A member's identity is one URI in its certificate,
//
//	spiffe://<cluster>/darter/<role>/<name>
//
// signed by the cluster's CA. Host names and addresses play no part: nodes are known
// to each other by address, and addresses change.
package pki

import (
	"crypto/x509"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
)

// Role is what a member of a cluster may do.
type Role string

const (
	// Node is a darterd that serves its own host.
	Node Role = "node"
	// Seed is a darterd that may read origins for others and sign what it read.
	Seed Role = "seed"
	// Scheduler is a darter-scheduler.
	Scheduler Role = "scheduler"
	// Manager is a darter-manager.
	Manager Role = "manager"
	// Client is a person or a program that asks the others.
	Client Role = "client"
)

// Roles returns every role.
func Roles() []Role { return []Role{Node, Seed, Scheduler, Manager, Client} }

// ParseRole reads a role's name. An unknown one is ErrInvalidArgument.
func ParseRole(s string) (Role, error) {
	if r := Role(s); slices.Contains(Roles(), r) {
		return r, nil
	}
	return "", fmt.Errorf("role %q: want one of %s: %w", s, roleList(Roles()), errdefs.ErrInvalidArgument)
}

// maxNameLen is the longest name and the longest cluster name, in bytes.
const maxNameLen = 128

// Name is a member's identity.
type Name struct {
	Cluster string // 1 to 128 of a-z, 0-9, '.', '-', '_'
	Role    Role
	Name    string // 1 to 128 of a-z, A-Z, 0-9, '.', '-', '_'; of a node or a seed, its host identity
}

// Validate reports whether n can be written as a URI, else ErrInvalidArgument.
func (n Name) Validate() error {
	if err := validateCluster(n.Cluster); err != nil {
		return err
	}
	if _, err := ParseRole(string(n.Role)); err != nil {
		return err
	}
	if !isName(n.Name) {
		return fmt.Errorf("name %q: want 1 to %d letters, digits, '.', '-', '_': %w", n.Name, maxNameLen, errdefs.ErrInvalidArgument)
	}
	return nil
}

func validateCluster(s string) error {
	if !isName(s) || strings.ToLower(s) != s {
		return fmt.Errorf("cluster %q: want 1 to %d lower-case letters, digits, '.', '-', '_': %w", s, maxNameLen, errdefs.ErrInvalidArgument)
	}
	return nil
}

func isName(s string) bool {
	if s == "" || len(s) > maxNameLen || s == "." || s == ".." {
		return false
	}
	for _, c := range []byte(s) {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '.', c == '-', c == '_':
		default:
			return false
		}
	}
	return true
}

// String returns the URI.
func (n Name) String() string {
	return "spiffe://" + n.Cluster + "/darter/" + string(n.Role) + "/" + n.Name
}

// ParseName reads a URI as String writes it, and nothing else: no port, query,
// escapes or further path. Anything else is ErrInvalidArgument.
func ParseName(s string) (Name, error) {
	rest, ok := strings.CutPrefix(s, "spiffe://")
	part := strings.Split(rest, "/")
	if !ok || len(part) != 4 || part[1] != "darter" {
		return Name{}, fmt.Errorf("identity %q: want spiffe://<cluster>/darter/<role>/<name>: %w", s, errdefs.ErrInvalidArgument)
	}
	n := Name{Cluster: part[0], Role: Role(part[2]), Name: part[3]}
	if err := n.Validate(); err != nil {
		return Name{}, fmt.Errorf("identity %q: %w", s, err)
	}
	return n, nil
}

// NameOf returns the identity in a certificate. It does not check who signed it. A
// certificate without exactly one spiffe URI, or with one that is not darter's, is
// ErrUnauthenticated.
func NameOf(cert *x509.Certificate) (Name, error) {
	var found []*url.URL
	for _, u := range cert.URIs {
		if u.Scheme == "spiffe" {
			found = append(found, u)
		}
	}
	if len(found) != 1 {
		return Name{}, fmt.Errorf("certificate %q has %d darter identities, want one URI spiffe://<cluster>/darter/<role>/<name>; issue it with \"darter ca issue\": %w",
			cert.Subject.CommonName, len(found), errdefs.ErrUnauthenticated)
	}
	n, err := ParseName(found[0].String())
	if err != nil {
		return Name{}, fmt.Errorf("certificate %q: %w; issue it with \"darter ca issue\": %w", cert.Subject.CommonName, err, errdefs.ErrUnauthenticated)
	}
	return n, nil
}

func roleList(roles []Role) string {
	s := make([]string, len(roles))
	for i, r := range roles {
		s[i] = string(r)
	}
	return strings.Join(s, ", ")
}
