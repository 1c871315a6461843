package node

import (
	"github.com/darter-p2p/darter/p2p/tracker"
)

// FromScheduler returns what a tracker.Client tells this node.
func (n *Node) FromScheduler() tracker.Handler { return fromScheduler{n} }

// fromScheduler keeps the scheduler's Connected apart from that of links.
type fromScheduler struct{ *Node }

func (f fromScheduler) Connected(up bool) { f.SchedulerState(up) }

func (f fromScheduler) Pull(p tracker.Pull) {
	f.Node.Pull(p.Task, p.Origin, p.Size, p.Token, p.Stripe, p.Stop)
}

func (f fromScheduler) Relief(r tracker.Relief) {
	f.Node.Relief(r.Task, r.Origin, r.Token, r.First, r.First+r.Count, r.Beside)
}

var _ Tracker = (*tracker.Client)(nil)
