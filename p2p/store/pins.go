package store

import (
	"fmt"
	"time"

	"github.com/containerd/errdefs"

	"github.com/darter-p2p/darter/p2p/store/journal"
)

// maxPins is the highest number of reasons that may pin one task.
const maxPins = 64

// pins says until when a task is kept, by reason.
type pins map[string]time.Time

// set makes, moves or ends (until is zero) a pin.
func (p pins) set(reason string, until time.Time) {
	if until.IsZero() {
		delete(p, reason)
	} else {
		p[reason] = until
	}
}

// active returns the pins that have not ended at now.
func (p pins) active(now time.Time) pins {
	left := pins{}
	for reason, until := range p {
		if until.After(now) {
			left[reason] = until
		}
	}
	return left
}

func (p pins) holds(now time.Time) bool {
	for _, until := range p {
		if until.After(now) {
			return true
		}
	}
	return false
}

// check reports whether a pin for reason may be set.
func (p pins) check(reason string, until time.Time) error {
	if reason == "" || len(reason) > journal.MaxReason {
		return fmt.Errorf("reason of %d bytes, want 1 to %d: %w", len(reason), journal.MaxReason, errdefs.ErrInvalidArgument)
	}
	if _, held := p[reason]; !held && !until.IsZero() && len(p) >= maxPins {
		return fmt.Errorf("%d pins already: %w", len(p), errdefs.ErrResourceExhausted)
	}
	return nil
}
