package lab_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/darter-p2p/darter/integration/lab"
)

// leaveThingsBehind makes a lab with all that must be cleaned and kills this process.
func leaveThingsBehind(t *testing.T) {
	l := fill(t)
	fmt.Printf("\nLAB=%s\n", l.ID())
	if len(l.Leftovers()) < 6 {
		fmt.Printf("but it has only %q\n", l.Leftovers())
	}
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
}

// fill makes a lab with a host, a mount, a loop device, a process and a
// grandchild that, like a container, has neither the host's namespace nor the
// mark of the run.
func fill(t *testing.T) *lab.Lab {
	t.Helper()
	l, err := lab.New(t.Context(), lab.Options{})
	if err != nil {
		t.Fatal(err)
	}
	h, err := l.AddHost(t.Context(), "a", lab.Both(lab.Gbit))
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"m", "m/inner"} {
		path := filepath.Join(h.Data, dir)
		if err := os.Mkdir(path, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := syscall.Mount("none", path, "tmpfs", 0, ""); err != nil {
			t.Fatal(err)
		}
	}
	disk := filepath.Join(h.Data, "disk")
	if err := os.WriteFile(disk, make([]byte, 1<<20), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("losetup", "-f", disk).CombinedOutput(); err != nil {
		t.Fatalf("losetup: %v: %s", err, out)
	}
	container := `setsid unshare --net --mount env -i sh -c "sleep 1000; :" ` + l.ID() + " & wait"
	_, err = h.Start(t.Context(), lab.Program{Name: "shim", Argv: []string{"sh", "-c", container}})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestCloseRemovesAll(t *testing.T) {
	if reason := lab.Unavailable(); reason != "" {
		t.Skip(reason)
	}
	l := fill(t)
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	for _, left := range l.Leftovers() {
		t.Errorf("left behind: %s", left)
	}
	if err := l.Close(); err != nil {
		t.Errorf("the second Close: %v", err)
	}
}

// TestNewRemovesDeadRuns kills the watcher too, so that only the next run can clean.
func TestNewRemovesDeadRuns(t *testing.T) {
	if reason := lab.Unavailable(); reason != "" {
		t.Skip(reason)
	}
	dead := fill(t)
	dead.KillWatcher()
	if err := dead.Close(); err == nil {
		t.Error("Close without a watcher: no error")
	}
	if !lab.Exists(dead.RunDir()) {
		t.Error("without a watcher the run should still be there")
	}
	next, err := lab.New(t.Context(), lab.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := next.Close(); err != nil {
			t.Error(err)
		}
	}()
	for _, left := range dead.Leftovers() {
		t.Errorf("left behind: %s", left)
	}
}
