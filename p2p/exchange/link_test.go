package exchange

import (
	"errors"
	"fmt"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/containerd/errdefs"

	"github.com/darter-p2p/darter/internal/pki"
	"github.com/darter-p2p/darter/p2p"
	"github.com/darter-p2p/darter/p2p/exchange/simnet"
)

func TestALinkCarriesEveryMessage(t *testing.T) {
	overTransports(t, func(t *testing.T, c *cluster) {
		a, b := c.host("a"), c.host("b")
		defer a.stop()
		defer b.stop()
		l := a.connect(t, b)
		if l.Host() != "b" {
			t.Errorf("linked to %s", l.Host())
		}
		var want []Message
		for _, m := range everyMessage() {
			l.Send(m)
			switch m.(type) {
			case Ping, Pong, Cancel:
			default:
				want = append(want, m)
			}
		}
		have := Have{Task: task("a"), Pieces: []p2p.Piece{1, 5, 6}}
		l.Send(have)
		want = append(want, have)
		b.await(t, "the messages", func() bool { return len(b.messages) == len(want) })
		for i := range want {
			if !reflect.DeepEqual(b.messages[i], want[i]) {
				t.Errorf("message %d: %+v, want %+v", i, b.messages[i], want[i])
			}
		}
	})
}

func TestHavesThatWaitBecomeOne(t *testing.T) {
	o := newOutbox(1 << 20)
	a, b := task("a"), task("b")
	for _, m := range []Message{
		Have{a, []p2p.Piece{1}}, Have{b, []p2p.Piece{9}}, Digests{Batch: someBatch()}, Have{a, []p2p.Piece{0}},
		Leave{a}, Have{b, []p2p.Piece{3}}, Have{b, []p2p.Piece{3, 4}}, Have{b, nil}, Free{},
	} {
		if err := o.add(m); err != nil {
			t.Fatal(err)
		}
	}
	got, err := decodeAll(o.take(nil))
	want := []Message{
		Digests{Batch: someBatch()}, Have{a, []p2p.Piece{0, 1}}, Have{b, []p2p.Piece{9}},
		Leave{a}, Free{}, Have{b, []p2p.Piece{3, 4}},
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v\nwant %+v", got, err, want)
	}
	if err := o.add(Have{a, []p2p.Piece{maxPieces}}); !errdefs.IsInvalidArgument(err) {
		t.Errorf("a have of no possible piece: %v", err)
	}
}

func TestHavesOfManyTasks(t *testing.T) {
	o := newOutbox(1 << 20)
	for i := range 3 * maxOpen {
		if err := o.add(Have{task(fmt.Sprint(i)), []p2p.Piece{p2p.Piece(i)}}); err != nil {
			t.Fatal(err)
		}
	}
	got, err := decodeAll(o.take(nil))
	if err != nil || len(got) != 3*maxOpen {
		t.Fatalf("%d messages, %v", len(got), err)
	}
	for i, m := range got {
		if want := (Have{task(fmt.Sprint(i)), []p2p.Piece{p2p.Piece(i)}}); !reflect.DeepEqual(m, want) {
			t.Errorf("message %d: %v", i, m)
		}
	}
}

func TestConnectIsSingleFlight(t *testing.T) {
	overTransports(t, func(t *testing.T, c *cluster) {
		a, b := c.host("a"), c.host("b")
		defer a.stop()
		defer b.stop()
		links := make([]Link, 20)
		var wg sync.WaitGroup
		for i := range links {
			wg.Go(func() { links[i], _ = a.Connect(t.Context(), b.Host) })
		}
		wg.Wait()
		for _, l := range links {
			if l == nil || l != links[0] {
				t.Fatalf("links %v", links)
			}
		}
		b.await(t, "the link", func() bool { return b.ups == 1 })
	})
}

// Both sides dial at the same moment, again and again: one link, known to both.
func TestSimultaneousConnects(t *testing.T) {
	overTransports(t, func(t *testing.T, c *cluster) {
		a, b := c.host("a"), c.host("b")
		defer a.stop()
		defer b.stop()
		for round := range 50 {
			var la, lb Link
			var wg sync.WaitGroup
			wg.Go(func() { la = a.connect(t, b) })
			wg.Go(func() { lb = b.connect(t, a) })
			wg.Wait()
			a.await(t, "b", func() bool { return a.up["b"] == la && a.ups == round+1 })
			b.await(t, "a", func() bool { return b.up["a"] == lb && b.ups == round+1 })
			// Both ends are of one link: what goes in at one comes out at the other.
			la.Send(Leave{task(fmt.Sprint(round))})
			lb.Send(Leave{task(fmt.Sprint(round))})
			a.await(t, "a message", func() bool { return len(a.messages) == round+1 })
			b.await(t, "a message", func() bool { return len(b.messages) == round+1 })
			la.Close()
			a.await(t, "the end", func() bool { return len(a.downs) == round+1 })
			b.await(t, "the end", func() bool { return len(b.downs) == round+1 })
		}
	})
}

// The larger name cannot be reached: its own dials still succeed.
func TestConnectWhereOnlyOneSideCan(t *testing.T) {
	overSim(t, func(t *testing.T, c *cluster) {
		a, b := c.host("a"), c.host("b")
		defer a.stop()
		defer b.stop()
		nowhere := b.Host
		nowhere.Addr = "b:1"
		c.net.Cut("a", "gone")
		nowhere.Addr = "gone:1" // a's dial hangs until its time-out
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := a.Connect(t.Context(), nowhere); err != nil && !errdefs.IsUnavailable(err) {
				t.Errorf("connect to nowhere: %v", err)
			}
		})
		time.Sleep(time.Millisecond)
		b.connect(t, a)
		wg.Wait()
		a.await(t, "b", func() bool { return a.up["b"] != nil })
	})
}

// A host that lost its end of the link dials anew: the other replaces its own, and
// announces the new one when the old one's Disconnected has returned.
func TestALinkThatIsHalfLostIsReplaced(t *testing.T) {
	overSim(t, func(t *testing.T, c *cluster) {
		a, b := c.host("a"), c.host("b")
		defer a.stop()
		defer b.stop()
		old := b.connect(t, a)
		a.await(t, "the link", func() bool { return a.ups == 1 })
		hold := make(chan struct{})
		a.change(func() { a.leaving = hold })
		c.net.Host("b", simnet.Shape{}).Lose()
		if err := b.awaitDown(t); !errdefs.IsUnavailable(err) {
			t.Errorf("b's end: %v", err)
		}
		if l := b.connect(t, a); l == old {
			t.Error("b was given the link it lost")
		}
		time.Sleep(time.Second)
		if s := a.seen(); s.ups != 1 {
			t.Fatalf("%+v while the old link is taken down", s)
		}
		close(hold)
		a.await(t, "the new link", func() bool { return a.ups == 2 })
		if err := a.awaitDown(t); !errors.Is(err, errReplaced) {
			t.Errorf("a's end: %v", err)
		}
	})
}

// The rule of the later word, without a network: the dialler's is a new life of its
// host, and a dial from before the link.
func TestTheLaterWordWins(t *testing.T) {
	overSim(t, func(t *testing.T, c *cluster) {
		a, b := c.host("a"), c.host("b")
		defer a.stop()
		defer b.stop()
		b.connect(t, a)
		a.await(t, "the link", func() bool { return a.ups == 1 })
		live := a.Exchange.live("b")
		for _, step := range []struct {
			epoch uint64
			err   error
		}{{live.peerEpoch - 1, errDuplicate}, {live.peerEpoch, errDuplicate}} {
			err := a.install(&link{x: a.Exchange, host: "b", peerEpoch: step.epoch})
			if !errors.Is(err, step.err) {
				t.Errorf("epoch %d beside %d: %v", step.epoch, live.peerEpoch, err)
			}
		}
		// b comes back from a power cut before a has noticed.
		c.net.Host("b", simnet.Shape{}).Lose()
		b.stop()
		b2 := c.host("b")
		defer b2.stop()
		b2.connect(t, a)
		a.await(t, "the new link", func() bool { return a.ups == 2 && len(a.downs) == 1 })
	})
}

func TestConnectToAnotherHostThanMeant(t *testing.T) {
	overTransports(t, func(t *testing.T, c *cluster) {
		a, b := c.host("a"), c.host("b")
		defer a.stop()
		defer b.stop()
		for _, id := range []p2p.HostID{"c", "a"} {
			h := b.Host
			h.ID = id
			if _, err := a.Connect(t.Context(), h); !errdefs.IsPermissionDenied(err) && !errdefs.IsInvalidArgument(err) {
				t.Errorf("%s at b's address: %v", id, err)
			}
		}
		if _, err := a.OpenStream(t.Context(), b.Host); !errdefs.IsFailedPrecondition(err) {
			t.Errorf("stream without a link: %v", err)
		}
	})
}

func TestAQuietLinkLivesAndASilentOneEnds(t *testing.T) {
	overSim(t, func(t *testing.T, c *cluster) {
		a, b := c.host("a"), c.host("b")
		defer a.stop()
		defer b.stop()
		a.connect(t, b)
		time.Sleep(time.Hour)
		if a.seen().downs+b.seen().downs != 0 {
			t.Fatal("a quiet link ended")
		}
		cut := time.Now()
		c.net.Cut("a", "b")
		if err := b.awaitDown(t); !errors.Is(err, errSilent) || !errdefs.IsUnavailable(err) {
			t.Errorf("b: %v", err)
		}
		if took := time.Since(cut); took > Default().IdleTimeout {
			t.Errorf("silence was noticed after %v", took)
		}
		a.await(t, "the end", func() bool { return len(a.downs) == 1 })
	})
}

func TestAPeerThatDoesNotReadLosesItsLink(t *testing.T) {
	overSim(t, func(t *testing.T, c *cluster) {
		a, b := c.host("a"), c.host("b")
		defer a.stop()
		defer b.stop()
		l := a.connect(t, b)
		a.await(t, "the link", func() bool { return a.ups == 1 })
		c.net.Cut("a", "b")
		m := Digests{Batch: someBatch()}
		m.Batch.Digests = make([]p2p.PieceDigest, 60000)
		for range 12 {
			l.Send(m)
		}
		if err := a.awaitDown(t); !errors.Is(err, errQueueFull) {
			t.Errorf("%v", err)
		}
		l.Send(Free{}) // of no effect
	})
}

func TestWhatIsQueuedIsDeliveredAtTheEnd(t *testing.T) {
	overTransports(t, func(t *testing.T, c *cluster) {
		a, b := c.host("a"), c.host("b")
		defer b.stop()
		l := a.connect(t, b)
		for i := range 100 {
			l.Send(Leave{task(fmt.Sprint(i))})
		}
		a.stop()
		if len(a.downs) != 1 || a.downs[0] != nil {
			t.Errorf("a's end: %v", a.downs)
		}
		if err := b.awaitDown(t); !errors.Is(err, errClosedByPeer) {
			t.Errorf("b's end: %v", err)
		}
		if n := b.seen().messages; n != 100 {
			t.Errorf("%d of 100 messages were delivered", n)
		}
		if _, err := a.Connect(t.Context(), b.Host); !errdefs.IsUnavailable(err) {
			t.Errorf("connect after the end: %v", err)
		}
	})
}

func TestAnErrorOfTheHandlerClosesTheLink(t *testing.T) {
	overTransports(t, func(t *testing.T, c *cluster) {
		a, b := c.host("a"), c.host("b")
		defer a.stop()
		defer b.stop()
		odd := errors.New("odd message")
		b.change(func() { b.receive = func(Message) error { return odd } })
		a.connect(t, b).Send(Free{})
		if err := b.awaitDown(t); !errors.Is(err, odd) {
			t.Errorf("b: %v", err)
		}
		_ = a.awaitDown(t)
	})
}

func TestRunEndsWithWhatIsUnderWay(t *testing.T) {
	overSim(t, func(t *testing.T, c *cluster) {
		a := c.host("a")
		c.net.Cut("a", "b")
		var err error
		var wg sync.WaitGroup
		wg.Go(func() { _, err = a.Connect(t.Context(), p2p.Host{ID: "b", Addr: "b:65002"}) })
		if _, err := c.net.Host("x", simnet.Shape{}).Dial(t.Context(), a.Host.Addr); err != nil {
			t.Fatal(err) // it says nothing
		}
		time.Sleep(time.Second)
		start := time.Now()
		a.stop()
		wg.Wait()
		if !errdefs.IsUnavailable(err) || time.Since(start) != 0 {
			t.Errorf("connect ended after %v with %v", time.Since(start), err)
		}
	})
}

// Membership ends with the certificate, also for links that were made before.
func TestALinkEndsWithThePeersCertificate(t *testing.T) {
	overSim(t, func(t *testing.T, c *cluster) {
		pair, err := c.ca.Issue(pki.Request{Role: pki.Node, Name: "a", ValidFor: time.Hour}, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		id, err := pki.NewIdentity(pair, c.ca.Roots())
		if err != nil {
			t.Fatal(err)
		}
		a, b := c.host("a", func(cfg *Config) { cfg.Identity = Member(id) }), c.host("b")
		defer a.stop()
		defer b.stop()
		a.connect(t, b)
		time.Sleep(59 * time.Minute)
		if b.seen().downs != 0 {
			t.Fatal("the link ended early")
		}
		time.Sleep(2 * time.Minute)
		if err := b.awaitDown(t); !errdefs.IsUnauthorized(err) {
			t.Errorf("%v", err)
		}
		if _, err := a.Connect(t.Context(), b.Host); err == nil {
			t.Error("a new link was made with the old certificate")
		}
	})
}

// A host that is revoked is out at once, with what it has open, and others stay.
func TestALinkEndsWhenThePeerIsRevoked(t *testing.T) {
	overSim(t, func(t *testing.T, c *cluster) {
		out, in := identity(t, c.ca, pki.Node, "a"), identity(t, c.ca, pki.Node, "b")
		as := func(id *pki.Identity) func(*Config) {
			return func(cfg *Config) { cfg.Identity = Member(id) }
		}
		a, b, other := c.host("a", as(out)), c.host("b", as(in)), c.host("other")
		defer a.stop()
		defer b.stop()
		defer other.stop()
		s := a.stream(t, b)
		other.connect(t, b)
		_, cert := out.Signer()
		in.SetRevoked([]string{pki.Serial(cert)})
		start := time.Now()
		if err := b.awaitDown(t); !errdefs.IsUnauthorized(err) {
			t.Errorf("%v", err)
		}
		if took := time.Since(start); took > Default().IdleTimeout/4 {
			t.Errorf("it was let go on for %v", took)
		}
		if _, _, err := s.Next(); err == nil {
			t.Error("its data connection goes on")
		}
		_ = a.awaitDown(t) // else it is given the link that it has
		if _, err := a.Connect(t.Context(), b.Host); err == nil {
			t.Error("it made a new link")
		}
		if _, err := b.Connect(t.Context(), a.Host); err == nil {
			t.Error("it was called")
		}
		time.Sleep(time.Hour)
		if downs := b.seen().downs; downs != 1 {
			t.Errorf("%d links went, want one", downs)
		}
	})
}
