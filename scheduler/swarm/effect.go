package swarm

import "github.com/darter-p2p/darter/p2p"

// Effect is a message to a host.
type Effect struct {
	To      p2p.HostID
	Message Message
}

// Message is Neighbours, Pull, Relief, TaskGeometry or TaskFailed.
type Message interface{ isMessage() }

// Neighbours changes whom a host exchanges a task with. Remove comes before Add: a
// host in both has changed its address. An Add of a host that is a neighbour
// already changes what is known of it. A host that gets neighbours of a task that
// it does not know, while it is a seed, takes the task for the others. Both sides
// of a pair are told; the one with the smaller HostID dials, or either.
//
// Host.Seed says that the neighbour is a seed or reads this task from the origin.
type Neighbours struct {
	Task   p2p.TaskID
	Add    []p2p.Host
	Remove []p2p.HostID
}

// Pull tells a host to read from the origin what the swarm lacks of a task, or to stop.
type Pull struct {
	Task   p2p.TaskID
	Origin p2p.Origin
	Size   int64 // bytes; -1 = not known
	Token  bool  // the host is no seed: it needs a signed token
	Stop   bool  // somebody else reads it
	// Stripe is the host's share. A Pull to a host that reads the task changes it.
	Stripe p2p.Stripe
}

// TaskGeometry tells a host the size of a task.
type TaskGeometry struct {
	Task p2p.TaskID
	Size int64
}

// TaskFailed says that nobody can give a task now.
type TaskFailed struct {
	Task  p2p.TaskID
	Error p2p.OriginError
}

func (Neighbours) isMessage()   {}
func (Pull) isMessage()         {}
func (TaskGeometry) isMessage() {}
func (TaskFailed) isMessage()   {}
