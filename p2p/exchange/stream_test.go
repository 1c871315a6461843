package exchange

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/containerd/errdefs"

	"github.com/darter-p2p/darter/p2p"
)

func TestPiecesArriveInOrder(t *testing.T) {
	overTransports(t, func(t *testing.T, c *cluster) {
		a, b := c.host("a"), c.host("b")
		defer a.stop()
		defer b.stop()
		want := content(3<<20 + 77)
		g := p2p.GeometryFor(int64(len(want)))
		b.serve = served(g, bytes.NewReader(want))
		s := a.stream(t, b)
		mustSend(t, s,
			Request{ID: 1, Task: task("a"), First: 0, Count: 2, Offset: 1000},
			Request{ID: 2, Task: task("a"), First: 2, Count: uint16(g.Pieces() - 2)})
		if got := readAll(t, s, g.Pieces()); !bytes.Equal(got, want[1000:]) {
			t.Errorf("%d bytes came, or others than were sent", len(got))
		}
	})
}

// file writes a file that pieces are served from.
func file(t testing.TB, b []byte) *os.File {
	t.Helper()
	path := filepath.Join(t.TempDir(), "task")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// Thousands of small pieces over several connections that share one file; some of
// the answers come from a reader, some are none.
func TestThousandsOfSmallPieces(t *testing.T) {
	const pieces, each, streams = 6000, 700, 3
	c := newCluster(t, nil)
	a, b := c.host("a"), c.host("b")
	defer a.stop()
	defer b.stop()
	want := content(pieces * each)
	f := file(t, want)
	var dones, bytesDone atomic.Int64
	b.serve = func(_ p2p.HostID, q Request) Answer {
		if q.First%7 == 3 {
			return Answer{Status: StatusNotHeld}
		}
		n := int64(q.First) % each // pieces of every length up to each, and of none
		ans := Answer{Piece: q.First, File: f, Start: int64(q.First) * each, Length: n}
		if q.First%5 == 0 {
			ans.File, ans.Reader = nil, bytes.NewReader(want)
		}
		ans.Done = func(sent int64, err error) {
			dones.Add(1)
			bytesDone.Add(sent)
			if sent != n || err != nil {
				t.Errorf("piece %d: sent %d: %v", q.First, sent, err)
			}
		}
		return ans
	}
	var wg sync.WaitGroup
	var read atomic.Int64
	for range streams {
		s := a.stream(t, b)
		wg.Go(func() {
			for p := p2p.Piece(0); p < pieces; p += 4 {
				if err := s.Send(Request{ID: uint32(p), Task: task("a"), First: p, Count: 4}); err != nil {
					t.Error(err)
				}
			}
		})
		wg.Go(func() {
			for p := range p2p.Piece(pieces) {
				r, body, err := s.Next()
				if err != nil || r.Piece != p || (r.Status == StatusNotHeld) != (p%7 == 3) {
					t.Errorf("piece %d: %+v, %v", p, r, err)
					return
				}
				var got bytes.Buffer
				if _, err := io.Copy(&got, body); err != nil {
					t.Errorf("piece %d: %v", p, err)
					return
				}
				at := int(p) * each
				if r.Status == StatusOK && !bytes.Equal(got.Bytes(), want[at:at+int(p)%each]) {
					t.Errorf("piece %d has other bytes", p)
				}
				read.Add(int64(got.Len()))
			}
		})
	}
	wg.Wait()
	a.stop()
	b.stop()
	notHeld := (pieces + 3) / 7
	if dones.Load() != int64(streams*(pieces-notHeld)) || bytesDone.Load() != read.Load() {
		t.Errorf("Done was called %d times with %d bytes; %d were read", dones.Load(), bytesDone.Load(), read.Load())
	}
}

func TestBigPiecesFromOneSharedFile(t *testing.T) {
	c := newCluster(t, nil)
	for _, tls := range []bool{false, true} {
		a, b := c.host("a"), c.host("b", func(cfg *Config) { cfg.TLSData = tls })
		want := content(12<<20 + 5)
		g := p2p.GeometryFor(int64(len(want)))
		f := file(t, want)
		b.serve = func(h p2p.HostID, q Request) Answer {
			ans := served(g, nil)(h, q)
			ans.File, ans.Reader = f, nil
			return ans
		}
		var wg sync.WaitGroup
		for range 3 {
			s := a.stream(t, b)
			wg.Go(func() {
				if err := s.Send(Request{Task: task("a"), Count: uint16(g.Pieces())}); err != nil {
					t.Error(err)
				}
				if got := readAll(t, s, g.Pieces()); !bytes.Equal(got, want) {
					t.Error("other bytes came")
				}
			})
		}
		wg.Wait()
		if at, _ := f.Seek(0, io.SeekCurrent); at != 0 {
			t.Errorf("the shared file's position moved to %d", at)
		}
		a.stop()
		b.stop()
	}
}

func TestAnyPieceAndRefusals(t *testing.T) {
	overTransports(t, func(t *testing.T, c *cluster) {
		a, b := c.host("a"), c.host("b")
		defer a.stop()
		defer b.stop()
		b.serve = func(_ p2p.HostID, q Request) Answer {
			if q.ID == 1 {
				return Answer{Piece: 41, Reader: bytes.NewReader([]byte("any")), Length: 3}
			}
			return Answer{Status: Status(q.ID)}
		}
		s := a.stream(t, b)
		statuses := []Status{StatusNotHeld, StatusNoFresh, StatusRefused}
		mustSend(t, s, Request{ID: 1, Task: task("a"), First: AnyPiece, Count: 1})
		for _, st := range statuses {
			mustSend(t, s, Request{ID: uint32(st), Task: task("a"), First: AnyPiece, Count: 1})
		}
		r, body, err := s.Next()
		got, _ := io.ReadAll(body)
		if err != nil || r.Piece != 41 || string(got) != "any" {
			t.Errorf("%+v, %v, %q", r, err, got)
		}
		for _, st := range statuses {
			if r, _, err := s.Next(); err != nil || r.Status != st {
				t.Errorf("%+v, %v, want status %d", r, err, st)
			}
		}
		if err := s.Send(Request{Task: task("a")}); !errdefs.IsInvalidArgument(err) {
			t.Errorf("request of nothing: %v", err)
		}
	})
}

func TestTheLastReplyIsReadBeforeTheNext(t *testing.T) {
	overTransports(t, func(t *testing.T, c *cluster) {
		a, b := c.host("a"), c.host("b")
		defer a.stop()
		defer b.stop()
		b.serve = func(_ p2p.HostID, q Request) Answer {
			return Answer{Piece: q.First, Reader: bytes.NewReader([]byte("piece")), Length: 5}
		}
		s := a.stream(t, b)
		mustSend(t, s, Request{Task: task("a"), Count: 2})
		_, body, err := s.Next()
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := s.Next(); !errdefs.IsFailedPrecondition(err) {
			t.Errorf("next before the end: %v", err)
		}
		if got, err := io.ReadAll(body); string(got) != "piece" || err != nil {
			t.Errorf("%q, %v", got, err)
		}
		readAll(t, s, 1)
	})
}

// gatedReader gives its bytes when it is told to.
type gatedReader struct {
	started chan struct{}
	open    chan struct{}
}

func (g gatedReader) ReadAt(b []byte, _ int64) (int, error) {
	g.started <- struct{}{}
	<-g.open
	return len(b), nil
}

func TestCancelWithdrawsWhatIsNotStarted(t *testing.T) {
	overTransports(t, func(t *testing.T, c *cluster) {
		a, b := c.host("a"), c.host("b")
		defer a.stop()
		defer b.stop()
		slow := gatedReader{make(chan struct{}, 9), make(chan struct{})}
		var served atomic.Int32
		b.serve = func(_ p2p.HostID, q Request) Answer {
			served.Add(1)
			return Answer{Piece: q.First, Reader: slow, Length: 10}
		}
		s := a.stream(t, b)
		mustSend(t, s,
			Request{ID: 1, Task: task("a"), First: 0, Count: 2},
			Request{ID: 2, Task: task("a"), First: 5, Count: 2},
			Request{ID: 3, Task: task("a"), First: 9, Count: 1})
		<-slow.started // the first piece of the first request is under way
		awaitQueued(b, 2)
		a.live("b").Send(Cancel{ID: 2})
		a.live("b").Send(Cancel{ID: 1})
		a.live("b").Send(Leave{Task: task("a")}) // it comes after them
		b.await(t, "the cancels", func() bool { return len(b.messages) == 1 })
		close(slow.open)
		want := []Reply{
			{ID: 1, Piece: 0, Length: 10}, {ID: 1, Piece: 1, Status: StatusCancelled},
			{ID: 2, Piece: 5, Status: StatusCancelled}, {ID: 2, Piece: 6, Status: StatusCancelled},
			{ID: 3, Piece: 9, Length: 10},
		}
		for _, w := range want {
			r, body, err := s.Next()
			if err != nil || r != w {
				t.Fatalf("%+v, %v, want %+v", r, err, w)
			}
			_, _ = io.Copy(io.Discard, body)
		}
		if served.Load() != 2 {
			t.Errorf("%d pieces were served", served.Load())
		}
	})
}

// awaitQueued waits until b's only data connection has read n requests ahead.
func awaitQueued(b *host, n int) {
	l := b.live("a")
	l.mu.Lock()
	var s *server
	for s = range l.serving {
	}
	l.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.queue) < n && !s.closed {
		s.change.Wait()
	}
}

func TestALinksEndIsItsStreamsEnd(t *testing.T) {
	overTransports(t, func(t *testing.T, c *cluster) {
		a, b := c.host("a"), c.host("b")
		defer a.stop()
		defer b.stop()
		started := make(chan struct{}, 9)
		done := make(chan error, 9)
		b.serve = func(_ p2p.HostID, q Request) Answer {
			started <- struct{}{}
			return Answer{Piece: q.First, Reader: endless{}, Length: 1 << 30, Done: func(_ int64, err error) { done <- err }}
		}
		s, idle := a.stream(t, b), a.stream(t, b)
		mustSend(t, s, Request{Task: task("a"), Count: 1})
		_, body, err := s.Next()
		if err != nil {
			t.Fatal(err)
		}
		<-started
		a.live("b").Close()
		if _, err := io.Copy(io.Discard, body); !errdefs.IsUnavailable(err) {
			t.Errorf("read of a piece: %v", err)
		}
		if _, _, err := idle.Next(); !errdefs.IsUnavailable(err) {
			t.Errorf("next of an idle stream: %v", err)
		}
		if err := s.Send(Request{Task: task("a"), Count: 1}); !errdefs.IsUnavailable(err) {
			t.Errorf("send: %v", err)
		}
		if err := <-done; err == nil {
			t.Error("the server believes it has sent everything")
		}
		_ = b.awaitDown(t)
	})
}

// A request of any piece waits while others are answered, and until it is withdrawn.
func TestAnyPieceWaits(t *testing.T) {
	overTransports(t, func(t *testing.T, c *cluster) {
		a, b := c.host("a"), c.host("b")
		defer a.stop()
		defer b.stop()
		var fresh atomic.Bool
		waiting := make(chan func() bool, 3)
		gone := make(chan uint32, 1)
		b.serve = func(_ p2p.HostID, q Request) Answer {
			if q.First == AnyPiece && !fresh.Load() {
				return Answer{Wait: func(again func() bool) { waiting <- again }, Gone: func() { gone <- q.ID }}
			}
			return Answer{Piece: min(q.First, 41), Reader: bytes.NewReader([]byte("any")), Length: 3}
		}
		s := a.stream(t, b)
		next := func(id uint32, status Status) {
			t.Helper()
			r, body, err := s.Next()
			if err != nil || r.ID != id || r.Status != status {
				t.Fatalf("%+v, %v, want reply %d with status %d", r, err, id, status)
			}
			_, _ = io.Copy(io.Discard, body)
		}
		mustSend(t, s, Request{ID: 1, Task: task("a"), First: AnyPiece, Count: 1})
		mustSend(t, s, Request{ID: 2, Task: task("a"), First: AnyPiece, Count: 1})
		mustSend(t, s, Request{ID: 3, Task: task("a"), First: 7, Count: 1})
		next(3, StatusOK)
		first, second := <-waiting, <-waiting
		a.live("b").Send(Cancel{ID: 2})
		next(2, StatusCancelled)
		if second() {
			t.Error("a request that was withdrawn waits for its answer")
		}
		if id := <-gone; id != 2 {
			t.Errorf("request %d is gone, want 2", id)
		}
		fresh.Store(true)
		if !first() {
			t.Error("the connection is gone")
		}
		next(1, StatusOK)
		if first() {
			t.Error("an answered request waits for its answer")
		}
		fresh.Store(false)
		mustSend(t, s, Request{ID: 4, Task: task("a"), First: AnyPiece, Count: 1})
		<-waiting
		_ = s.Close()
		if id := <-gone; id != 4 {
			t.Errorf("request %d is gone, want 4", id)
		}
	})
}

type endless struct{}

func (endless) ReadAt(b []byte, _ int64) (int, error) { return len(b), nil }

func TestRepliesOutOfTurn(t *testing.T) {
	asked := []Request{
		{ID: 1, Task: task("a"), First: 4, Count: 2, Offset: 10},
		{ID: 2, Task: task("a"), First: AnyPiece, Count: 1},
	}
	first, second, third := Reply{ID: 1, Piece: 4, Offset: 10, Length: 1}, Reply{ID: 1, Piece: 5, Length: 1}, Reply{ID: 2, Piece: 77, Length: 1}
	cases := []struct {
		name    string
		replies []Reply
		ok      bool
	}{
		{"in turn", []Reply{first, second, third}, true},
		{"refused", []Reply{{ID: 1, Status: StatusBusy, Piece: 4}, second, {ID: 2, Status: StatusNoFresh, Piece: AnyPiece}}, true},
		{"skipped", []Reply{second}, false},
		{"twice", []Reply{first, first}, false},
		{"any piece out of turn", []Reply{first, third, second}, true},
		{"any piece twice", []Reply{third, third}, false},
		{"any piece not from its beginning", []Reply{{ID: 2, Piece: 77, Offset: 1, Length: 1}}, false},
		{"another offset", []Reply{{ID: 1, Piece: 4, Offset: 0, Length: 1}}, false},
		{"one too many", []Reply{first, second, third, third}, false},
	}
	for _, c := range cases {
		s := &stream{}
		for _, r := range asked {
			if err := s.expect(r); err != nil {
				t.Fatal(err)
			}
		}
		var err error
		for _, r := range c.replies {
			if err == nil {
				err = s.match(r)
			}
		}
		if (err == nil) != c.ok || err != nil && !errors.Is(err, ErrProtocol) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// What the kernel does not take at once is sent in steps; a random reader pauses.
func TestSendfileInSteps(t *testing.T) {
	c := newCluster(t, nil)
	a, b := c.host("a"), c.host("b")
	defer a.stop()
	defer b.stop()
	want := content(20 << 20)
	f := file(t, want)
	b.serve = func(_ p2p.HostID, q Request) Answer {
		return Answer{Piece: q.First, File: f, Start: int64(q.First) * 10 << 20, Length: 10 << 20}
	}
	s := a.stream(t, b)
	mustSend(t, s, Request{Task: task("a"), Count: 2})
	rng := rand.New(rand.NewPCG(3, 4))
	var got []byte
	for range 2 {
		_, body, err := s.Next()
		if err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 300<<10)
		for {
			n, err := body.Read(buf[:1+rng.IntN(len(buf)-1)])
			got = append(got, buf[:n]...)
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			if rng.IntN(20) == 0 {
				time.Sleep(time.Millisecond) // let the socket fill
			}
		}
	}
	if !bytes.Equal(got, want) {
		t.Error("other bytes came")
	}
}
