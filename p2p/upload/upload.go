// Package upload decides whom a host serves: how many pieces it sends at a time and
// to whom, and which piece a seed gives to a neighbour that leaves it the choice. It
// is pure: the shell (p2p/node) and the simulation tell it what is asked and carry
// out what it says.
package upload

import (
	"errors"
	"slices"

	"github.com/darter-p2p/darter/p2p"
)

// Config holds the limits of Slots.
type Config struct {
	// Slots is how many pieces are sent at a time; a seed has four times those of a node.
	Slots int
	// Reserved is how many more are sent at a time to readers that are blocked.
	Reserved int
	// Turn is how many pieces in a row a host may be sent while others wait. 0 = no limit.
	Turn int
}

// Default returns the limits of a node; those of a seed have Slots 8.
func Default() Config { return Config{Slots: 2, Reserved: 1, Turn: 4} }

// Validate reports the first field that is out of range.
func (c Config) Validate() error {
	switch {
	case c.Slots < 1 || c.Slots > 1024:
		return errors.New("upload slots: want 1 to 1024")
	case c.Reserved < 0 || c.Reserved > 64:
		return errors.New("upload reserved slots: want 0 to 64")
	case c.Turn < 0:
		return errors.New("upload turn: want 0 or more")
	}
	return nil
}

// Slots counts the pieces being sent. It is not safe for concurrent use.
type Slots struct {
	cfg     Config
	active  int
	turns   map[p2p.HostID]int // pieces in a row
	waiting []p2p.HostID       // refused since, in that order
}

// NewSlots returns Slots of which none is taken.
func NewSlots(cfg Config) *Slots {
	return &Slots{cfg: cfg, turns: map[p2p.HostID]int{}}
}

// Acquire takes a slot for a piece to a host and reports whether there was one. A
// host that is refused is told by a later Release.
func (s *Slots) Acquire(to p2p.HostID, class p2p.Class) bool {
	limit := s.cfg.Slots
	if class == p2p.Urgent {
		limit += s.cfg.Reserved
	}
	overdrawn := s.cfg.Turn > 0 && s.turns[to] >= s.cfg.Turn && s.othersWait(to) && class != p2p.Urgent
	if s.active >= limit || overdrawn {
		delete(s.turns, to)
		if !slices.Contains(s.waiting, to) {
			s.waiting = append(s.waiting, to)
		}
		return false
	}
	s.active++
	s.turns[to]++
	s.waiting = slices.DeleteFunc(s.waiting, func(h p2p.HostID) bool { return h == to })
	return true
}

func (s *Slots) othersWait(than p2p.HostID) bool {
	return slices.ContainsFunc(s.waiting, func(h p2p.HostID) bool { return h != than })
}

// Release gives a slot back.
func (s *Slots) Release(to p2p.HostID) { s.active-- }

// Vacant returns the hosts to be told that there is a slot, and forgets that they
// wait: for each free slot two, those that have waited longest. It is called after
// Release, once the next request that lies ready has had its chance.
func (s *Slots) Vacant() []p2p.HostID {
	n := min(2*max(s.cfg.Slots-s.active, 0), len(s.waiting))
	told := slices.Clone(s.waiting[:n])
	s.waiting = slices.Delete(s.waiting, 0, n)
	return told
}

// Ended says that a host's data connection is gone or idle: its turn is over.
func (s *Slots) Ended(to p2p.HostID) {
	delete(s.turns, to)
}

// Active returns the number of slots taken.
func (s *Slots) Active() int { return s.active }
