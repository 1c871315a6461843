package notify

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// manager is the service manager's end.
func manager(t *testing.T, name string) *net.UnixConn {
	t.Helper()
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return c
}

func receive(t *testing.T, c *net.UnixConn) string {
	t.Helper()
	b := make([]byte, 256)
	n, err := c.Read(b)
	if err != nil {
		t.Fatal(err)
	}
	return string(b[:n])
}

func environment(kv map[string]string) func(string) string {
	return func(k string) string { return kv[k] }
}

func TestNotify(t *testing.T) {
	for _, name := range []string{filepath.Join(t.TempDir(), "s"), "@darter-notify-test"} {
		c := manager(t, name)
		n := FromEnvironment(environment(map[string]string{"NOTIFY_SOCKET": name}))
		for want, call := range map[string]func() error{
			"READY=1":      n.Ready,
			"STOPPING=1":   n.Stopping,
			"STATUS=a b":   func() error { return n.Status("a\nb") },
			"STATUS=x=y z": func() error { return n.Status("x=y z") },
		} {
			if err := call(); err != nil {
				t.Fatal(err)
			}
			if got := receive(t, c); got != want {
				t.Errorf("%q, want %q", got, want)
			}
		}
	}
}

func TestWithoutManager(t *testing.T) {
	n := FromEnvironment(environment(nil))
	if err := errors.Join(n.Ready(), n.Stopping(), n.Status("x")); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := n.Watch(ctx, func(context.Context) error { t.Error("asked"); return nil }); err != nil {
		t.Fatal(err)
	}
	gone := FromEnvironment(environment(map[string]string{"NOTIFY_SOCKET": filepath.Join(t.TempDir(), "none")}))
	if err := gone.Ready(); err == nil {
		t.Fatal("told nobody, and no error")
	}
}

func TestWatchdog(t *testing.T) {
	name := filepath.Join(t.TempDir(), "s")
	c := manager(t, name)
	env := map[string]string{"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "20000"}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	asked := 0
	go func() {
		done <- FromEnvironment(environment(env)).Watch(ctx, func(context.Context) error {
			if asked++; asked == 2 {
				return errors.New("not well")
			}
			return nil
		})
	}()
	for range 3 {
		if got := receive(t, c); got != "WATCHDOG=1" {
			t.Errorf("%q", got)
		}
	}
	cancel()
	if err := <-done; err != nil || asked < 4 {
		t.Fatalf("asked %d times, %v: one of them was not to be told", asked, err)
	}

	env["WATCHDOG_PID"] = "1" // meant for another process
	if n := FromEnvironment(environment(env)); n.watchdog != 0 {
		t.Error("took another process's watchdog")
	}
}
