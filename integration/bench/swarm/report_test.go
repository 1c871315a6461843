package main

import (
	"encoding/json"
	"math"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/darter-p2p/darter/integration/bench/cputime"
	"github.com/darter-p2p/darter/integration/lab"
)

func TestLowerBound(t *testing.T) {
	const rate = 1 << 20 // bytes per second
	for name, c := range map[string]struct {
		layers []int64
		nodes  int
		want   float64
	}{
		"one node has no hop":           {[]int64{256 << 20}, 1, 256},
		"256 MiB have pieces of 512 K":  {[]int64{256 << 20}, 8, 256 + 3*0.5},
		"between powers of two":         {[]int64{256 << 20}, 7, 256 + 2*0.5},
		"the largest layer's piece":     {[]int64{1 << 20, 256 << 20}, 2, 257 + 0.5},
		"a small layer is one piece":    {[]int64{1 << 19}, 2, 0.5 + 0.5},
		"pieces are at most 1 MiB long": {[]int64{4 << 30}, 16, 4096 + 4},
	} {
		if got := lowerBound(c.layers, rate, c.nodes); math.Abs(got-c.want) > 1e-9 {
			t.Errorf("%s: %v s, want %v", name, got, c.want)
		}
	}
}

// run is a run of two nodes.
func run(ratio float64, limited bool, copies ...float64) runReport {
	return runReport{figures: figures{Ratio: ratio, RSSMax: int64(ratio * 100), CopiesSent: copiesSent{Seed: ratio / 2, Nodes: copies}}, CPULimited: limited}
}

func TestReportTakesMediansOfRunsThatCount(t *testing.T) {
	p := plan{Nodes: 2, Size: 100, Layers: 1}
	r := newReport(p, []runReport{run(1.2, false, 0.2, 0.8), run(9, true, 9, 9), run(1.4, false, 1, 0), run(1.3, false, 0.5, 0.4)})
	if r.Counts != 3 || r.Ratio != 1.3 || r.RSSMax != 130 || r.CopiesSent.Seed != 0.65 {
		t.Errorf("%d runs count, ratio %v, RSS %v, seed %v", r.Counts, r.Ratio, r.RSSMax, r.CopiesSent.Seed)
	}
	if want := []float64{0.2, 0.8}; !slices.Equal(r.CopiesSent.Nodes, want) {
		t.Errorf("nodes sent %v, want %v", r.CopiesSent.Nodes, want)
	}
	r = newReport(p, []runReport{run(5, true, 1, 1), run(7, true, 1, 1)})
	if r.Counts != 0 || r.Ratio != 6 {
		t.Errorf("where no run counts: %d count, ratio %v, want the median of all", r.Counts, r.Ratio)
	}
}

func TestReportIsWritten(t *testing.T) {
	t.Chdir(t.TempDir())
	p := plan{Nodes: 2, Rate: 200 * lab.Mbit, Size: 100, Layers: 1}
	if err := newReport(p, []runReport{run(1.25, false, 1, 1)}).write(p); err != nil {
		t.Fatal(err)
	}
	path, picture := p.paths()
	for _, name := range []string{path, latestPath} {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		var fields struct {
			Ratio  float64
			Copies struct{ Seed float64 } `json:"copies_sent"`
			Runs   []struct{ Ratio float64 }
		}
		if err := json.Unmarshal(text, &fields); err != nil {
			t.Fatal(err)
		}
		if fields.Ratio != 1.25 || fields.Copies.Seed != 0.625 || len(fields.Runs) != 1 || fields.Runs[0].Ratio != 1.25 {
			t.Errorf("%s: %+v", name, fields)
		}
	}
	if _, err := os.Stat(picture); err != nil {
		t.Error(err)
	}
}

func TestCompareCPU(t *testing.T) {
	p := plan{Nodes: 4, Size: 500_000_000}
	r := runReport{CPU: cpuReport{Darter: 11, Registry: 1, Relay: 100, Clients: 4, Machine: 40}}
	r.compareCPU(p, cputime.Usage{
		Groups:  map[string]time.Duration{curlGroup: 1500 * time.Millisecond, registryGroup: 500 * time.Millisecond},
		Machine: cputime.Machine{Busy: 5 * time.Second},
	})
	// 2 GB were delivered; curl got 0.5 GB for 2 s.
	for name, pair := range map[string][2]float64{
		"per GB":        {r.CPUPerGB, 6},
		"vs curl":       {r.CPUVsCurl, 1.5},
		"with clients":  {r.CPUVsCurlWithClients, 2},
		"whole machine": {r.CPUVsCurlWholeMachine, 2},
	} {
		if math.Abs(pair[0]-pair[1]) > 1e-9 {
			t.Errorf("%s: %v, want %v", name, pair[0], pair[1])
		}
	}
}
