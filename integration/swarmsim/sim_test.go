package swarmsim

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var seedFlag = flag.Uint64("seed", 0, "run only with this seed of chance")

// load reads a scenario of testdata.
func load(t *testing.T, name string) *scenario {
	t.Helper()
	f, err := os.Open(filepath.Join("testdata", name+".txt"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	sc, err := parseScenario(name, f)
	if err != nil {
		t.Fatal(err)
	}
	return sc
}

// run plays a scenario with each of the seeds 1 to sc.runs, or with that of -seed.
// With -short it plays the first two: a crowd of 1,000 takes half a minute.
func run(t *testing.T, sc *scenario) {
	first, last := uint64(1), uint64(sc.runs)
	if testing.Short() {
		last = min(last, 2)
	}
	if *seedFlag != 0 {
		first, last = *seedFlag, *seedFlag
	}
	for seed := first; seed <= last; seed++ {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			t.Parallel()
			s, r, err := play(sc, seed)
			if err == nil {
				err = sc.check(r)
			}
			t.Logf("%+v", r)
			if err != nil {
				t.Errorf("%v\n%s\nrepeat: go test ./integration/swarmsim -run 'TestScenarios/%s$' -seed=%d",
					err, s.ending(), sc.name, seed)
			}
		})
	}
}

func TestScenarios(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scenarios: %v", err)
	}
	for _, f := range files {
		name := strings.TrimSuffix(filepath.Base(f), ".txt")
		t.Run(name, func(t *testing.T) { run(t, load(t, name)) })
	}
}

// The same seed gives the same trace, another one another.
func TestTraceRepeats(t *testing.T) {
	sc := load(t, "sixteen")
	trace := func(seed uint64) uint64 {
		_, r, err := play(sc, seed)
		if err != nil {
			t.Fatal(err)
		}
		return r.Trace
	}
	first := trace(7)
	if again := trace(7); again != first {
		t.Errorf("seed 7 gave the traces %x and %x", first, again)
	}
	if other := trace(8); other == first {
		t.Errorf("seeds 7 and 8 gave the same trace %x", first)
	}
}

// A broken rule ends the run, and its report has the end of the trace.
func TestFailureShowsTrace(t *testing.T) {
	sc := load(t, "four")
	s := newSim(sc, 1)
	if err := s.prepare(sc); err != nil {
		t.Fatal(err)
	}
	s.nodes[0].maxUploads = 0
	err := s.run()
	if err == nil || !strings.Contains(err.Error(), "pieces at a time") {
		t.Fatalf("run gave %v, want the broken limit of uploads", err)
	}
	if end := s.ending(); !strings.Contains(end, "seed1") {
		t.Errorf("the end of the trace names nobody:\n%s", end)
	}
}
