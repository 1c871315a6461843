package swarm

import "github.com/darter-p2p/darter/p2p"

// Event is something that a host said or that happened to it.
type Event interface{ apply(c *Core) }

// HostUp says that a host is connected. For a host that is up already it says that
// the host has connected anew: what it does not announce again is dropped at its
// last Announce.
type HostUp struct{ Host p2p.Host }

// HostDown says that a host is gone.
type HostDown struct{ Host p2p.HostID }

// Announce says what a host holds, in one or more parts.
type Announce struct {
	Host     p2p.HostID
	Holdings []p2p.Holding
	Last     bool // no part follows
}

// Join says that a host wants a task whole. Joining again asks for all neighbours anew.
type Join struct {
	Task   p2p.TaskID
	Host   p2p.HostID
	Origin p2p.Origin // "" = only from peers
	Size   int64      // bytes; -1 = not known
}

// Leave says that a host neither wants nor holds a task any more.
type Leave struct {
	Task p2p.TaskID
	Host p2p.HostID
}

// Done says that a host holds a task whole.
type Done struct {
	Task p2p.TaskID
	Host p2p.HostID
}

// NeighbourLost asks for other neighbours in the place of some that do not serve.
type NeighbourLost struct {
	Task p2p.TaskID
	Host p2p.HostID
	Lost []p2p.HostID
}

// PullStarted says that a puller has the origin's first bytes.
type PullStarted struct {
	Task p2p.TaskID
	Host p2p.HostID
	Size int64 // bytes; -1 = the origin did not say
}

// PullFailed says that the origin did not give a task to the puller.
type PullFailed struct {
	Task  p2p.TaskID
	Host  p2p.HostID
	Error p2p.OriginError
}

// PullDone says that the puller holds the task whole.
type PullDone struct {
	Task p2p.TaskID
	Host p2p.HostID
}

// BadPeer reports a host that sent bytes or digests that do not verify.
type BadPeer struct {
	Task     p2p.TaskID
	Host     p2p.HostID
	Reporter p2p.HostID
}

// Tick says only that time has passed.
type Tick struct{}

func (Tick) apply(*Core) {}
