package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

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
	p := plan{
		Rate: lab.Gbit, Format: image.Gzip, Size: 500 << 20, Layers: 7, Runs: 3, Time: 10 * time.Minute,
		Doors: []string{mirrorDoor, snapshotDoor}, Pulls: []string{firstPull, nextPull, warmPull},
		Profile: getenv("PROFILE") == "1",
	}
	var err error
	number := func(name string, low, high int, set func(int)) {
		text := getenv(name)
		if text == "" || err != nil {
			return
		}
		n, bad := strconv.Atoi(text)
		if bad != nil || n < low || n > high {
			err = fmt.Errorf("%s=%s: want a number from %d to %d", name, text, low, high)
			return
		}
		set(n)
	}
	words := func(name string, allowed []string, into *[]string) {
		text := getenv(name)
		if text == "" || err != nil {
			return
		}
		chosen := strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ' ' })
		for _, word := range chosen {
			if !slices.Contains(allowed, word) {
				chosen = nil
				break
			}
		}
		if len(chosen) == 0 {
			err = fmt.Errorf("%s=%s: want some of %s", name, text, strings.Join(allowed, ","))
			return
		}
		*into = chosen
	}
	number("SIZE", 1, 1<<16, func(n int) { p.Size = int64(n) << 20 })
	number("LAYERS", 2, 127, func(n int) { p.Layers = n })
	number("RUNS", 1, 100, func(n int) { p.Runs = n })
	words("DOORS", p.Doors, &p.Doors)
	words("PULLS", p.Pulls, &p.Pulls)
	if text := getenv("RATE"); text == "loopback" {
		p.Rate = 0
	} else if text != "" && err == nil {
		p.Rate, err = lab.ParseRate(text)
	}
	if text := getenv("TIME"); text != "" && err == nil {
		p.Time, err = time.ParseDuration(text)
	}
	if text := getenv("FORMAT"); text != "" {
		p.Format = image.Compression(text)
	}
	if err == nil {
		err = p.recipe().Validate()
	}
	return p, err
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
func (p plan) rate() string {
	if p.Rate == 0 {
		return "loopback"
	}
	return p.Rate.String()
}

// key names the plan's cell in the report.
func (p plan) key() string { return string(p.Format) + "-" + p.rate() }
