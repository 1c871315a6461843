// Package swarm is the scheduler's decisions as a pure core: who is a neighbour of
// whom in a task, who reads the task from its origin, and what is told to which
// host when something changes. Time and chance come from outside; the core has no
// goroutine, clock, log or socket, and the same events with the same seed give the
// same effects. DESIGN.md says why it decides as it does.
package swarm

import (
	"math/rand/v2"
	"time"

	"github.com/darter-p2p/darter/p2p"
)

// Core holds the hosts, tasks and peers that a scheduler knows. It is not safe for concurrent use.
type Core struct {
	cfg   Config
	rng   *rand.Rand
	now   time.Time
	began time.Time // of the first event
	warm  time.Time // no pull begins earlier
	hosts map[p2p.HostID]*host
	tasks map[p2p.TaskID]*task
	racks map[string]*rack
	seeds []*host // live hosts that are seeds, by ID

	pauses map[string]pause // by server

	created uint64    // tasks ever made; gives each its sequence number
	epoch   uint32    // of the last walk over a mesh
	peers   int       // over all tasks
	pulls   int       // tasks that somebody reads from an origin
	chosen  uint64    // edges ever made
	watched []*task   // tasks with something that time changes
	sweepAt time.Time // of the watched tasks
	soon    []*peer   // with news to be told at the end of this event
	later   []*peer   // with news to be told later, in the order of talk.due
	effects []Effect
}

// sweepEvery is how often tasks are looked after that wait for something, such as
// the end of a remembered failure.
const sweepEvery = time.Second

// New returns an empty core. The configuration must be valid.
func New(cfg Config, rng *rand.Rand) *Core {
	return &Core{
		cfg:    cfg,
		rng:    rng,
		hosts:  make(map[p2p.HostID]*host),
		tasks:  make(map[p2p.TaskID]*task),
		racks:  make(map[string]*rack),
		pauses: make(map[string]pause),
	}
}

// Apply takes one event and returns what is to be sent, in order. The slice is
// valid until the next call. An event that names a host which is not up, or a task
// or role that the host does not have, changes nothing: events race with each
// other on their way.
func (c *Core) Apply(now time.Time, ev Event) []Effect {
	if c.now.IsZero() {
		c.began, c.warm = now, now.Add(c.cfg.Warmup)
	}
	if now.After(c.now) { // time never runs backwards in here
		c.now = now
	}
	c.effects = c.effects[:0]
	ev.apply(c)
	c.sweep()
	c.flush()
	return c.effects
}

// Next returns when Tick should be applied at the latest, and false if nothing waits.
func (c *Core) Next() (time.Time, bool) {
	var next time.Time
	earlier := func(t time.Time) {
		if next.IsZero() || t.Before(next) {
			next = t
		}
	}
	if len(c.later) > 0 {
		earlier(c.later[0].talk.due)
	}
	if len(c.watched) > 0 {
		earlier(c.sweepAt)
	}
	return next, !next.IsZero()
}

// Stats counts what a core holds.
type Stats struct {
	Hosts     int
	Seeds     int
	Tasks     int
	Peers     int    // (task, host) pairs
	Pulls     int    // tasks that somebody reads from an origin now
	Decisions uint64 // pairs of neighbours ever made
}

// Stats returns the current counts.
func (c *Core) Stats() Stats {
	return Stats{
		Hosts: len(c.hosts), Seeds: len(c.seeds), Tasks: len(c.tasks),
		Peers: c.peers, Pulls: c.pulls, Decisions: c.chosen,
	}
}

// emit adds an effect.
func (c *Core) emit(to *host, m Message) {
	c.effects = append(c.effects, Effect{To: to.ID, Message: m})
}
