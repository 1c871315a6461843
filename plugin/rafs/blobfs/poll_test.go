package blobfs

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"
)

// With one processor os.Open of a file that asks whether it can be polled would wait for
// ever: the processor waits for the answer, which needs a processor.
func TestOpenDoesNotPoll(t *testing.T) {
	needsFUSE(t)
	dir, fs := t.TempDir(), New()
	s, err := Mount(dir, fs)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Unmount(); err != nil {
			t.Error(err)
		}
	}()
	p := newPlain(t, content())
	close(p.gate)
	fs.Add("blob", p)
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	f, err := os.Open(filepath.Join(dir, "blob"))
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
}
