package p2p

import (
	"errors"
	"fmt"
	"strings"
)

// HostID identifies a node of the cluster; it is the name in the node's certificate.
type HostID string

// MaxHostIDLen is the longest host identity, in bytes.
const MaxHostIDLen = 128

// ErrBadHostID is wrapped by every error about a malformed host identity.
var ErrBadHostID = errors.New("bad host id")

// Validate reports whether h is 1 to MaxHostIDLen of a-z, A-Z, 0-9, '.', '-', '_'.
func (h HostID) Validate() error {
	if h == "" || len(h) > MaxHostIDLen {
		return fmt.Errorf("%w: %d characters, want 1 to %d", ErrBadHostID, len(h), MaxHostIDLen)
	}
	if i := strings.IndexFunc(string(h), notHostChar); i >= 0 {
		return fmt.Errorf("%w: %q: character %q (use letters, digits, '.', '-', '_')", ErrBadHostID, string(h), h[i])
	}
	return nil
}

func notHostChar(r rune) bool {
	return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '.' || r == '-' || r == '_')
}

// Host is what a peer must know of another host to exchange pieces with it.
type Host struct {
	ID   HostID
	Addr string // host:port of its piece network
	Zone string // host.idc; "" where unknown
	Rack string // the rack of host.location; "" where unknown
	Seed bool   // may pull from the origin for others
}

// Origin names where a seed can read a task's content. It is opaque to the piece
// network and to the scheduler; only the fetcher that made it reads it. Its forms
// are "oci://<registry host>/<repository>/{blobs,manifests}/<digest>" and http(s) URLs.
// It never holds a credential but the signature of a presigned URL, which is why
// String leaves out the query.
type Origin string

// String returns the origin for logs and people, without its query and fragment.
// string(o) is the origin itself.
func (o Origin) String() string {
	if i := strings.IndexAny(string(o), "?#"); i >= 0 {
		return string(o)[:i]
	}
	return string(o)
}

// Immutable reports whether what is there can never be another content: its name is a
// registry's and ends in a digest.
func (o Origin) Immutable() bool {
	bare, _ := o.Bare()
	return strings.HasPrefix(string(bare), "oci://") && strings.Contains(string(bare), "/sha256:")
}

// Class is the urgency of a read.
type Class uint8

const (
	// Background reads fill a task to completeness.
	Background Class = iota
	// Window reads are next in order for a consumer.
	Window
	// Urgent reads have a reader blocked on them.
	Urgent
)

// String returns the class's name.
func (c Class) String() string {
	switch c {
	case Background:
		return "background"
	case Window:
		return "window"
	case Urgent:
		return "urgent"
	}
	return fmt.Sprintf("class(%d)", uint8(c))
}
