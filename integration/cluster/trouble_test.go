package cluster

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/containerd/errdefs"

	"github.com/darter-p2p/darter/fetcher"
	"github.com/darter-p2p/darter/fetcher/source"
	"github.com/darter-p2p/darter/fetcher/source/sourcetest"
	"github.com/darter-p2p/darter/internal/pki"
	"github.com/darter-p2p/darter/p2p"
	"github.com/darter-p2p/darter/p2p/node"
)

// until waits for something that other goroutines bring about.
func until(t *testing.T, what string, is func() bool) {
	t.Helper()
	for late := time.Now().Add(30 * time.Second); !is(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(late) {
			t.Fatalf("never: %s", what)
		}
	}
}

func (n *Node) held(v Content) int {
	s, ok := n.Task(v.Task)
	if !ok {
		return 0
	}
	return s.Pieces
}

func TestRanges(t *testing.T) {
	c := New(t)
	v := c.Put("app", 5<<20+123)
	c.Start(pki.Seed, "seed", Options{})
	n := c.Start(pki.Node, "node", Options{})
	size := int64(len(v.Data))
	for _, r := range []fetcher.Range{{Offset: 0, Length: 1}, {Offset: size - 1, Length: -1}, {Offset: 256<<10 - 1, Length: 2}, {Offset: -100, Length: -1}, {Offset: 3 << 20, Length: 1 << 20}, {Offset: 100, Length: size}, fetcher.All} {
		if err := read(patience(t), n, v, r); err != nil {
			t.Errorf("%+v: %v", r, err)
		}
	}
	if _, err := n.Fetcher.Open(patience(t), v.Ask("app"), fetcher.Range{Offset: size, Length: -1}); !errdefs.IsOutOfRange(err) {
		t.Errorf("a range past the end: %v", err)
	}
}

// A node that holds the content serves it when the origin and the seed are gone.
func TestOriginGone(t *testing.T) {
	c := New(t)
	v := c.Put("app", 8<<20)
	seed := c.Start(pki.Seed, "seed", Options{})
	first := c.Start(pki.Node, "first", Options{})
	if err := read(patience(t), first, v, fetcher.All); err != nil {
		t.Fatal(err)
	}
	until(t, "first is complete", func() bool { s, _ := first.Task(v.Task); return s.Complete })
	seed.Stop()
	c.Origin.Fail(v.Origin, sourcetest.Failure{Status: http.StatusBadGateway})
	second := c.Start(pki.Node, "second", Options{})
	if err := read(patience(t), second, v, fetcher.All); err != nil {
		t.Fatal(err)
	}
	// The first counts as a seed where the scheduler named it puller before it heard that it is complete.
	if s, _ := second.Task(v.Task); s.FromPeers+s.FromSeed != int64(len(v.Data)) {
		t.Errorf("%+v", s.Stats)
	}
}

// Content on disk is served again by a node that was restarted.
func TestRestartedNodeServes(t *testing.T) {
	c := New(t)
	v := c.Put("app", 8<<20)
	seed := c.Start(pki.Seed, "seed", Options{})
	first := c.Start(pki.Node, "first", Options{})
	if err := read(patience(t), first, v, fetcher.All); err != nil {
		t.Fatal(err)
	}
	until(t, "first is complete", func() bool { s, _ := first.Task(v.Task); return s.Complete })
	first.Stop()
	seed.Stop()
	c.Origin.Fail(v.Origin, sourcetest.Failure{Status: http.StatusBadGateway})
	c.Start(pki.Node, "first", Options{})
	second := c.Start(pki.Node, "second", Options{})
	if err := read(patience(t), second, v, fetcher.All); err != nil {
		t.Fatal(err)
	}
}

// Without a seed, one of the joiners reads the origin for all.
func TestActingSeed(t *testing.T) {
	c := New(t)
	v := c.Put("app", 16<<20)
	nodes := []*Node{c.Start(pki.Node, "a", Options{}), c.Start(pki.Node, "b", Options{}), c.Start(pki.Node, "c", Options{})}
	var wg sync.WaitGroup
	for _, n := range nodes {
		wg.Go(func() {
			if err := read(patience(t), n, v, fetcher.All); err != nil {
				t.Errorf("%s: %v", n.ID, err)
			}
		})
	}
	wg.Wait()
	if got := c.Origin.Served(v.Origin); got != int64(len(v.Data)) {
		t.Errorf("the origin sent %d bytes of a content of %d", got, len(v.Data))
	}
}

// A seed that dies while it reads the origin is replaced by another one, or by a node.
func TestSeedDies(t *testing.T) {
	for _, second := range []bool{true, false} {
		c := New(t)
		v := c.Put("app", 16<<20)
		c.Origin.Fail(v.Origin, sourcetest.Failure{Delay: 4 * time.Millisecond, Chunk: 32 << 10})
		seeds := []*Node{c.Start(pki.Seed, "seed1", Options{})}
		if second {
			seeds = append(seeds, c.Start(pki.Seed, "seed2", Options{}))
		}
		a, b := c.Start(pki.Node, "a", Options{}), c.Start(pki.Node, "b", Options{})
		var wg sync.WaitGroup
		for _, n := range []*Node{a, b} {
			wg.Go(func() {
				if err := read(patience(t), n, v, fetcher.All); err != nil {
					t.Errorf("%s: %v", n.ID, err)
				}
			})
		}
		until(t, "a has some pieces", func() bool { return a.held(v) > 3 })
		for _, s := range seeds {
			if at, ok := s.Task(v.Task); ok && at.Pulling {
				s.Stop()
				break
			}
		}
		wg.Wait()
		if got := c.Origin.Served(v.Origin); float64(got) > 1.3*float64(len(v.Data)) {
			t.Errorf("second seed %v: the origin sent %d bytes of a content of %d", second, got, len(v.Data))
		}
		for _, n := range []*Node{a, b} {
			s, _ := n.Task(v.Task)
			t.Logf("second seed %v: %s: %+v, pulling %v", second, n.ID, s.Stats, s.Pulling)
			if s.Error != nil {
				t.Errorf("%s: %v", n.ID, s.Error)
			}
		}
	}
}

// A swarm goes on without its scheduler, and one that comes back is told everything.
func TestSchedulerDies(t *testing.T) {
	c := New(t)
	v, w := c.Put("app", 16<<20), c.Put("app", 3<<20)
	c.Origin.Fail(v.Origin, sourcetest.Failure{Delay: 2 * time.Millisecond, Chunk: 32 << 10})
	c.Start(pki.Seed, "seed", Options{})
	a, b := c.Start(pki.Node, "a", Options{}), c.Start(pki.Node, "b", Options{})
	var wg sync.WaitGroup
	for _, n := range []*Node{a, b} {
		wg.Go(func() {
			if err := read(patience(t), n, v, fetcher.All); err != nil {
				t.Errorf("%s: %v", n.ID, err)
			}
		})
	}
	until(t, "both have some pieces", func() bool { return a.held(v) > 3 && b.held(v) > 3 })
	c.StopScheduler()
	wg.Wait()
	if got := c.Origin.Served(v.Origin); got != int64(len(v.Data)) {
		t.Errorf("the origin sent %d bytes of a content of %d", got, len(v.Data))
	}
	c.StartScheduler()
	third := c.Start(pki.Node, "third", Options{})
	for _, v := range []Content{v, w} {
		if err := read(patience(t), third, v, fetcher.All); err != nil {
			t.Fatal(err)
		}
		if got := c.Origin.Served(v.Origin); got != int64(len(v.Data)) {
			t.Errorf("the origin sent %d bytes of a content of %d", got, len(v.Data))
		}
	}
}

// Without a scheduler a node goes to the origin itself.
func TestNoScheduler(t *testing.T) {
	c := New(t)
	v := c.Put("app", 3<<20)
	n := c.Start(pki.Node, "a", Options{Config: func(c *node.Config) { c.SchedulerWait = 50 * time.Millisecond }})
	c.StopScheduler()
	if err := read(patience(t), n, v, fetcher.All); err != nil {
		t.Fatal(err)
	}
}

// Content that needs a credential is for those who have one; others get the origin's own words.
func TestPrivate(t *testing.T) {
	c := New(t)
	v := c.Put("app", 3<<20)
	c.Origin.Put(v.Origin, sourcetest.Content{Data: v.Data, Authorization: "Bearer secret"})
	c.Start(pki.Seed, "seed", Options{})
	n := c.Start(pki.Node, "a", Options{})
	var said *source.Error
	if _, err := n.Fetcher.Open(patience(t), v.Ask("app"), fetcher.All); !errors.As(err, &said) || said.Status != http.StatusUnauthorized {
		t.Errorf("without a token: %v", err)
	}
	ask := v.Ask("app")
	ask.Header = http.Header{"Authorization": {"Bearer secret"}}
	body, err := n.Fetcher.Open(patience(t), ask, fetcher.All)
	if err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	if _, err := got.ReadFrom(body); err != nil || !bytes.Equal(got.Bytes(), v.Data) {
		t.Errorf("with the token: %d bytes, %v", got.Len(), err)
	}
	body.Close()
	if s, _ := n.Task(v.Task); s.Pieces == 0 {
		t.Error("private content was not kept for the next reader who may have it")
	}
	ask.Header = http.Header{"Authorization": {"Bearer guess"}}
	if _, err := n.Fetcher.Open(patience(t), ask, fetcher.All); !errors.As(err, &said) || said.Status != http.StatusUnauthorized {
		t.Errorf("with a wrong token, after somebody read it with the right one: %v", err)
	}
	if _, err := n.Fetcher.Open(patience(t), v.Ask("app"), fetcher.All); !errors.As(err, &said) || said.Status != http.StatusUnauthorized {
		t.Errorf("without a token, after somebody read it with one: %v", err)
	}
}

// An origin that serves wrong bytes is named, and nothing of them is kept anywhere.
func TestWrongBytes(t *testing.T) {
	c := New(t)
	v := c.Put("app", 4<<20)
	c.Origin.Fail(v.Origin, sourcetest.Failure{After: 3 << 20, Corrupt: true})
	var mu sync.Mutex
	var named []string
	note := node.Events{Revoked: func(_ p2p.TaskID, o p2p.Origin, reason string) {
		mu.Lock()
		defer mu.Unlock()
		named = append(named, string(o)+": "+reason)
	}}
	seed := c.Start(pki.Seed, "seed", Options{Events: note})
	a, b := c.Start(pki.Node, "a", Options{}), c.Start(pki.Node, "b", Options{})
	var wg sync.WaitGroup
	for _, n := range []*Node{a, b} {
		wg.Go(func() {
			err := read(patience(t), n, v, fetcher.All)
			if err == nil {
				t.Errorf("%s read wrong bytes without an error", n.ID)
			}
			t.Logf("%s: %v", n.ID, err)
		})
	}
	wg.Wait()
	until(t, "the store of everybody is empty", func() bool {
		return len(a.Store.List()) == 0 && len(b.Store.List()) == 0 && len(seed.Store.List()) == 0
	})
	for _, n := range []*Node{seed, a, b} {
		if s, _ := n.Task(v.Task); !errors.Is(s.Error, node.ErrRevoked) || !strings.Contains(s.Error.Error(), "oci://registry.test/app/blobs/") {
			t.Errorf("%s says of the task: %v", n.ID, s.Error)
		}
	}
	if got := c.Origin.Served(v.Origin); got > int64(len(v.Data)) {
		t.Errorf("the wrong content was read again: %d bytes of %d", got, len(v.Data))
	}
	mu.Lock()
	defer mu.Unlock()
	if len(named) == 0 || !strings.Contains(named[0], "oci://registry.test/app/blobs/") || !strings.Contains(named[0], "digest") {
		t.Errorf("the seed says %q", named)
	}
}

// Short answers, resets and 5xx of the origin are read over.
func TestOriginStumbles(t *testing.T) {
	for name, f := range map[string]sourcetest.Failure{
		"truncated":   {After: 1 << 20, Truncate: true, Times: 1},
		"unavailable": {Status: http.StatusServiceUnavailable, Times: 1},
	} {
		t.Run(name, func(t *testing.T) {
			c := New(t)
			v := c.Put("app", 4<<20)
			c.Origin.Fail(v.Origin, f)
			c.Start(pki.Seed, "seed", Options{})
			n := c.Start(pki.Node, "a", Options{})
			if err := read(patience(t), n, v, fetcher.All); err != nil {
				t.Fatal(err)
			}
			if got := c.Origin.Served(v.Origin); got > int64(len(v.Data))+256<<10 {
				t.Errorf("the origin sent %d bytes of a content of %d", got, len(v.Data))
			}
		})
	}
}

// Readers of one content share a download, and one that goes away harms nobody.
func TestReadersShare(t *testing.T) {
	c := New(t)
	v := c.Put("app", 8<<20)
	c.Origin.Fail(v.Origin, sourcetest.Failure{Delay: time.Millisecond, Chunk: 32 << 10})
	c.Start(pki.Seed, "seed", Options{})
	n := c.Start(pki.Node, "a", Options{})
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			ctx := patience(t)
			if i%4 == 3 {
				short, cancel := context.WithTimeout(ctx, 30*time.Millisecond)
				defer cancel()
				ctx = short
			}
			if err := read(ctx, n, v, fetcher.All); err != nil && ctx.Err() == nil {
				t.Errorf("reader %d: %v", i, err)
			}
		})
	}
	wg.Wait()
	if s, _ := n.Task(v.Task); s.FromSeed+s.FromPeers+s.FromOrigin != int64(len(v.Data)) {
		t.Errorf("%+v", s.Stats)
	}
}
