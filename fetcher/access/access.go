// Package access remembers what registries said about who may read what: for each
// credential and origin, that it was let in or refused, for bounded times and in bounded
// memory. It asks nobody and has no clock; the fetcher asks and says the time.
package access

import (
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"github.com/darter-p2p/darter/internal/config"
	"github.com/darter-p2p/darter/p2p"
)

// Config is for how long a registry's answer counts.
type Config struct {
	Remember config.Duration `toml:"remember" doc:"How long a credential that the registry accepted for a content is let in without asking again, at most until the token's own end."`
	Public   config.Duration `toml:"public" doc:"How long content that was read without a credential is given to everybody without asking its registry again."`
	Grace    config.Duration `toml:"grace" doc:"While a registry fails: how long ago it must have accepted a credential for a content that the network holds. What was read without a credential is for everybody then. 0 lets no credential in."`
}

// Default returns the settings that suit tokens of a few minutes.
func Default() Config {
	return Config{
		Remember: config.Duration(time.Minute), Public: config.Duration(10 * time.Minute), Grace: config.Duration(24 * time.Hour),
	}
}

// Validate reports every setting that cannot work, by its key.
func (c Config) Validate() error {
	var errs []error
	if c.Remember < 0 || c.Remember > config.Duration(time.Hour) {
		errs = append(errs, fmt.Errorf("remember: %v, want 0 to 1h", c.Remember))
	}
	if c.Public < 0 || c.Public > config.Duration(24*time.Hour) {
		errs = append(errs, fmt.Errorf("public: %v, want 0 to 24h", c.Public))
	}
	if c.Grace < 0 || c.Grace > config.Duration(7*24*time.Hour) {
		errs = append(errs, fmt.Errorf("grace: %v, want 0 to 168h", c.Grace))
	}
	return errors.Join(errs...)
}

// Bounds of a Memory.
const (
	maxKept = 1 << 14
	// refusedFor is how long a refusal is remembered: long enough for a client that asks
	// again at once, too short for a user who was just let in to notice.
	refusedFor = 3 * time.Second
	// hungFor is how long a registry that hung is not waited for where it is not needed.
	hungFor = 5 * time.Second
)

// Reader stands for a credential, without telling it. The zero Reader has none.
type Reader [sha256.Size]byte

// Key is who wants to read what.
type Key struct {
	Reader Reader
	Origin p2p.Origin
}

// State is what is known of a Key.
type State uint8

const (
	Unknown State = iota
	Allowed       // the registry let him in a moment ago
	Lapsed        // it did within the grace; it is to be asked again if it can be
	Refused       // it refused him a moment ago
)

// Memory is what registries said. Make one with New. It is not safe for concurrent use.
type Memory struct {
	cfg     Config
	salt    []byte
	allowed kept[Key, pass]
	refused kept[Key, refusal]
	hung    kept[string, time.Time] // registries, until when
	named   kept[Key, named]        // tags
	// passwords is for which origins somebody's password was good.
	passwords kept[p2p.Origin, time.Time]
}

// pass is a registry's yes.
type pass struct {
	at  time.Time
	end time.Time // of the credential; zero = it does not say
}

type refusal struct {
	at  time.Time
	err error
}

// New returns an empty memory. The salt keeps the hashes of credentials from being
// found in a table; it is random and known to nobody.
func New(cfg Config, salt []byte) *Memory {
	m := &Memory{cfg: cfg, salt: salt}
	m.allowed.old = func(p pass) time.Time { return p.at }
	m.refused.old = func(r refusal) time.Time { return r.at }
	m.hung.old = func(t time.Time) time.Time { return t }
	m.named.old = func(n named) time.Time { return n.at }
	m.passwords.old = func(t time.Time) time.Time { return t }
	return m
}

// Reader returns what stands for an Authorization; "" = none.
func (m *Memory) Reader(authorization string) (r Reader) {
	if authorization == "" {
		return Reader{}
	}
	h := hmac.New(sha256.New, m.salt)
	h.Write([]byte(authorization))
	h.Sum(r[:0])
	return r
}

// Allow takes a registry's yes. The end is the credential's own, zero = unknown.
func (m *Memory) Allow(k Key, end, now time.Time) {
	delete(m.refused.byKey, k)
	m.allowed.put(k, pass{at: now, end: end})
}

// Refuse takes a registry's no. What was allowed before is forgotten.
func (m *Memory) Refuse(k Key, err error, now time.Time) {
	delete(m.allowed.byKey, k)
	m.refused.put(k, refusal{at: now, err: err})
}

// Look returns what is known, with the registry's words where it refused.
func (m *Memory) Look(k Key, now time.Time) (State, error) {
	if r, ok := m.refused.byKey[k]; ok {
		if within(r.at, now, refusedFor) {
			return Refused, r.err
		}
		delete(m.refused.byKey, k)
	}
	p, ok := m.allowed.byKey[k]
	if !ok {
		return Unknown, nil
	}
	fresh := m.cfg.Remember
	if k.Reader == (Reader{}) {
		fresh = m.cfg.Public
	}
	switch {
	case within(p.at, now, fresh.Duration()) && (p.end.IsZero() || now.Before(p.end)):
		return Allowed, nil
	case within(p.at, now, m.cfg.Grace.Duration()):
		return Lapsed, nil
	}
	delete(m.allowed.byKey, k)
	return Unknown, nil
}

// FreshPublic reports whether a reading without a credential needs no asking. Its time is
// of a clock that can be set, unlike all others here: one that lies in the future by more
// than a fresh one may be old is of a clock that was wrong, and the registry is asked.
func (m *Memory) FreshPublic(r p2p.Reading, now time.Time) bool {
	fresh := m.cfg.Public.Duration()
	return r.Public && within(r.Seen, now, fresh) && within(now, r.Seen, fresh)
}

// Hang takes note that a registry did not answer in time. One that says that it fails is
// quick to ask again.
func (m *Memory) Hang(registry string, now time.Time) { m.hung.put(registry, now.Add(hungFor)) }

// Hung reports whether a registry hung a moment ago.
func (m *Memory) Hung(registry string, now time.Time) bool {
	until, ok := m.hung.byKey[registry]
	if ok && !now.Before(until) {
		delete(m.hung.byKey, registry)
		return false
	}
	return ok
}

// within reports whether at is less than d ago, or to come.
func within(at, now time.Time, d time.Duration) bool { return now.Sub(at) < d }
