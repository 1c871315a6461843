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
	// Slots is how many pieces are sent at a time.
	Slots int
	// Reserved is how many more are sent at a time to readers that are blocked.
	Reserved int
	// Turn is how many pieces in a row a host may be sent while others wait. 0 = no limit.
	Turn int
	// Ramp is how many pieces must have been sent for each slot beyond the first.
	// 0 = all slots at once.
	Ramp int
}

// Default returns the limits of a node: as many slots as it downloads from at a time.
// DESIGN.md of integration/swarmsim has the figures.
func Default() Config { return Config{Slots: 3, Reserved: 1, Turn: 2, Ramp: 1} }

// DefaultSeed returns the limits of a seed: twice a node's slots. Each of those that it
// sends to shares its link among the seed and others, so that a seed with the slots of
// a node could not fill its own.
func DefaultSeed() Config {
	c := Default()
	c.Slots *= 2
	return c
}

// Validate reports the first field that is out of range.
func (c Config) Validate() error {
	switch {
	case c.Slots < 1 || c.Slots > 1024:
		return errors.New("upload slots: want 1 to 1024")
	case c.Reserved < 0 || c.Reserved > 64:
		return errors.New("upload reserved slots: want 0 to 64")
	case c.Turn < 0:
		return errors.New("upload turn: want 0 or more")
	case c.Ramp < 0:
		return errors.New("upload ramp: want 0 or more")
	}
	return nil
}

// Slots counts the pieces being sent, and remembers who was refused. It is not safe
// for concurrent use.
type Slots struct {
	cfg     Config
	active  int
	sent    int                // pieces that ended
	wide    int                // slots, if more than configured
	turns   map[p2p.HostID]int // pieces in a row
	waiting []p2p.HostID       // refused since they were told last, in that order
	told    []p2p.HostID       // told of the last free slot, and did not come yet
}

// NewSlots returns Slots of which none is taken.
func NewSlots(cfg Config) *Slots {
	return &Slots{cfg: cfg, turns: map[p2p.HostID]int{}}
}

// Resize changes how many pieces are sent at a time. Those on their way are finished.
func (s *Slots) Resize(slots int) { s.cfg.Slots = slots }

// Acquire takes a slot for a piece to a host and reports whether there was one. A
// host that is refused is told by a later Vacant. A host that had its turn yields to
// those that wait or were told and are on their way, as long as another piece is
// being sent whose end will wake it.
func (s *Slots) Acquire(to p2p.HostID, class p2p.Class) bool {
	limit := s.limit()
	if class == p2p.Urgent {
		limit += s.cfg.Reserved
	}
	yields := s.cfg.Turn > 0 && s.turns[to] >= s.cfg.Turn && s.active > 0 &&
		class != p2p.Urgent && (other(s.waiting, to) || other(s.told, to))
	if s.active >= limit || yields {
		delete(s.turns, to)
		s.told = without(s.told, to)
		if !slices.Contains(s.waiting, to) {
			s.waiting = append(s.waiting, to)
		}
		return false
	}
	s.active++
	s.turns[to]++
	s.waiting, s.told = without(s.waiting, to), without(s.told, to)
	return true
}

// Widen makes the slots as many as n, where that is more than configured, until it is
// called again.
func (s *Slots) Widen(n int) { s.wide = n }

// limit is how many pieces may be sent at a time now. The first pieces of all leave
// one by one, so that others can pass them on soon: sent together, each would take
// as long as all.
func (s *Slots) limit() int {
	slots := max(s.cfg.Slots, s.wide)
	if s.cfg.Ramp == 0 {
		return slots
	}
	return min(slots, 1+s.sent/s.cfg.Ramp)
}

func other(hosts []p2p.HostID, than p2p.HostID) bool {
	return slices.ContainsFunc(hosts, func(h p2p.HostID) bool { return h != than })
}

func without(hosts []p2p.HostID, h p2p.HostID) []p2p.HostID {
	if i := slices.Index(hosts, h); i >= 0 {
		return slices.Delete(hosts, i, i+1)
	}
	return hosts
}

// Grant takes a slot for a host that a Line called, and reports whether there was one.
// Whose turn it is, the Line has decided.
func (s *Slots) Grant() bool {
	if s.Free() == 0 {
		return false
	}
	s.active++
	return true
}

// Free returns the number of slots that are not taken.
func (s *Slots) Free() int { return max(0, s.limit()-s.active) }

// Release gives a slot back.
func (s *Slots) Release(to p2p.HostID) {
	s.active--
	s.sent++
	s.told = nil
}

// Vacant returns the hosts to be told that there is a slot: all that were refused
// since they were told last, in that order. The first that comes gets it; most have
// found another by now, and whoever is not told would wait for nothing. It is called
// after Release.
func (s *Slots) Vacant() []p2p.HostID {
	if s.active >= s.limit() || len(s.waiting) == 0 {
		return nil
	}
	now := s.waiting
	for _, h := range now {
		s.told = append(without(s.told, h), h)
	}
	s.waiting = nil
	return now
}

// Ended says that a host's data connection is gone or idle: its turn is over.
func (s *Slots) Ended(to p2p.HostID) {
	delete(s.turns, to)
	s.told = without(s.told, to)
}

// Active returns the number of slots taken.
func (s *Slots) Active() int { return s.active }
