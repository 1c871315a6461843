package credential

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"strings"
	"sync"
	"time"
)

// Bounds of what is remembered. A registry of a stranger accepts anything, so the
// number and the length of credentials are bounded by themselves.
const (
	maxSeen       = 512
	maxSeenLength = 16 << 10 // bytes of an Authorization
	tokenLife     = time.Minute
	passwordLife  = 5 * time.Minute
	maxSeenLife   = time.Hour
)

// Seen is the Source of what clients of this node showed to registries that accepted
// it: the snapshot door reads an image's layers with what its manifest was read with
// seconds before. It is held in memory only. The zero Seen is empty and ready.
type Seen struct {
	mu   sync.Mutex
	held map[place]seen
}

type seen struct {
	authorization string
	until         time.Time
}

// Accepted remembers the Authorization with which a registry has just given a manifest
// of a repository: a JSON web token until it expires, at most an hour, other tokens
// for a minute, passwords for five. The last one counts.
func (s *Seen) Accepted(registry, repository, authorization string) {
	p, err := placeOf(registry, repository)
	if err != nil || authorization == "" || len(authorization) > maxSeenLength {
		return
	}
	now := time.Now()
	s.put(p, seen{authorization, now.Add(lifeOf(authorization, now))}, now)
}

func (s *Seen) put(p place, v seen, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held == nil {
		s.held = map[place]seen{}
	}
	if !now.Before(v.until) {
		return
	}
	if _, again := s.held[p]; !again && len(s.held) >= maxSeen {
		s.makeRoom(now)
	}
	s.held[p] = v
}

// makeRoom drops what expired, or else what expires first.
func (s *Seen) makeRoom(now time.Time) {
	var next place
	var first time.Time
	for p, v := range s.held {
		if !now.Before(v.until) {
			delete(s.held, p)
		} else if first.IsZero() || v.until.Before(first) {
			next, first = p, v.until
		}
	}
	if len(s.held) >= maxSeen {
		delete(s.held, next)
	}
}

// Authorization implements Source.
func (s *Seen) Authorization(_ context.Context, registry, repository string) (string, error) {
	p, err := placeOf(registry, repository)
	if err != nil {
		return "", err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	v, ok := s.held[p]
	if ok && !time.Now().Before(v.until) {
		delete(s.held, p)
		return "", nil
	}
	return v.authorization, nil
}

// lifeOf returns how long an Authorization is worth trying; 0 or less = it expired.
func lifeOf(authorization string, now time.Time) time.Duration {
	scheme, value, _ := strings.Cut(authorization, " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return passwordLife
	}
	end, ok := expiryOf(strings.TrimSpace(value))
	if !ok {
		return tokenLife
	}
	life := end.Sub(now)
	// A token is given up before its end, so that it does not expire on its way.
	return min(life-min(life/10, 10*time.Second), maxSeenLife)
}

// expiryOf reads the expiry of a JSON web token without checking the token; false
// where it is none or says none.
func expiryOf(token string) (time.Time, bool) {
	_, rest, ok := strings.Cut(token, ".")
	claims, _, ok2 := strings.Cut(rest, ".")
	if !ok || !ok2 || len(claims) > maxSeenLength {
		return time.Time{}, false
	}
	text, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(claims, "="))
	if err != nil {
		return time.Time{}, false
	}
	var c struct {
		Expiry *float64 `json:"exp"` // seconds since 1970
	}
	const year9999 = 253402300799
	if json.Unmarshal(text, &c) != nil || c.Expiry == nil || *c.Expiry < 0 || *c.Expiry > year9999 {
		return time.Time{}, false
	}
	return time.Unix(int64(*c.Expiry), 0), true
}
