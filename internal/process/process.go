// Package process runs the parts of a program together: on a signal or the failure of
// one they stop in the reverse of the order in which they were added, within a bounded time.
package process

import (
	"context"
	"errors"
	"fmt"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/containerd/errdefs"
)

// Signals returns a context that ends with the first SIGINT or SIGTERM. The second
// one ends the process at once, as if nobody listened. The caller calls stop when the
// program is done.
func Signals(ctx context.Context) (_ context.Context, stop func()) {
	ctx, stop = signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	return ctx, stop
}

// Exit codes of darter's programs.
const (
	ExitOK          = 0
	ExitFailure     = 1
	ExitUsage       = 2 // wrong arguments or configuration
	ExitUnavailable = 3 // whom it needs does not answer
	ExitNotFound    = 4 // there is no such thing
)

// ExitCode returns the exit code for what a program's Run returned. The end of a
// context, which a signal makes, is success.
func ExitCode(err error) int {
	switch {
	case err == nil, errors.Is(err, context.Canceled) && !errors.Is(err, ErrStuck):
		return ExitOK
	case errdefs.IsInvalidArgument(err):
		return ExitUsage
	case errdefs.IsUnavailable(err):
		return ExitUnavailable
	case errdefs.IsNotFound(err):
		return ExitNotFound
	}
	return ExitFailure
}

// ErrStuck says that a part did not stop in time.
var ErrStuck = errors.New("did not stop in time")

// DefaultStopTimeout is how long a Group waits for its parts when they stop.
const DefaultStopTimeout = 30 * time.Second

// Group is the parts of a program. Set it up, then call Run once.
type Group struct {
	// StopTimeout bounds the stopping of all parts together; 0 = DefaultStopTimeout.
	StopTimeout time.Duration
	// Stopping is called once when stopping begins, before any part is stopped: to
	// say so to health checks and the service manager. May be nil.
	Stopping func()

	parts []*part
}

type part struct {
	name   string
	run    func(context.Context) error
	cancel context.CancelFunc
	done   chan struct{}
	err    error // valid once done is closed
}

// Add appends a part; all are started together by Run. Its run returns when its context
// ends; what it needs was added before it and outlives it. A part that returns nil earlier has done its work; one
// that returns an error stops the program.
func (g *Group) Add(name string, run func(context.Context) error) {
	g.parts = append(g.parts, &part{name: name, run: run, done: make(chan struct{})})
}

// Run starts the parts and returns when all have stopped: nil if ctx ended and they
// stopped well, else the error of the first that failed, with those of stopping. A
// part that does not stop within the time is left behind and named in an ErrStuck.
func (g *Group) Run(ctx context.Context) error {
	failed := make(chan *part, len(g.parts))
	ended := make(chan struct{}, len(g.parts))
	for _, p := range g.parts {
		var own context.Context
		own, p.cancel = context.WithCancel(context.WithoutCancel(ctx))
		go func() {
			if p.err = p.run(own); p.err != nil {
				failed <- p
			}
			close(p.done)
			ended <- struct{}{}
		}()
	}
	first := g.wait(ctx, failed, ended)
	if g.Stopping != nil {
		g.Stopping()
	}
	return errors.Join(first, g.stop(first))
}

// wait returns when ctx ends, a part fails (its error) or all parts are done.
func (g *Group) wait(ctx context.Context, failed <-chan *part, ended <-chan struct{}) error {
	for range g.parts {
		select {
		case <-ctx.Done():
			return nil
		case p := <-failed:
			return p.wrapped()
		case <-ended:
		}
		select { // a failure comes before its end
		case p := <-failed:
			return p.wrapped()
		default:
		}
	}
	return nil
}

func (p *part) wrapped() error { return fmt.Errorf("%s: %w", p.name, p.err) }

// stop ends the parts, the last added first, each when those after it have ended.
func (g *Group) stop(first error) error {
	timeout := g.StopTimeout
	if timeout == 0 {
		timeout = DefaultStopTimeout
	}
	deadline := time.NewTimer(timeout)
	defer deadline.Stop()
	var faults []error
	for i := len(g.parts) - 1; i >= 0; i-- {
		p := g.parts[i]
		p.cancel()
		select {
		case <-p.done:
			if p.err != nil && !errors.Is(p.err, context.Canceled) && !errors.Is(first, p.err) {
				faults = append(faults, fmt.Errorf("stop: %w", p.wrapped()))
			}
		case <-deadline.C:
			return errors.Join(append(faults, g.stuck(timeout))...)
		}
	}
	return errors.Join(faults...)
}

// stuck cancels everything and names what has not ended.
func (g *Group) stuck(timeout time.Duration) error {
	var names []string
	for _, p := range g.parts {
		p.cancel()
		select {
		case <-p.done:
		default:
			names = append(names, p.name)
		}
	}
	return fmt.Errorf("stop: %s: %w (%s)", strings.Join(names, ", "), ErrStuck, timeout)
}
