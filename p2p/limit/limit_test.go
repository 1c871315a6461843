package limit

import (
	"context"
	"errors"
	"math"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/darter-p2p/darter/internal/config"
	"github.com/darter-p2p/darter/p2p"
)

const mib = 1 << 20

func rate(bytes int64) config.Rate { return config.Rate(bytes * 8) }

// flood lets flows go as fast as they may, for some time, and returns their bytes.
func flood(t *testing.T, flows []Flow, during time.Duration) []int64 {
	sent := make([]int64, len(flows))
	ctx, cancel := context.WithTimeout(t.Context(), during)
	defer cancel()
	var group sync.WaitGroup
	for i, f := range flows {
		group.Go(func() {
			for f.Wait(ctx, Chunk) == nil {
				atomic.AddInt64(&sent[i], Chunk)
			}
		})
	}
	group.Wait()
	return sent
}

func total(sent []int64) (sum int64) {
	for _, n := range sent {
		sum += n
	}
	return sum
}

func within(t *testing.T, what string, got int64, want float64) {
	t.Helper()
	if off := math.Abs(float64(got)/want - 1); off > 0.05 {
		t.Errorf("%s: %d bytes, want %.0f: %.1f %% off", what, got, want, 100*off)
	}
}

// Each limit holds within 5 % of a second's bytes, and the lowest one counts.
func TestLimits(t *testing.T) {
	one, two := p2p.TaskOfURL("http://a/1", "", ""), p2p.TaskOfURL("http://a/2", "", "")
	cases := map[string]struct {
		cfg   Config
		flows func(l *Limits) []Flow
		want  int64 // bytes/s together
	}{
		"upload of the host":   {Config{Upload: rate(mib)}, func(l *Limits) []Flow { return []Flow{l.Sending(one), l.Sending(one), l.Sending(two)} }, mib},
		"download of the host": {Config{Download: rate(8 * mib)}, func(l *Limits) []Flow { return []Flow{l.Receiving(one, p2p.Urgent), l.Receiving(two, p2p.Window)} }, 8 * mib},
		"a task each":          {Config{Task: rate(mib)}, func(l *Limits) []Flow { return []Flow{l.Sending(one), l.Sending(two), l.Receiving(two, p2p.Window)} }, 3 * mib},
		"a task's class":       {Config{Task: rate(2 * mib), Background: rate(mib)}, func(l *Limits) []Flow { return []Flow{l.Receiving(one, p2p.Background)} }, mib},
		"two classes": {
			Config{Window: rate(4 * mib), Background: rate(mib)},
			func(l *Limits) []Flow { return []Flow{l.Receiving(one, p2p.Background), l.Receiving(two, p2p.Window)} }, 5 * mib,
		},
		"the lowest": {Config{Download: rate(mib), Task: rate(10 * mib), Window: rate(20 * mib)}, func(l *Limits) []Flow { return []Flow{l.Receiving(one, p2p.Window)} }, mib},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				if err := c.cfg.Validate(); err != nil {
					t.Fatal(err)
				}
				const seconds = 4
				sent := flood(t, c.flows(New(c.cfg)), seconds*time.Second)
				within(t, "together", total(sent), float64(seconds*c.want))
			})
		})
	}
}

// Those who share a limit get equal parts of it.
func TestShares(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New(Config{Upload: rate(3 * mib)})
		task := p2p.TaskOfURL("http://a/1", "", "")
		for i, n := range flood(t, []Flow{l.Sending(task), l.Sending(task), l.Sending(task)}, 10*time.Second) {
			if got := float64(n) / (10 * mib); got < 0.85 || got > 1.15 {
				t.Errorf("flow %d got %.2f of its share", i, got)
			}
		}
	})
}

// A limit that changes holds for what is under way.
func TestSet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New(Config{Upload: rate(mib)})
		f := []Flow{l.Sending(p2p.TaskOfURL("http://a/1", "", ""))}
		within(t, "before", flood(t, f, 4*time.Second)[0], 4*mib)
		l.Set(Config{Upload: rate(16 * mib)})
		within(t, "after", flood(t, f, 4*time.Second)[0], 64*mib)
		l.Set(Config{Upload: rate(2 * mib)})
		within(t, "at last", flood(t, f, 4*time.Second)[0], 8*mib)
		l.Set(Config{})
		if f[0].Limited() {
			t.Error("a limit is left")
		}
	})
}

// Who is not limited never waits; who is, ends with its context.
func TestWaitEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		if err := (Flow{}).Wait(t.Context(), 1<<30); err != nil {
			t.Error(err)
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		why := errors.New("enough")
		time.AfterFunc(time.Second, func() { cancel(why) })
		f := New(Config{Upload: rate(MinRate)}).Sending(p2p.TaskOfURL("http://a/1", "", ""))
		if err := f.Wait(ctx, 100*MinRate); !errors.Is(err, why) {
			t.Errorf("Wait ended with %v", err)
		}
	})
}

// Tasks that are over are forgotten.
func TestTasksAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New(Config{Task: rate(mib)})
		for i := range 10_000 {
			if err := l.Sending(p2p.TaskOfURL("http://a/", strings.Repeat("x", i%50), string(rune('a'+i)))).Wait(t.Context(), Chunk); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
		}
		if n := len(l.tasks); n > 64 {
			t.Errorf("%d tasks are remembered", n)
		}
	})
}

func TestConfig(t *testing.T) {
	if err := (Config{}).Validate(); err != nil {
		t.Error(err)
	}
	if err := (Config{Window: rate(MinRate - 1)}).Validate(); err == nil || !strings.Contains(err.Error(), "window") {
		t.Errorf("a limit of almost nothing: %v", err)
	}
}
