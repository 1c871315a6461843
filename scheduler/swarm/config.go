package swarm

import (
	"fmt"
	"time"

	"github.com/darter-p2p/darter/p2p"
)

// Config sets how meshes are built and how long things are remembered.
type Config struct {
	Neighbours      int           // k, the mean number of neighbours of a peer; no peer has more than 1.5 k
	LargeSwarm      int           // peers above which a task uses LargeNeighbours
	LargeNeighbours int           // k of a large swarm
	SeedDegree      int           // neighbours of whoever reads a task from the origin, and of seeds, at most
	RackNeighbours  int           // from a peer's own rack, and from outside of it, at least, where there are so many; 0 = racks do not matter
	Bridges         int           // links that leave a zone, per zone and task, to aim at; 0 = zones do not matter
	Batch           time.Duration // news for a peer that was told something shorter ago are told together
	Warmup          time.Duration // after the first event no pull begins, so that holders can announce themselves
	Settle          time.Duration // no pull begins for so long of a task that came from another scheduler, until its holders came too
	PullTries       int           // hosts that try to read one origin before the task fails
	PullStart       time.Duration // without the origin's first byte after so long, the next host tries
	FailureMemory   time.Duration // an origin's refusal answers later joins for so long, or for the origin's own Retry-After
	MaxRetryAfter   time.Duration // the longest Retry-After that is obeyed
	StripeRun       int64         // bytes that a seed reads in a row where several share a content; 0 = they do not
	ReliefRun       int           // pieces that a peer whose readers starve may read from the origin at once
	ReliefShare     int           // all such peers of a task read at most one piece of so many
	ReliefAfter     time.Duration // nobody does so while the puller has had less time than this
	ReliefStart     time.Duration // the same before the origin's first byte, and for contents of one piece
	ReliefLife      time.Duration // after that one that says nothing has given up
	Avoid           time.Duration // a neighbour that a peer reported lost is not given to it again for so long
	Condemn         time.Duration // a host that sent wrong bytes is kept out of the task for so long
}

// Default returns the values that the measurements of DESIGN.md support.
func Default() Config {
	return Config{
		Neighbours:      16,
		LargeSwarm:      5000,
		LargeNeighbours: 24,
		SeedDegree:      64,
		RackNeighbours:  4,
		Bridges:         2,
		Batch:           5 * time.Millisecond,
		Warmup:          3 * time.Second,
		Settle:          time.Second,
		PullTries:       5,
		PullStart:       30 * time.Second,
		FailureMemory:   5 * time.Second,
		MaxRetryAfter:   5 * time.Minute,
		StripeRun:       8 << 20,
		ReliefRun:       4,
		ReliefShare:     8,
		ReliefAfter:     time.Second,
		ReliefStart:     5 * time.Second,
		ReliefLife:      10 * time.Second,
		Avoid:           10 * time.Second,
		Condemn:         10 * time.Minute,
	}
}

// Validate returns the first value that cannot work.
func (c Config) Validate() error {
	for _, v := range []struct {
		name     string
		n        int
		min, max int
	}{
		{"neighbours", c.Neighbours, 2, 256},
		{"large swarm", c.LargeSwarm, 1, 1 << 30},
		{"large neighbours", c.LargeNeighbours, c.Neighbours, 256},
		{"seed degree", c.SeedDegree, c.Neighbours, 1 << 16},
		{"rack neighbours", c.RackNeighbours, 0, c.Neighbours / 2},
		{"bridges", c.Bridges, 0, c.Neighbours},
		{"pull tries", c.PullTries, 1, 1000},
		{"relief run", c.ReliefRun, 0, 1 << 16},
		{"relief share", c.ReliefShare, 1, 1 << 16},
	} {
		if v.n < v.min || v.n > v.max {
			return fmt.Errorf("%s: %d is not within %d to %d", v.name, v.n, v.min, v.max)
		}
	}
	if r := c.StripeRun; r != 0 && (r < p2p.MaxPreferredPieceLength || r&(r-1) != 0) {
		return fmt.Errorf("stripe run: %d is no power of two from %d", r, int64(p2p.MaxPreferredPieceLength))
	}
	for _, v := range []struct {
		name     string
		d        time.Duration
		min, max time.Duration
	}{
		{"batch", c.Batch, 0, 10 * time.Second},
		{"warm-up", c.Warmup, 0, time.Minute},
		{"settle", c.Settle, 0, time.Minute},
		{"pull start", c.PullStart, time.Second, time.Hour},
		{"failure memory", c.FailureMemory, 100 * time.Millisecond, time.Hour},
		{"max retry after", c.MaxRetryAfter, 0, 24 * time.Hour},
		{"relief after", c.ReliefAfter, 0, time.Hour},
		{"relief start", c.ReliefStart, 0, time.Hour},
		{"relief life", c.ReliefLife, time.Second, time.Hour},
		{"avoid", c.Avoid, 0, time.Hour},
		{"condemn", c.Condemn, 0, 24 * time.Hour},
	} {
		if v.d < v.min || v.d > v.max {
			return fmt.Errorf("%s: %v is not within %v to %v", v.name, v.d, v.min, v.max)
		}
	}
	return nil
}
