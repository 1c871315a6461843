package store

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/darter-p2p/darter/p2p"
)

// entry is what the store knows of a task without opening it.
type entry struct {
	id    p2p.TaskID
	g     p2p.Geometry
	names names

	pieces    atomic.Int64 // verified
	bytes     atomic.Int64 // verified
	completed atomic.Bool
	gone      atomic.Bool // deleted or evicted

	// Guarded by Disk.mu.
	handles int       // given out and not released
	refs    int       // handles, and uses by the store itself
	used    time.Time // last
	touched time.Time // last used as the disk knows it
	pins    pins

	// loading serialises opening and closing the task's files. It is taken before Disk.mu.
	loading sync.Mutex
	task    *task // nil while nobody uses it
}

func (e *entry) info(now time.Time) Info {
	var kept pins
	if len(e.pins) > 0 {
		kept = e.pins.active(now)
	}
	return Info{
		ID: e.id, Geometry: e.g,
		Pieces: int(e.pieces.Load()), Bytes: e.bytes.Load(), Completed: e.completed.Load(),
		Used: e.used, Pins: kept, Open: e.handles,
	}
}

// evictable reports whether the task may be given back. Disk.mu is held.
func (e *entry) evictable(now time.Time) bool { return e.handles == 0 && !e.pins.holds(now) }

// countSet sets the counters from a set of verified pieces.
func (e *entry) countSet(have *p2p.PieceSet) {
	var n int64
	for p, ok := have.Next(0); ok; p, ok = have.Next(p + 1) {
		n += e.g.Length(p)
	}
	e.pieces.Store(int64(have.Count()))
	e.bytes.Store(n)
}
