package exchange

import (
	"bytes"
	"context"
	"io"
	"math"
	"sync/atomic"
	"testing"
	"time"

	"github.com/darter-p2p/darter/internal/config"
	"github.com/darter-p2p/darter/p2p"
	"github.com/darter-p2p/darter/p2p/limit"
)

// A limit holds for all that a host sends, within 5 %, by the time at which it arrives.
func TestUploadLimit(t *testing.T) {
	overSim(t, func(t *testing.T, c *cluster) {
		const rate, length, each = 2 << 20, 1 << 20, 10
		limits := limit.New(limit.Config{Upload: config.Rate(rate * 8)})
		from := c.host("from")
		from.serve = func(_ p2p.HostID, q Request) Answer {
			return Answer{Piece: q.First, Reader: bytes.NewReader(make([]byte, length)), Length: length, Pace: limits.Sending(q.Task).Wait}
		}
		start := time.Now()
		done := make(chan error)
		for _, name := range []string{"a", "b", "c"} {
			s := c.host(name).stream(t, from)
			mustSend(t, s, Request{ID: 1, Task: task("a"), Count: each})
			go func() {
				for range each {
					_, body, err := s.Next()
					if err == nil {
						_, err = io.Copy(io.Discard, body)
					}
					if err != nil {
						done <- err
						return
					}
				}
				done <- nil
			}()
		}
		for range 3 {
			if err := <-done; err != nil {
				t.Fatal(err)
			}
		}
		want := 3.0 * each * length / rate
		if got := time.Since(start).Seconds(); math.Abs(got/want-1) > 0.05 {
			t.Errorf("took %.2f s, want %.2f", got, want)
		}
	})
}

// The pacer is asked for every byte before it goes, whatever way it goes.
func TestPaceSeesEveryByte(t *testing.T) {
	c := newCluster(t, nil)
	a, b := c.host("a"), c.host("b")
	const length = 3*PaceLen + 1000
	want := content(2 * length)
	f := file(t, want)
	var asked, longest atomic.Int64
	b.serve = func(_ p2p.HostID, q Request) Answer {
		r := Answer{Piece: q.First, Start: int64(q.First) * length, Length: length, Pace: func(_ context.Context, n int) error {
			asked.Add(int64(n))
			longest.Store(max(longest.Load(), int64(n)))
			return nil
		}}
		if q.First == 0 {
			r.File = f
		} else {
			r.Reader = bytes.NewReader(want)
		}
		return r
	}
	s := a.stream(t, b)
	mustSend(t, s, Request{ID: 1, Task: task("a"), Count: 2})
	var got []byte
	for range 2 {
		_, body, err := s.Next()
		if err != nil {
			t.Fatal(err)
		}
		part, err := io.ReadAll(body)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, part...)
	}
	if !bytes.Equal(got, want) {
		t.Error("other bytes came")
	}
	if asked.Load() != 2*length || longest.Load() > PaceLen {
		t.Errorf("asked for %d bytes, at most %d at a time; want %d, %d", asked.Load(), longest.Load(), 2*length, PaceLen)
	}
}

// A pacer that waits does not outlive the connection.
func TestPaceEndsWithTheConnection(t *testing.T) {
	overTransports(t, func(t *testing.T, c *cluster) {
		a, b := c.host("a"), c.host("b")
		waiting, done := make(chan struct{}), make(chan error, 1)
		b.serve = func(_ p2p.HostID, q Request) Answer {
			return Answer{
				Piece: q.First, Reader: bytes.NewReader(make([]byte, 10)), Length: 10,
				Pace: func(ctx context.Context, _ int) error {
					close(waiting)
					<-ctx.Done()
					return ctx.Err()
				},
				Done: func(sent int64, err error) {
					if sent != 0 {
						t.Errorf("%d bytes were sent", sent)
					}
					done <- err
				},
			}
		}
		s := a.stream(t, b)
		mustSend(t, s, Request{ID: 1, Task: task("a"), Count: 1})
		<-waiting
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if err := <-done; err == nil {
			t.Error("the answer was sent")
		}
	})
}
