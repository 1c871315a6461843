package device

import (
	"context"
	"sync"
	"time"
)

// Traffic knows whether somebody waits for chunks, so that what nobody waits for steps
// aside. It is shared by devices. Its methods may be called concurrently.
type Traffic struct {
	mu     sync.Mutex
	active int           // fetches of Urgent and Window
	quiet  time.Time     // since when there are none
	change chan struct{} // closed when active becomes 0
}

// NewTraffic returns one without traffic.
func NewTraffic() *Traffic { return &Traffic{change: make(chan struct{}), quiet: time.Now()} }

func (t *Traffic) begin(n Need) {
	if n == Background {
		return
	}
	t.mu.Lock()
	t.active++
	t.mu.Unlock()
}

func (t *Traffic) end(n Need) {
	if n == Background {
		return
	}
	t.mu.Lock()
	if t.active--; t.active == 0 {
		t.quiet = time.Now()
		close(t.change)
		t.change = make(chan struct{})
	}
	t.mu.Unlock()
}

// Quiet waits until nobody has waited for chunks for a time.
func (t *Traffic) Quiet(ctx context.Context, d time.Duration) error {
	for {
		t.mu.Lock()
		active, since, change := t.active, time.Since(t.quiet), t.change
		t.mu.Unlock()
		if active == 0 && since >= d {
			return ctx.Err()
		}
		var after <-chan time.Time
		if active == 0 {
			after = time.After(d - since)
		}
		select {
		case <-change:
		case <-after:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
