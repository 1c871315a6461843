package process

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/containerd/errdefs"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// journal is what happened, in order.
type journal struct {
	mu    sync.Mutex
	lines []string
}

func (j *journal) add(s string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, s)
}

// server is a part that runs until it is told to stop and takes a while for it.
func (j *journal) server(name string, drain time.Duration, result error) (string, func(context.Context) error) {
	return name, func(ctx context.Context) error {
		<-ctx.Done()
		j.add("stop " + name)
		time.Sleep(drain)
		j.add("end " + name)
		return result
	}
}

func TestStopsInReverseOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var j journal
		g := Group{Stopping: func() { j.add("stopping") }}
		g.Add(j.server("store", time.Second, nil))
		g.Add(j.server("exchange", 2*time.Second, context.Canceled))
		g.Add("once", func(context.Context) error { return nil })
		g.Add(j.server("mirror", 3*time.Second, nil))
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		start := time.Now()
		if err := g.Run(ctx); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start); took != time.Minute+6*time.Second {
			t.Errorf("took %s", took)
		}
		want := []string{"stopping", "stop mirror", "end mirror", "stop exchange", "end exchange", "stop store", "end store"}
		if !slices.Equal(j.lines, want) {
			t.Errorf("%q\nwant %q", j.lines, want)
		}
	})
}

func TestOneFailureStopsAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var j journal
		fault, late := errors.New("address in use"), errors.New("cannot sync")
		g := Group{}
		g.Add(j.server("store", 0, late))
		g.Add("listener", func(context.Context) error { time.Sleep(time.Second); return fault })
		g.Add(j.server("mirror", 0, nil))
		err := g.Run(t.Context())
		if !errors.Is(err, fault) || !errors.Is(err, late) || err.Error() != "listener: address in use\nstop: store: cannot sync" {
			t.Fatal(err)
		}
		if want := []string{"stop mirror", "end mirror", "stop store", "end store"}; !slices.Equal(j.lines, want) {
			t.Errorf("%q\nwant %q", j.lines, want)
		}
	})
}

func TestEndsWhenAllPartsAreDone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := Group{}
		g.Add("a", func(context.Context) error { time.Sleep(time.Hour); return nil })
		g.Add("b", func(context.Context) error { return nil })
		if err := g.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
}

func TestStuckPartIsNamed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		defer synctest.Wait()
		defer close(release)
		var j journal
		g := Group{StopTimeout: 5 * time.Second}
		g.Add(j.server("store", 0, nil))
		g.Add("stubborn", func(context.Context) error { <-release; return nil })
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		start := time.Now()
		err := g.Run(ctx)
		if !errors.Is(err, ErrStuck) || !strings.Contains(err.Error(), "stubborn") || time.Since(start) != 5*time.Second {
			t.Fatalf("%v after %s", err, time.Since(start))
		}
		if ExitCode(err) != ExitFailure {
			t.Error("a stuck part is success")
		}
	})
}

func TestSignalEndsTheContext(t *testing.T) {
	ctx, stop := Signals(t.Context())
	defer stop()
	if err := syscall.Kill(syscall.Getpid(), syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case <-ctx.Done():
	case <-time.After(10 * time.Second):
		t.Fatal("still running")
	}
}

func TestExitCode(t *testing.T) {
	for err, want := range map[error]int{
		nil:              0,
		context.Canceled: 0,
		fmt.Errorf("x: %w", errdefs.ErrInvalidArgument): 2,
		fmt.Errorf("x: %w", errdefs.ErrUnavailable):     3,
		fmt.Errorf("x: %w", errdefs.ErrNotFound):        4,
		errors.New("x"):                                 1,
		context.DeadlineExceeded:                        1,
	} {
		if got := ExitCode(err); got != want {
			t.Errorf("%v: %d, want %d", err, got, want)
		}
	}
}
