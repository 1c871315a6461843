package lab_test

import (
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/darter-p2p/darter/integration/bench/cputime"
	"github.com/darter-p2p/darter/integration/lab"
	"github.com/darter-p2p/darter/integration/lab/labtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// hosts adds hosts with the same link.
func hosts(t *testing.T, l *lab.Lab, link lab.Link, names ...string) []*lab.Host {
	t.Helper()
	var made []*lab.Host
	for _, name := range names {
		h, err := l.AddHost(t.Context(), name, link)
		if err != nil {
			t.Fatal(err)
		}
		made = append(made, h)
	}
	return made
}

// send sends n bytes from one host to another and returns how long it took.
func send(t *testing.T, from, to *lab.Host, n int64) time.Duration {
	t.Helper()
	listener, err := to.Listen(9000)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	received := make(chan int64, 1)
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			received <- -1
			return
		}
		defer conn.Close()
		got, _ := io.Copy(io.Discard, conn)
		received <- got
	}()
	start := time.Now()
	conn, err := from.DialContext(t.Context(), "tcp", to.HostPort(9000))
	if err != nil {
		t.Fatal(err)
	}
	buffer := make([]byte, 64<<10)
	for sent := int64(0); sent < n; sent += int64(len(buffer)) {
		if _, err := conn.Write(buffer); err != nil {
			t.Fatal(err)
		}
	}
	if err := conn.Close(); err != nil {
		t.Fatal(err)
	}
	if got := <-received; got != n {
		t.Fatalf("%d of %d bytes arrived", got, n)
	}
	return time.Since(start)
}

func TestLinkCarriesItsRate(t *testing.T) {
	l := labtest.New(t, lab.Options{})
	pair := hosts(t, l, lab.Link{}, "a", "b")
	for _, test := range []struct {
		name string
		a, b lab.Link
		want lab.Rate
	}{
		{"the sender's end limits", lab.Link{Up: 200 * lab.Mbit}, lab.Link{}, 200 * lab.Mbit},
		{"the receiver's end limits", lab.Link{}, lab.Link{Down: 100 * lab.Mbit}, 100 * lab.Mbit},
		{"both", lab.Both(lab.Gbit), lab.Both(lab.Gbit), lab.Gbit},
	} {
		t.Run(test.name, func(t *testing.T) {
			for i, link := range []lab.Link{test.a, test.b} {
				if err := pair[i].Shape(t.Context(), link); err != nil {
					t.Fatal(err)
				}
			}
			before, since := counters(t, pair...), machine(t)
			n := test.want.Bytes(1500*time.Millisecond) >> 16 << 16
			took := send(t, pair[0], pair[1], n)
			rate := float64(n) * 8 / took.Seconds()
			wantRate(t, since, rate, test.want)
			after := counters(t, pair...)
			sent, received := after[0].tx-before[0].tx, after[1].rx-before[1].rx
			t.Logf("%d bytes in %v: %.0f Mbit/s; counters %d sent, %d received", n, took, rate/1e6, sent, received)
			for name, counted := range map[string]int64{"sent": sent, "received": received} {
				excess := float64(counted)/float64(n) - 1
				if excess < 0 || excess > 0.01 && tooBusy(t, since) == "" { // TCP sends again what it believes lost
					t.Errorf("%s: %d bytes counted for %d of payload", name, counted, n)
				}
			}
		})
	}
}

// wantRate fails the test unless the rate is right within 10 %. A rate that is too low
// says nothing where the machine had other things to do since then.
func wantRate(t *testing.T, since cputime.Machine, got float64, want lab.Rate) {
	t.Helper()
	if math.Abs(got/float64(want)-1) <= 0.1 {
		return
	}
	if why := tooBusy(t, since); got < float64(want) && why != "" {
		t.Logf("the link carried %.0f bit/s of %s: the machine is too busy to tell: %s", got, want, why)
		return
	}
	t.Errorf("the link carried %.0f bit/s, want %s within 10 %%", got, want)
}

func machine(t *testing.T) cputime.Machine {
	t.Helper()
	m, err := cputime.ReadMachine()
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// tooBusy says why rates since then are not to be trusted, "" if they are: the hypervisor
// took a part of the machine, or more processes want to run than there are cores.
func tooBusy(t *testing.T, since cputime.Machine) string {
	t.Helper()
	if stolen := machine(t).Since(since).Steal(); stolen > 0.05 {
		return fmt.Sprintf("%.0f %% of it were stolen", 100*stolen)
	}
	var load float64
	if text, err := os.ReadFile("/proc/loadavg"); err == nil {
		_, _ = fmt.Sscan(string(text), &load) // 0 where it cannot be read
	}
	if load > float64(runtime.NumCPU()) {
		return fmt.Sprintf("load %.1f", load)
	}
	return ""
}

type counter struct{ tx, rx int64 }

func counters(t *testing.T, of ...*lab.Host) []counter {
	t.Helper()
	var all []counter
	for _, h := range of {
		tx, err := h.TxBytes()
		if err != nil {
			t.Fatal(err)
		}
		rx, err := h.RxBytes()
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, counter{tx, rx})
	}
	return all
}

func TestCutIsSilentAndHeals(t *testing.T) {
	l := labtest.New(t, lab.Options{})
	pair := hosts(t, l, lab.Both(lab.Gbit), "a", "b")
	listener, err := pair[1].Listen(9000)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	conn, err := pair[0].DialContext(t.Context(), "tcp", pair[1].HostPort(9000))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	accepted, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer accepted.Close()

	if err := pair[1].Cut(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write([]byte("x")); err != nil {
		t.Fatalf("a cut link must be silent, but: %v", err)
	}
	one := make([]byte, 1)
	_ = accepted.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
	if _, err := accepted.Read(one); err == nil {
		t.Fatal("a byte came through the cut link")
	} else if !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("read through a cut link: %v", err)
	}
	if err := pair[1].Heal(t.Context()); err != nil {
		t.Fatal(err)
	}
	_ = accepted.SetReadDeadline(time.Now().Add(30 * time.Second))
	if _, err := accepted.Read(one); err != nil {
		t.Fatalf("after the link healed: %v", err)
	}
}

func TestProcess(t *testing.T) {
	l := labtest.New(t, lab.Options{})
	h := hosts(t, l, lab.Link{}, "a")[0]
	p, err := h.Start(t.Context(), lab.Program{Name: "sleeper", Argv: []string{"sleep", "1000"}})
	if err != nil {
		t.Fatal(err)
	}
	first := p.Pid()
	p.Kill()
	if p.Pid() != 0 || !strings.Contains(p.State(), "killed") {
		t.Errorf("after Kill: %s", p.State())
	}
	if err := p.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	if second := p.Pid(); second == 0 || second == first {
		t.Errorf("process %d, after a restart %d", first, second)
	}

	_, err = h.Start(t.Context(), lab.Program{
		Name: "failing", Argv: []string{"sh", "-c", "echo I am broken; exit 3"}, Ready: h.Accepts(1),
	})
	if err == nil || !strings.Contains(err.Error(), "I am broken") || !strings.Contains(err.Error(), "it has ended") {
		t.Errorf("a program that ends: %v", err)
	}
}

// TestRunIsRemovedAfterItsProcessIsGone makes a lab in a process that is killed
// while a container-like grandchild, a mount and a loop device exist.
func TestRunIsRemovedAfterItsProcessIsGone(t *testing.T) {
	if os.Getenv("LAB_TEST_CHILD") != "" {
		leaveThingsBehind(t)
		return
	}
	if reason := lab.Unavailable(); reason != "" {
		t.Skip(reason)
	}
	child := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$")
	child.Env = append(os.Environ(), "LAB_TEST_CHILD=1")
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	all, _ := io.ReadAll(out) // the child kills itself
	_ = child.Wait()
	_, rest, ok := strings.Cut(string(all), "LAB=")
	id, _, _ := strings.Cut(rest, "\n")
	if !ok {
		t.Fatalf("the child made no lab:\n%s", all)
	}
	deadline := time.Now().Add(30 * time.Second)
	for lab.LeftoversOf(id) != nil && time.Now().Before(deadline) {
		time.Sleep(50 * time.Millisecond)
	}
	for _, left := range lab.LeftoversOf(id) {
		t.Errorf("left behind: %s", left)
	}
}
