package exchange

import (
	"errors"
	"io"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/containerd/errdefs"

	"github.com/darter-p2p/darter/p2p"
)

// A peer that asks and does not read has its connection closed, by sendfile and by
// copying, so that Done gives the slot back.
func TestASlowReaderLosesItsConnection(t *testing.T) {
	overTransports(t, func(t *testing.T, c *cluster) {
		a := c.host("a")
		b := c.host("b", func(cfg *Config) { cfg.StallTimeout = 300 * time.Millisecond })
		defer a.stop()
		defer b.stop()
		f := file(t, nil)
		if err := os.Truncate(f.Name(), 1<<30); err != nil {
			t.Fatal(err)
		}
		for name, ans := range map[string]Answer{"file": {File: f}, "reader": {Reader: endless{}}} {
			done := make(chan error, 1)
			var sent int64
			b.change(func() {
				b.serve = func(_ p2p.HostID, q Request) Answer {
					ans.Piece, ans.Length = q.First, 1<<30
					ans.Done = func(n int64, err error) { sent = n; done <- err }
					return ans
				}
			})
			s := a.stream(t, b)
			start := time.Now()
			mustSend(t, s, Request{Task: task("a"), Count: 1})
			if err := <-done; !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("%s: %v", name, err)
			}
			if took := time.Since(start); sent == 0 || sent == 1<<30 || took > 10*time.Second {
				t.Errorf("%s: %d bytes were sent in %v", name, sent, took)
			}
			_, body, err := s.Next()
			if err == nil {
				_, err = io.Copy(io.Discard, body)
			}
			if !errdefs.IsUnavailable(err) {
				t.Errorf("%s: the slow reader read to the end: %v", name, err)
			}
		}
		if a.seen().downs != 0 {
			t.Error("the link ended, too")
		}
	})
}

func TestAFileThatIsTooShort(t *testing.T) {
	overTransports(t, func(t *testing.T, c *cluster) {
		a, b := c.host("a"), c.host("b")
		defer a.stop()
		defer b.stop()
		f := file(t, content(1000))
		done := make(chan error, 1)
		b.serve = func(_ p2p.HostID, q Request) Answer {
			return Answer{Piece: q.First, File: f, Length: 2000, Done: func(_ int64, err error) { done <- err }}
		}
		s := a.stream(t, b)
		mustSend(t, s, Request{Task: task("a"), Count: 1})
		if err := <-done; !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("done: %v", err)
		}
		_, body, err := s.Next()
		if err == nil {
			_, err = io.Copy(io.Discard, body)
		}
		if !errdefs.IsUnavailable(err) {
			t.Errorf("read: %v", err)
		}
	})
}

// A reply that is due and does not come ends the stream; with nothing due it waits.
func TestAServerThatStalls(t *testing.T) {
	overSim(t, func(t *testing.T, c *cluster) {
		a, b := c.host("a"), c.host("b")
		defer a.stop()
		defer b.stop()
		gate := gatedReader{make(chan struct{}, 1), make(chan struct{})}
		b.serve = func(_ p2p.HostID, q Request) Answer { return Answer{Piece: q.First, Reader: gate, Length: 1} }
		s := a.stream(t, b)
		var took time.Duration
		var err error
		var wg sync.WaitGroup
		start := time.Now()
		wg.Go(func() {
			_, _, err = s.Next()
			took = time.Since(start)
		})
		time.Sleep(time.Hour)
		mustSend(t, s, Request{Task: task("a"), Count: 1})
		wg.Wait()
		if want := time.Hour + Default().StallTimeout; took != want || !errdefs.IsUnavailable(err) {
			t.Errorf("ended after %v with %v, want %v", took, err, want)
		}
		close(gate.open)
	})
}
