package tracker

import (
	"context"
	"math/rand/v2"
	"time"
)

// backoff waits longer each time, up to max, with jitter: when a scheduler comes
// back its nodes must not all come at once.
type backoff struct {
	min, max time.Duration
	next     time.Duration
}

func (b *backoff) reset() { b.next = 0 }

// pick returns between half of the next wait and all of it.
func (b *backoff) pick() time.Duration {
	b.next = min(max(2*b.next, b.min), b.max)
	return b.next/2 + rand.N(b.next/2+1)
}

func (b *backoff) sleep(ctx context.Context) {
	t := time.NewTimer(b.pick())
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
