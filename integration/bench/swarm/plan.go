package main

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/darter-p2p/darter/integration/lab"
)

// plan says what is measured.
type plan struct {
	Nodes   int      // N: those that want the layers, beside the seed
	Rate    lab.Rate // RATE: of every link, each way
	Size    int64    // SIZE: of the layers together, bytes
	Layers  int      // LAYERS
	MTU     int      // MTU: of every link, bytes
	Runs    int      // RUNS
	Profile bool     // PROFILE=1: keep a perf profile of the machine during the last run's swarm
}

// parsePlan reads a plan from environment variables; what is not set has its default.
func parsePlan(getenv func(string) string) (plan, error) {
	p := plan{Nodes: 8, Rate: 200 * lab.Mbit, Size: 256 << 20, Layers: 1, MTU: 9000, Runs: 3}
	var err error
	number := func(name string, into *int, low, high int) {
		text := getenv(name)
		if text == "" || err != nil {
			return
		}
		n, bad := strconv.Atoi(text)
		if bad != nil || n < low || n > high {
			err = fmt.Errorf("%s=%s: want a number from %d to %d", name, text, low, high)
			return
		}
		*into = n
	}
	// A host's address is one of 65534, but a machine that runs more than 250 darterds says nothing.
	number("N", &p.Nodes, 1, 250)
	number("LAYERS", &p.Layers, 1, 127)
	number("MTU", &p.MTU, 1280, 65535)
	number("RUNS", &p.Runs, 1, 100)
	if text := getenv("RATE"); text != "" && err == nil {
		p.Rate, err = lab.ParseRate(text)
	}
	if text := getenv("SIZE"); text != "" && err == nil {
		p.Size, err = parseSize(text)
	}
	if err == nil && p.Size < int64(p.Layers)<<10 {
		err = fmt.Errorf("SIZE: %d bytes are too few for %d layers", p.Size, p.Layers)
	}
	p.Profile = getenv("PROFILE") == "1"
	return p, err
}

// parseSize reads a number of bytes, as it is or with KiB, MiB or GiB.
func parseSize(s string) (int64, error) {
	number, unit := s, int64(1)
	for suffix, size := range map[string]int64{"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30} {
		if rest, ok := strings.CutSuffix(s, suffix); ok {
			number, unit = rest, size
		}
	}
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil || n <= 0 || n > math.MaxInt64/unit {
		return 0, fmt.Errorf("size %q: want a number of bytes, or one with KiB, MiB or GiB", s)
	}
	return n * unit, nil
}

// weights are the sizes of layers relative to each other, in turn: a large base, a
// small package, a run time, and so on, as images have them.
var weights = []int64{30, 6, 25, 20, 12, 7}

// layerSizes splits the plan's bytes into its layers.
func (p plan) layerSizes() []int64 {
	var sum, given int64
	for i := range p.Layers {
		sum += weights[i%len(weights)]
	}
	sizes := make([]int64, p.Layers)
	for i := range sizes {
		sizes[i] = int64(float64(p.Size) * float64(weights[i%len(weights)]) / float64(sum))
		given += sizes[i]
	}
	sizes[0] += p.Size - given
	return sizes
}

// paths are where the plan's report and picture are written.
func (p plan) paths() (report, picture string) {
	stem := fmt.Sprintf("out/bench-swarm-N%d-%s", p.Nodes, p.Rate)
	if p.Layers > 1 {
		stem += fmt.Sprintf("-L%d", p.Layers)
	}
	return stem + ".json", stem + ".svg"
}
