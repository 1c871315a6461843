package main

import (
	"slices"
	"time"

	"github.com/darter-p2p/darter/integration/bench/setting"
	"github.com/darter-p2p/darter/integration/lab"
	"github.com/darter-p2p/darter/integration/lab/image"
)

// plan says what is measured.
type plan struct {
	Rate    lab.Rate          // RATE: of every link, each way; 0 (RATE=loopback) = not shaped
	Format  image.Compression // FORMAT: gzip or zstd
	Size    int64             // SIZE: of the compressed layers together, MiB
	Layers  int               // LAYERS
	Runs    int               // RUNS: at most
	Time    time.Duration     // TIME: no run begins that would likely end later
	Doors   []string          // DOORS: which of mirror and snapshot are compared with plain containerd
	Pulls   []string          // PULLS: which of first, next and warm are measured
	Profile bool              // PROFILE=1: keep a perf profile of the last run's next pull by the snapshot door
}

// The doors of a node.
const (
	plainDoor    = "plain" // none: containerd reads the registry
	mirrorDoor   = "mirror"
	snapshotDoor = "snapshot"
)

// The states of a cluster in which a node pulls.
const (
	firstPull = "first" // nobody has the image
	nextPull  = "next"  // another node and the seed have it
	warmPull  = "warm"  // this node's piece store has it, its containerd does not
)

// parsePlan reads a plan from environment variables; what is not set has its default.
func parsePlan(getenv func(string) string) (plan, error) {
	r := setting.From(getenv)
	p := plan{
		Rate: r.Rate("RATE", lab.Gbit), Format: image.Gzip, Size: int64(r.Number("SIZE", 1, 1<<16, 500)) << 20,
		Layers: r.Number("LAYERS", 2, 127, 7), Runs: r.Number("RUNS", 1, 100, 3), Time: r.Time("TIME", 10*time.Minute),
		Doors: r.Words("DOORS", []string{mirrorDoor, snapshotDoor}), Pulls: r.Words("PULLS", []string{firstPull, nextPull, warmPull}),
		Profile: r.Flag("PROFILE"),
	}
	if text := getenv("FORMAT"); text != "" {
		p.Format = image.Compression(text)
	}
	if err := r.Err(); err != nil {
		return p, err
	}
	return p, p.recipe().Validate()
}

// order is the doors' in a run: every second run goes the other way.
func (p plan) order(run int) []string {
	doors := slices.Clone(p.Doors)
	if run%2 == 1 {
		slices.Reverse(doors)
	}
	return doors
}

// steps are the names of the pulls by a door in a run, in their order. The machine may
// be another one a minute later: what is compared most is measured side by side, so
// plain containerd pulls before or after the next node, by turns. It does so once in a
// run, by the snapshot door if that is measured.
func (p plan) steps(door string, run int) []string {
	names := []string{pullName(door, firstPull), pullName(door, nextPull)}
	if door == snapshotDoor || !slices.Contains(p.Doors, snapshotDoor) {
		names = slices.Insert(names, 1+run%2, plainDoor)
	}
	if slices.Contains(p.Pulls, warmPull) {
		names = append(names, pullName(door, warmPull))
	}
	return names
}

// recipe is the image that is pulled.
func (p plan) recipe() image.Recipe {
	return image.Recipe{Layers: p.Layers, Bytes: p.Size, Compression: p.Format}
}

// room is more than all hosts ever have on the disk, bytes: compressed and unpacked
// images, each several times.
func (p plan) room() int64 { return 8<<30 + 24*p.Size }

// rate is the plan's rate as RATE says it.
func (p plan) rate() string { return setting.RateText(p.Rate) }

// key names the plan's cell in the report.
func (p plan) key() string { return string(p.Format) + "-" + p.rate() }
