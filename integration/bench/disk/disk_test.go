package disk

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"
)

func TestDisk(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounting needs root")
	}
	for _, tool := range Tools() {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skip(err)
		}
	}
	folder := t.TempDir()
	d, err := New(t.Context(), folder, 64<<20)
	if err != nil {
		t.Fatal(err)
	}
	var in, out unix.Stat_t
	if err := errors.Join(unix.Stat(d.Dir, &in), unix.Stat(folder, &out)); err != nil || in.Dev == out.Dev {
		t.Errorf("nothing is mounted: %v", err)
	}
	if err := os.WriteFile(filepath.Join(d.Dir, "file"), make([]byte, 1<<20), 0o600); err != nil {
		t.Error(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(folder); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
	if err := d.Close(); err != nil {
		t.Errorf("the second close: %v", err)
	}
}

func TestDisksOfTheDeadAreRemoved(t *testing.T) {
	folder := t.TempDir()
	dead := exec.Command("true")
	if err := dead.Run(); err != nil {
		t.Fatal(err)
	}
	name := func(pid int) string { return filepath.Join(folder, prefix+strconv.Itoa(pid)+".ext4") }
	for _, pid := range []int{dead.Process.Pid, os.Getpid()} {
		if err := os.WriteFile(name(pid), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	removeDead(folder)
	if _, err := os.Stat(name(dead.Process.Pid)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("that of a dead program: %v", err)
	}
	if _, err := os.Stat(name(os.Getpid())); err != nil {
		t.Errorf("that of a living one: %v", err)
	}
}
