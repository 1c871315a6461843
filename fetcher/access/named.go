package access

import (
	"strings"
	"time"

	"github.com/darter-p2p/darter/p2p"
)

// named is what a tag named for a credential.
type named struct {
	tag p2p.Tag
	at  time.Time
}

// Name takes what a registry said that a tag names, to a reader with a credential.
func (m *Memory) Name(k Key, t p2p.Tag, now time.Time) { m.named.put(k, named{t, now}) }

// Named returns what a tag named for this reader, within the grace.
func (m *Memory) Named(k Key, now time.Time) (p2p.Tag, bool) {
	n, ok := m.named.byKey[k]
	return n.tag, ok && within(n.at, now, m.cfg.Grace.Duration())
}

// Passworded takes note that a registry took a password for an origin.
func (m *Memory) Passworded(o p2p.Origin, now time.Time) { m.passwords.put(o, now) }

// AsksPassword reports whether a reader without a credential does well to show a password
// for an origin: within the grace, somebody's was good for it.
func (m *Memory) AsksPassword(o p2p.Origin, now time.Time) bool {
	at, ok := m.passwords.byKey[o]
	return ok && within(at, now, m.cfg.Grace.Duration())
}

// Basic reports whether an Authorization is a name and a password.
func Basic(authorization string) bool {
	scheme, _, _ := strings.Cut(authorization, " ")
	return strings.EqualFold(scheme, "basic")
}
