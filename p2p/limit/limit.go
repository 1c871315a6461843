// Package limit holds a host's bandwidth limits: token buckets on the bytes that really
// go over the wire, for the host, for each task and for each class of read. They can be
// changed while bytes flow.
package limit

import (
	"context"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/darter-p2p/darter/internal/config"
	"github.com/darter-p2p/darter/p2p"
)

// Config holds the limits. 0 is none.
type Config struct {
	Upload     config.Rate `toml:"upload" doc:"All that this node sends to others. 0 = no limit, as for all of these; \"200Mbit/s\" or \"25MiB/s\"."`
	Download   config.Rate `toml:"download" doc:"All that this node takes from others and from origins."`
	Task       config.Rate `toml:"task" doc:"What one content takes, and what it sends."`
	Window     config.Rate `toml:"window" doc:"What is taken from others for readers that are ahead of their need."`
	Background config.Rate `toml:"background" doc:"What is taken from others for nobody who waits: preheating, filling up."`
}

// MinRate is the lowest limit, in bytes/s: below it the pieces that are asked for at a
// time take longer than a neighbour may (download.Config.StallAfter).
const MinRate = 1 << 20

// Validate reports the first limit that is out of range.
func (c Config) Validate() error {
	for name, r := range map[string]config.Rate{
		"upload": c.Upload, "download": c.Download, "task": c.Task, "window": c.Window, "background": c.Background,
	} {
		if r != 0 && r.BytesPerSecond() < MinRate {
			return fmt.Errorf("%s: want 0 or at least 1MiB/s", name)
		}
	}
	return nil
}

// Limits are the limits of one host.
type Limits struct {
	on atomic.Bool // there is a limit

	mu         sync.Mutex
	task       int64 // bytes/s
	up, down   Bucket
	classes    map[p2p.Class]*Bucket
	tasks      map[flowKey]*Bucket
	tasksSwept int // how many tasks were left when idle ones were forgotten last
}

// flowKey names what the limit of a task holds for.
type flowKey struct {
	task p2p.TaskID
	up   bool
}

// New returns the limits of a configuration that is valid.
func New(c Config) *Limits {
	l := &Limits{
		classes: map[p2p.Class]*Bucket{p2p.Window: {}, p2p.Background: {}},
		tasks:   map[flowKey]*Bucket{},
	}
	l.Set(c)
	return l
}

// Set changes the limits, for bytes under way too.
func (l *Limits) Set(c Config) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	l.up.SetRate(now, c.Upload.BytesPerSecond())
	l.down.SetRate(now, c.Download.BytesPerSecond())
	l.classes[p2p.Window].SetRate(now, c.Window.BytesPerSecond())
	l.classes[p2p.Background].SetRate(now, c.Background.BytesPerSecond())
	l.task = c.Task.BytesPerSecond()
	for _, b := range l.tasks {
		b.SetRate(now, l.task)
	}
	l.on.Store(c != Config{})
}

// Flow is the way of one task's bytes in one direction. The zero Flow is not limited.
type Flow struct {
	limits *Limits
	task   p2p.TaskID
	class  p2p.Class
	up     bool
}

// Sending returns the way of a task's bytes to others.
func (l *Limits) Sending(task p2p.TaskID) Flow { return Flow{limits: l, task: task, up: true} }

// Receiving returns the way of a task's bytes to this host. The limits of classes are for
// Window and Background.
func (l *Limits) Receiving(task p2p.TaskID, class p2p.Class) Flow {
	return Flow{limits: l, task: task, class: class}
}

// Limited reports whether Wait may wait now.
func (f Flow) Limited() bool { return f.limits != nil && f.limits.on.Load() }

// Wait takes n bytes from every limit that holds for the flow and returns when they may
// go, or with the cause when ctx ends. n should be small beside a second's bytes: 64 KiB.
func (f Flow) Wait(ctx context.Context, n int) error {
	if !f.Limited() {
		return nil
	}
	wait := f.limits.take(f, n)
	if wait <= 0 {
		return nil
	}
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (l *Limits) take(f Flow, n int) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	host := &l.down
	if f.up {
		host = &l.up
	}
	wait := host.Take(now, n)
	if b := l.classes[f.class]; b != nil && !f.up {
		wait = max(wait, b.Take(now, n))
	}
	if l.task > 0 {
		wait = max(wait, l.ofTask(now, flowKey{f.task, f.up}).Take(now, n))
	}
	return wait
}

// ofTask returns the bucket of a task, and forgets idle ones when they have doubled.
func (l *Limits) ofTask(now time.Time, k flowKey) *Bucket {
	if b := l.tasks[k]; b != nil {
		return b
	}
	if len(l.tasks) >= max(64, 2*l.tasksSwept) {
		for k, b := range l.tasks {
			if b.idle(now) {
				delete(l.tasks, k)
			}
		}
		l.tasksSwept = len(l.tasks)
	}
	b := &Bucket{}
	b.SetRate(now, l.task)
	l.tasks[k] = b
	return b
}

// Chunk is how many bytes are let go at a time.
const Chunk = 64 << 10

// Reader returns r with its bytes held to the limits of the flow, until ctx ends.
func (f Flow) Reader(ctx context.Context, r io.Reader) io.Reader {
	return &reader{ctx: ctx, flow: f, r: r}
}

type reader struct {
	ctx  context.Context
	flow Flow
	r    io.Reader
}

// Read reads at most Chunk bytes where there is a limit.
func (r *reader) Read(p []byte) (int, error) {
	if !r.flow.Limited() {
		return r.r.Read(p)
	}
	n, err := r.r.Read(p[:min(len(p), Chunk)])
	if n > 0 {
		if werr := r.flow.Wait(r.ctx, n); err == nil {
			err = werr
		}
	}
	return n, err
}
