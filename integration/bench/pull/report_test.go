package main

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/darter-p2p/darter/integration/lab"
	"github.com/darter-p2p/darter/integration/lab/image"
)

func run(plain, next float64) runReport {
	return runReport{
		plainDoor:       {Seconds: plain, Containerd: 2},
		"snapshot-next": {Seconds: next, Containerd: 0.5, Darterd: 1},
	}
}

var small = plan{Rate: 200 * lab.Mbit, Format: image.Zstd, Layers: 7, Doors: []string{snapshotDoor}, Pulls: []string{nextPull}}

func TestCellTakesMediansOfRatios(t *testing.T) {
	c := newCell(small, 99, []runReport{run(10, 5), run(20, 12), run(100, 30)})
	f := c.Pulls["snapshot-next"]
	for what, pair := range map[string][2]float64{
		"wall":          {f.Seconds, 12},
		"CPU":           {f.CPU, 1.5},
		"wall vs plain": {f.VsPlain, 0.5},
		"CPU vs plain":  {f.CPUVsPlain, 0.75},
		"plain itself":  {c.Pulls[plainDoor].VsPlain, 1},
	} {
		if math.Abs(pair[0]-pair[1]) > 1e-9 {
			t.Errorf("%s: %v, want %v", what, pair[0], pair[1])
		}
	}
	if c.Runs != 3 || len(f.Samples) != 3 || len(c.table(small.pulls())) != 3 {
		t.Errorf("%+v", c)
	}
}

func TestCellsAreKept(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out", "report.json")
	for _, key := range []string{"a", "b", "a"} {
		if err := newCell(small, 1, []runReport{run(1, 1)}).write(path, key); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var all report
	if err := json.Unmarshal(text, &all); err != nil || len(all) != 2 || all["b"].Rate != "200mbit" {
		t.Errorf("%v: %+v", err, all)
	}
	if err := os.WriteFile(path, []byte("["), 0o644); err != nil {
		t.Fatal(err)
	}
	if newCell(small, 1, []runReport{run(1, 1)}).write(path, "a") == nil {
		t.Error("a report that cannot be read is overwritten")
	}
}

func TestDisturbedPullsAreSaid(t *testing.T) {
	noisy := run(10, 5)
	one := noisy["snapshot-next"]
	one.Foreign = 0.5
	noisy["snapshot-next"] = one
	c := newCell(small, 1, []runReport{run(10, 5), noisy})
	if n := c.Pulls["snapshot-next"].Disturbed; n != 1 {
		t.Errorf("%d disturbed", n)
	}
	lines := c.table(small.pulls())
	if last := lines[len(lines)-1]; !strings.Contains(last, "1 pulls of 4") {
		t.Errorf("the table ends with %q", last)
	}
}
