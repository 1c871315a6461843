package server

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestStressLatency prints how long random reads of 4 KiB take: chunk not here (darterd
// has it at hand), chunk here with a cold page cache, and warm.
func TestStressLatency(t *testing.T) {
	if os.Getenv("DARTER_STRESS") == "" {
		t.Skip("a measurement: DARTER_STRESS=1")
	}
	n := newNode(t)
	s := n.open()
	if err := s.Mount(t.Context(), n.request()); err != nil {
		t.Fatal(err)
	}
	const name, size = "layer0-3", 3_000_000
	measure := func(what string, step int64, count int, cold bool) {
		f, err := os.Open(filepath.Join(n.mnt, name))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if err := unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_RANDOM); err != nil {
			t.Fatal(err)
		}
		r := rand.New(rand.NewPCG(1, 1))
		places := r.Perm(int(size / step))
		b := make([]byte, 4096)
		var took []time.Duration
		for i := range count {
			if cold && i%len(places) == 0 {
				if err := unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED); err != nil {
					t.Fatal(err)
				}
			}
			begin := time.Now()
			if _, err := f.ReadAt(b, int64(places[i%len(places)])*step); err != nil {
				t.Fatal(err)
			}
			took = append(took, time.Since(begin))
		}
		slices.Sort(took)
		t.Logf("%s: p50 %v, p99 %v of %d", what, took[len(took)/2], took[len(took)*99/100], len(took))
	}
	measure("chunk not here", 128<<10, 22, true)
	n.check()
	measure("chunk here, page cold", 4096, 5000, true)
	measure("warm", 4096, 20000, false)
}
