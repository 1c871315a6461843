package simnet_test

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/net/nettest"

	"github.com/darter-p2p/darter/p2p/exchange"
	"github.com/darter-p2p/darter/p2p/exchange/simnet"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var _ exchange.Transport = (*simnet.Host)(nil)

// connect returns both ends of a connection from a to b.
func connect(t *testing.T, a, b *simnet.Host) (here, there net.Conn) {
	t.Helper()
	l, err := b.Listen(":0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if here, err = a.Dial(t.Context(), l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if there, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	return here, there
}

func TestConnIsANetConn(t *testing.T) {
	nettest.TestConn(t, func() (a, b net.Conn, stop func(), err error) {
		n := simnet.New()
		a, b = connect(t, n.Host("a", simnet.Shape{}), n.Host("b", simnet.Shape{}))
		return a, b, func() { a.Close(); b.Close() }, nil
	})
}

func TestLatencyAndRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := simnet.New()
		a := n.Host("a", simnet.Shape{Latency: 50 * time.Millisecond, Rate: 1 << 20})
		here, there := connect(t, a, n.Host("b", simnet.Shape{}))
		defer there.Close()
		start := time.Now()
		go func() {
			_, _ = here.Write(make([]byte, 2<<20))
			here.Close()
		}()
		got, err := io.ReadAll(there)
		if err != nil || len(got) != 2<<20 {
			t.Fatalf("read %d bytes: %v", len(got), err)
		}
		want := 2*time.Second + 50*time.Millisecond
		if took := time.Since(start); (took - want).Abs() > time.Microsecond { // packets are rounded
			t.Errorf("2 MiB at 1 MiB/s and 50ms took %v", took)
		}
	})
}

func TestBackpressureEndsAtTheDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := simnet.New()
		here, there := connect(t, n.Host("a", simnet.Shape{}), n.Host("b", simnet.Shape{}))
		defer here.Close()
		defer there.Close()
		_ = here.SetWriteDeadline(time.Now().Add(time.Minute))
		start := time.Now()
		sent, err := here.Write(make([]byte, 1<<20))
		if !errors.Is(err, os.ErrDeadlineExceeded) || sent == 0 || sent == 1<<20 || time.Since(start) != time.Minute {
			t.Errorf("wrote %d in %v: %v", sent, time.Since(start), err)
		}
	})
}

func TestCutHoldsBytesAndHealDeliversThem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := simnet.New()
		here, there := connect(t, n.Host("a", simnet.Shape{}), n.Host("b", simnet.Shape{}))
		defer there.Close()
		n.Cut("a", "b")
		_, _ = here.Write([]byte("late"))
		here.Close() // the end is held, too
		b := make([]byte, 8)
		_ = there.SetReadDeadline(time.Now().Add(time.Second))
		if got, err := there.Read(b); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("read %d bytes through a cut: %v", got, err)
		}
		_ = there.SetReadDeadline(time.Time{})
		time.AfterFunc(time.Hour, func() { n.Heal("a", "b") })
		got, err := io.ReadAll(there)
		if string(got) != "late" || err != nil {
			t.Errorf("after healing: %q, %v", got, err)
		}
	})
}

func TestCutIsOneWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := simnet.New()
		here, there := connect(t, n.Host("a", simnet.Shape{}), n.Host("b", simnet.Shape{}))
		defer here.Close()
		defer there.Close()
		n.Cut("a", "b")
		_, _ = there.Write([]byte("back"))
		b := make([]byte, 8)
		if got, err := here.Read(b); string(b[:got]) != "back" || err != nil {
			t.Errorf("against the cut: %q, %v", b[:got], err)
		}
	})
}

func TestDial(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := simnet.New()
		a, b := n.Host("a", simnet.Shape{}), n.Host("b", simnet.Shape{})
		for _, addr := range []string{"b:1", "nobody:1"} {
			if _, err := a.Dial(t.Context(), addr); !errors.Is(err, syscall.ECONNREFUSED) {
				t.Errorf("dial %s: %v", addr, err)
			}
		}
		l, _ := b.Listen(":1")
		defer l.Close()
		n.Cut("a", "b")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := a.Dial(ctx, "b:1"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("dial through a cut: %v", err)
		}
	})
}

func TestWhatIsLostIsNotSeenByPeers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := simnet.New()
		a := n.Host("a", simnet.Shape{})
		here, there := connect(t, a, n.Host("b", simnet.Shape{}))
		defer there.Close()
		a.Lose()
		if _, err := here.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
			t.Errorf("here: %v", err)
		}
		if _, err := there.Write([]byte("x")); err != nil {
			t.Errorf("write: %v", err)
		}
		_ = there.SetReadDeadline(time.Now().Add(time.Hour))
		if _, err := there.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("read: %v", err)
		}
	})
}

func TestCrashIsSeenByPeers(t *testing.T) {
	n := simnet.New()
	a := n.Host("a", simnet.Shape{})
	_, there := connect(t, a, n.Host("b", simnet.Shape{}))
	defer there.Close()
	a.Crash()
	if _, err := there.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("read: %v", err)
	}
	if _, err := there.Write([]byte("x")); !errors.Is(err, syscall.EPIPE) {
		t.Errorf("write: %v", err)
	}
}
