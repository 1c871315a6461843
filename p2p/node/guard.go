package node

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/containerd/errdefs"

	"github.com/darter-p2p/darter/p2p"
)

// guard watches over a reader that waits: when nothing has come for him for too long, the
// scheduler is asked to let this host read the origin (Relief). It keeps the time of one
// wait and is used by one goroutine.
type guard struct {
	n     *Node
	t     *task
	class p2p.Class
	limit time.Duration
	since time.Time
	timer *time.Timer
}

// starve is how long a reader of each class may wait without a byte.
func starve(c p2p.Class) time.Duration {
	switch c {
	case p2p.Urgent:
		return 500 * time.Millisecond
	case p2p.Window:
		return 2 * time.Second
	default:
		return 5*time.Second + rand.N(5*time.Second)
	}
}

func (n *Node) newGuard(t *task, class p2p.Class) *guard {
	g := &guard{n: n, t: t, class: class, limit: starve(class), since: time.Now()}
	g.timer = time.NewTimer(g.limit)
	return g
}

func (g *guard) stop() { g.timer.Stop() }

// fed is what neighbours gave this host, of all tasks.
type fed struct {
	bytes int64
	last  time.Time // when a piece came
}

// sharedPatience is how many times its limit a reader waits while pieces of other tasks
// come: the layers of an image share the slots of this host and the uplink of the seed,
// which is asked for what a reader waits for when he has waited for 2 s.
const sharedPatience = 3

// left returns how much longer the reader is to wait before he starves.
func (g *guard) left(now time.Time, f fed) time.Duration {
	limit := g.limit
	if g.class != p2p.Urgent && now.Sub(f.last) < g.limit {
		limit *= sharedPatience
	}
	return limit - now.Sub(g.since)
}

// hungerLocked is called when the timer fires; first is the piece that the reader waits
// for. A reader that reads in order does not starve while other pieces come. It returns
// ErrUnavailable where no scheduler has been there for Config.SchedulerWait: then the
// reader is to help himself.
func (g *guard) hungerLocked(first p2p.Piece) error {
	n, t := g.n, g.t
	if g.class != p2p.Urgent && t.came.After(g.since) {
		g.since = t.came
	}
	if left := g.left(time.Now(), n.fed); left > 0 {
		g.timer.Reset(min(left, g.limit))
		return nil
	}
	if away := time.Since(n.scheduler.since); !n.scheduler.connected && away >= n.cfg.SchedulerWait {
		return fmt.Errorf("no scheduler for %v, and no byte for %v: %w", away.Round(time.Second), g.limit, errdefs.ErrUnavailable)
	}
	since := g.since
	g.since = time.Now()
	g.timer.Reset(g.limit)
	limited := n.cfg.Limits.Receiving(t.id, g.class).Limited() // it may be that which is slow
	if t.puller == nil && t.relief == nil && t.err == nil && (!limited || g.class == p2p.Urgent) {
		t.hungry = since
		n.tracker.Starved(t.id, first, g.class == p2p.Urgent, false)
	}
	return nil
}
