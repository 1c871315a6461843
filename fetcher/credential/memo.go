package credential

import (
	"context"
	"errors"
	"sync"
	"time"
)

const (
	maxHeld     = 1024
	failureLife = 10 * time.Second // before a program that failed is run again
)

// memo remembers what programs answered, and their failures for a short time. Those
// who want the same answer at once share one run.
type memo[V any] struct {
	mu      sync.Mutex
	held    map[string]outcome[V]
	flights map[string]*flight[V]
}

type outcome[V any] struct {
	value V
	err   error
	until time.Time
}

// answer is what a program said, under which key it holds, and for how long; 0 = not at all.
type answer[V any] struct {
	value V
	key   string
	life  time.Duration
}

type flight[V any] struct {
	done  chan struct{} // closed when value and err are set
	value V
	err   error
}

func newMemo[V any]() *memo[V] {
	return &memo[V]{held: map[string]outcome[V]{}, flights: map[string]*flight[V]{}}
}

// get returns what is held under one of the keys, else what fetch answers. A run is
// shared by the first key. If the caller whose fetch runs goes away, one who waits
// runs his own.
func (m *memo[V]) get(ctx context.Context, fetch func(context.Context) (answer[V], error), keys ...string) (V, error) {
	for {
		m.mu.Lock()
		if o, ok := m.valid(keys); ok {
			m.mu.Unlock()
			return o.value, o.err
		}
		f, others := m.flights[keys[0]]
		if !others {
			f = &flight[V]{done: make(chan struct{})}
			m.flights[keys[0]] = f
		}
		m.mu.Unlock()
		if !others {
			m.fly(ctx, keys[0], f, fetch)
			return f.value, f.err
		}
		select {
		case <-f.done:
		case <-ctx.Done():
			var none V
			return none, ctx.Err()
		}
		if !errors.Is(f.err, errLeft) {
			return f.value, f.err
		}
	}
}

// errLeft is the error of a run whose caller went away.
var errLeft = errors.New("the one who asked went away")

func (m *memo[V]) fly(ctx context.Context, key string, f *flight[V], fetch func(context.Context) (answer[V], error)) {
	a, err := fetch(ctx)
	now := time.Now()
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.flights, key)
	switch {
	case ctx.Err() != nil:
		f.err = errors.Join(errLeft, ctx.Err())
	case err != nil:
		f.err = err
		m.put(key, outcome[V]{err: err, until: now.Add(failureLife)}, now)
	default:
		f.value = a.value
		if a.life > 0 {
			m.put(a.key, outcome[V]{value: a.value, until: now.Add(a.life)}, now)
		}
	}
	close(f.done)
}

func (m *memo[V]) valid(keys []string) (outcome[V], bool) {
	for _, k := range keys {
		if o, ok := m.held[k]; ok && time.Now().Before(o.until) {
			return o, true
		}
	}
	return outcome[V]{}, false
}

// put holds an outcome; where there is no room it drops what expired, and if that is
// not enough everything: answers can be had again.
func (m *memo[V]) put(key string, o outcome[V], now time.Time) {
	if len(m.held) >= maxHeld {
		for k, old := range m.held {
			if !now.Before(old.until) {
				delete(m.held, k)
			}
		}
		if len(m.held) >= maxHeld {
			clear(m.held)
		}
	}
	m.held[key] = o
}
