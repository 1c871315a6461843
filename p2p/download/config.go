package download

import (
	"errors"
	"time"
)

// Config holds the limits of a Core.
type Config struct {
	// Slots is how many neighbours the host downloads from at a time. More than its
	// upload slots starves its neighbours.
	Slots int
	// MaxSlots is how many it may be where messages take several piece times (Core.Slots).
	MaxSlots int
	// Depth is how many requests are outstanding at one neighbour: one that is being
	// answered, and those that hide the round trip. As many stand at a seed for fresh
	// pieces.
	Depth int
	// BusyFor is the longest that a neighbour that answered busy is left alone unless it
	// says that it is free. It is left alone for busyPieces piece times.
	BusyFor time.Duration
	// LateFactor is how many times the expected time of a piece may pass before it is
	// asked of another neighbour too.
	LateFactor float64
	// LateMin is the least time before a piece counts as late.
	LateMin time.Duration
	// StallAfter is how long a neighbour may take over a piece at all before its
	// stream is dropped and the neighbour reported.
	StallAfter time.Duration
	// Endgame is the number of missing pieces at which late ones are re-requested at
	// a third of LateFactor.
	Endgame int
	// Patience is how long a reader waits for its next piece before that is asked for out
	// of turn.
	Patience time.Duration
	// RepeatAfter is how long, at least, a piece that no other neighbour holds may be
	// missing, with a slot idle, before a seed is asked for it by name; two piece times
	// where that is longer.
	RepeatAfter time.Duration
}

// Default returns the limits measured to be best on equal links. Times that matter to
// throughput follow the measured time of a piece, from 2 ms to seconds; those here are
// their bounds.
func Default() Config {
	return Config{
		Slots: 3, MaxSlots: 6, Depth: 2, BusyFor: time.Second,
		LateFactor: 6, LateMin: 200 * time.Millisecond, StallAfter: 10 * time.Second,
		Endgame: 4, RepeatAfter: 5 * time.Millisecond, Patience: 500 * time.Millisecond,
	}
}

// Validate reports the first field that is out of range.
func (c Config) Validate() error {
	switch {
	case c.Slots < 1 || c.Slots > 64:
		return errors.New("download slots: want 1 to 64")
	case c.MaxSlots < c.Slots || c.MaxSlots > 64:
		return errors.New("download slots: want at least as many at most, and no more than 64")
	case c.Depth < 1 || c.Depth > 16:
		return errors.New("download depth: want 1 to 16")
	case c.LateFactor <= 1:
		return errors.New("download late factor: want more than 1")
	case c.Patience <= 0:
		return errors.New("download patience: want more than 0")
	case c.StallAfter <= 0:
		return errors.New("download stall time: want more than 0")
	}
	return nil
}
