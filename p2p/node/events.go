package node

import (
	"time"

	"github.com/darter-p2p/darter/p2p"
)

// Events are told what happens, for logs and metrics. They must return at once and
// must not call the Node; some are called with its lock held. A nil one is skipped.
type Events struct {
	// Received: bytes of verified pieces came from a host; "" = from the origin.
	Received func(from p2p.HostID, seed bool, bytes int64)
	Sent     func(to p2p.HostID, bytes int64)
	TaskDone func(task p2p.TaskID, size int64)
	// TaskFailed: something of a task went wrong on this host.
	TaskFailed      func(task p2p.TaskID, err error)
	Banned          func(task p2p.TaskID, host p2p.HostID, reason string)
	Revoked         func(task p2p.TaskID, origin p2p.Origin, reason string)
	PullFailed      func(task p2p.TaskID, origin p2p.Origin, err error)
	OriginRetry     func(task p2p.TaskID, origin p2p.Origin, err error)
	HostUnreachable func(host p2p.Host, err error)
	HostLost        func(host p2p.HostID, err error)
	// OriginPaused: the scheduler says that an origin, read without a credential, asked for
	// a pause of a length.
	OriginPaused func(origin p2p.Origin, status int, left time.Duration)
	// TokenGiven: a reader's bearer token went to a seed that reads his content.
	TokenGiven func(task p2p.TaskID, to p2p.HostID)
}

// orNothing fills in functions that do nothing.
func (e Events) orNothing() Events {
	if e.Received == nil {
		e.Received = func(p2p.HostID, bool, int64) {}
	}
	if e.Sent == nil {
		e.Sent = func(p2p.HostID, int64) {}
	}
	if e.TaskDone == nil {
		e.TaskDone = func(p2p.TaskID, int64) {}
	}
	if e.TaskFailed == nil {
		e.TaskFailed = func(p2p.TaskID, error) {}
	}
	if e.Banned == nil {
		e.Banned = func(p2p.TaskID, p2p.HostID, string) {}
	}
	if e.Revoked == nil {
		e.Revoked = func(p2p.TaskID, p2p.Origin, string) {}
	}
	if e.PullFailed == nil {
		e.PullFailed = func(p2p.TaskID, p2p.Origin, error) {}
	}
	if e.OriginRetry == nil {
		e.OriginRetry = func(p2p.TaskID, p2p.Origin, error) {}
	}
	if e.HostUnreachable == nil {
		e.HostUnreachable = func(p2p.Host, error) {}
	}
	if e.TokenGiven == nil {
		e.TokenGiven = func(p2p.TaskID, p2p.HostID) {}
	}
	if e.OriginPaused == nil {
		e.OriginPaused = func(p2p.Origin, int, time.Duration) {}
	}
	if e.HostLost == nil {
		e.HostLost = func(p2p.HostID, error) {}
	}
	return e
}
