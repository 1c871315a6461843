package scheduling

import (
	"testing"
	"time"

	"github.com/darter-p2p/darter/internal/pki"
	"github.com/darter-p2p/darter/p2p"
	"github.com/darter-p2p/darter/p2p/trust"
)

const from = p2p.Origin("oci://registry/app/blobs/x")

func TestJoinersMeetAndTheSeedPulls(t *testing.T) {
	w := newWorld(t)
	w.schedule(config())
	task := taskOf("layer")
	seed := w.node(pki.Seed, "seed")
	a, b := w.node(pki.Node, "a"), w.node(pki.Node, "b")

	a.want(task, from, -1)
	seed.until("is told to pull", func() bool { return len(seed.pulls) == 1 })
	if p := seed.pulls[0]; p.Task != task || p.Origin != from || p.Size != -1 || len(p.Token) > 0 || p.Stop {
		t.Errorf("the seed is told %+v", p)
	}
	b.want(task, from, -1)
	if h := a.knows(task, "b"); h.Addr != "127.0.0.1:65002" || h.Seed {
		t.Errorf("a is told of b as %+v", h)
	}
	b.knows(task, "a")
	seed.knows(task, "a")
	if h := b.knows(task, "seed"); !h.Seed {
		t.Errorf("b is told of the seed as %+v", h)
	}

	seed.PullStarted(task, 12345)
	for _, n := range []*node{a, b} {
		n.until("knows the size", func() bool { return n.sizes[task] == 12345 })
	}
	seed.PullDone(task)
	seed.stop() // says goodbye
	a.until("has lost the seed", func() bool { _, ok := a.known[task]["seed"]; return !ok })
	// The only holder is gone: one of the joiners takes over.
	both := func() int {
		a.mu.Lock()
		defer a.mu.Unlock()
		b.mu.Lock()
		defer b.mu.Unlock()
		return len(a.pulls) + len(b.pulls)
	}
	for late := time.Now().Add(patience); both() == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(late) {
			t.Fatal("nobody took over")
		}
	}
}

func TestActingSeedGetsAToken(t *testing.T) {
	w := newWorld(t)
	w.schedule(config())
	task := taskOf("layer")
	a := w.node(pki.Node, "a")
	a.want(task, from, 10)
	a.until("is told to pull", func() bool { return len(a.pulls) == 1 })
	token, err := trust.DecodeToken(a.pulls[0].Token)
	if err != nil {
		t.Fatal(err)
	}
	if token.Task != task || token.Host != "a" || time.Until(token.Expires) < 30*time.Minute {
		t.Errorf("token %+v", token)
	}
}

func TestFailureIsToldAndRemembered(t *testing.T) {
	w := newWorld(t)
	w.schedule(config())
	task := taskOf("layer")
	seed, a := w.node(pki.Seed, "seed"), w.node(pki.Node, "a")
	a.want(task, from, -1)
	seed.until("is told to pull", func() bool { return len(seed.pulls) == 1 })
	seed.PullFailed(task, p2p.OriginError{Status: 403, Message: "no"})
	a.until("hears of the failure", func() bool { return a.failed[task].Status == 403 })
	if why := a.failed[task]; why.Message != "no" || why.Puller != "seed" {
		t.Errorf("a is told %+v", why)
	}
	b := w.node(pki.Node, "b")
	b.want(task, from, -1)
	b.until("hears of the failure", func() bool { return b.failed[task].Status == 403 })
	if seed.mu.Lock(); len(seed.pulls) != 1 {
		t.Errorf("the seed was told to pull %d times", len(seed.pulls))
	}
	seed.mu.Unlock()
}

func TestRestartedSchedulerRebuildsSwarms(t *testing.T) {
	w := newWorld(t)
	cfg, core := config()
	core.Warmup = time.Second // so that holders speak before anybody is sent to the origin
	s, stop := w.schedule(cfg, core)
	task, other := taskOf("layer"), taskOf("other")
	seed := w.node(pki.Seed, "seed", p2p.Holding{Task: other, Size: 5, Complete: true, Origin: from})
	a, b := w.node(pki.Node, "a"), w.node(pki.Node, "b")
	a.want(task, from, 10)
	b.want(task, from, 10)
	a.knows(task, "b")
	seed.until("is told to pull", func() bool { return len(seed.pulls) == 1 })
	seed.change(func() {
		seed.holdings = append(seed.holdings, p2p.Holding{Task: task, Size: 10, Pulling: true, Origin: from})
	})
	seed.PullStarted(task, 10)
	before := s.Stats()
	stop()
	for _, n := range []*node{a, b, seed} {
		n.until("has noticed", func() bool { return !n.up })
		n.change(func() { clear(n.known) })
	}

	s, _ = w.schedule(cfg, core)
	a.knows(task, "b")
	b.knows(task, "a")
	a.knows(task, "seed")
	b.knows(task, "seed")
	after := s.Stats()
	if before.Decisions, after.Decisions = 0, 0; before != after {
		t.Errorf("before the restart %+v, after it %+v", before, after)
	}
	c := w.node(pki.Node, "c")
	c.want(other, from, 5)
	c.knows(other, "seed")
	if seed.mu.Lock(); len(seed.pulls) != 1 {
		t.Errorf("the seed was told %+v", seed.pulls)
	}
	seed.mu.Unlock()
}

func TestStrangersAreRefused(t *testing.T) {
	w := newWorld(t)
	s, _ := w.schedule(config())
	stranger := newWorld(t)
	for _, tt := range []struct {
		name string
		id   *pki.Identity
		host p2p.Host
		want string
	}{
		{"another CA", stranger.identity(pki.Node, "a"), p2p.Host{ID: "a"}, "signed by another CA"},
		{"another name", w.identity(pki.Node, "a"), p2p.Host{ID: "b"}, `comes with the certificate of "a"`},
		{"a node as seed", w.identity(pki.Node, "a"), p2p.Host{ID: "a", Seed: true}, "would be a seed"},
		{"a client", w.identity(pki.Client, "a"), p2p.Host{ID: "a"}, "takes no part"},
		{"a scheduler", w.identity(pki.Scheduler, "a"), p2p.Host{ID: "a"}, "connect to scheduler"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.host.Addr = ":65002"
			w.refused(t, tt.id, tt.host, tt.want)
		})
	}
	if s.Stats().Hosts != 0 {
		t.Errorf("%d hosts came in", s.Stats().Hosts)
	}
}

func TestNodeRefusesAFalseScheduler(t *testing.T) {
	w := newWorld(t)
	w.impostor(pki.Node)
	w.refused(t, w.identity(pki.Node, "a"), p2p.Host{ID: "a", Addr: ":65002"}, "has the role node")
}
