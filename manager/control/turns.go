package control

import (
	"sync"
	"time"
)

// A change concerns thousands of streams at once. If all wrote at once, whoever asks the
// REST API meanwhile would wait behind all of them; so only some do at a time, and the
// next begins when a member has said that it has the state. A member that is slow to say
// so keeps others waiting for turnHold only.
const (
	turnsAtOnce = 128
	turnHold    = 100 * time.Millisecond
)

// turns are the turns of streams to tell their members of a change.
type turns chan struct{}

// turn is one stream's.
type turn struct {
	of    turns
	once  sync.Once
	timer *time.Timer
}

// take waits for a turn, and returns nil if one of two channels is closed before.
func (t turns) take(gone, stop <-chan struct{}) *turn {
	select {
	case t <- struct{}{}:
	case <-gone:
		return nil
	case <-stop:
		return nil
	}
	one := &turn{of: t}
	one.timer = time.AfterFunc(turnHold, one.release)
	return one
}

// end gives the turn to another stream. It may be called more than once, and on nil.
func (t *turn) end() {
	if t != nil {
		t.timer.Stop()
		t.release()
	}
}

func (t *turn) release() { t.once.Do(func() { <-t.of }) }
