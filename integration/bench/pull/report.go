package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/darter-p2p/darter/integration/bench/figure"
)

// reportPath is where the report is. Every invocation replaces what it measured anew
// and leaves the rest.
const reportPath = "out/bench-pull.json"

// report is out/bench-pull.json: cells by format and rate, such as "gzip-1gbit".
type report map[string]cell

// cell is what one invocation measured. Figures are the medians of its runs.
type cell struct {
	Rate   string `json:"rate"`
	Format string `json:"format"`
	Size   int64  `json:"size"` // of the image, bytes
	Layers int    `json:"layers"`
	Runs   int    `json:"runs"`
	// Link is how long the image takes on a link of the rate, seconds; 0 where links are
	// not shaped. No pull of a cold node is faster.
	Link float64 `json:"link_s"`

	// Pulls are by what pulled, such as "plain" and "snapshot-next".
	Pulls map[string]figures `json:"pulls"`
}

// figures are the medians of one kind of pull.
type figures struct {
	Seconds float64 `json:"seconds"`
	CPU     float64 `json:"cpu_s"` // of containerd and darterd of the pulling node, children included
	// Ratios to plain containerd in the same runs: the median of the runs' ratios.
	VsPlain    float64 `json:"seconds_vs_plain"`
	CPUVsPlain float64 `json:"cpu_vs_plain"`

	// Disturbed are the samples during which others had more than 15 % of the machine.
	Disturbed int `json:"disturbed"`

	Samples []sample `json:"samples"` // in the order of the runs
}

// sample is one pull.
type sample struct {
	Seconds    float64 `json:"seconds"`
	Containerd float64 `json:"containerd_cpu_s"`
	Darterd    float64 `json:"darterd_cpu_s"`
	Others     float64 `json:"others_cpu_s"` // of the other nodes, seed, scheduler and registry
	Busy       float64 `json:"busy"`         // share of the machine, 0 to 1
	// Foreign is the share of the machine that was used by nobody of the benchmark,
	// or taken by the hypervisor.
	Foreign float64 `json:"busy_foreign"`
	Steal   float64 `json:"busy_stolen"`  // what the hypervisor took alone
	Origin  int64   `json:"origin_bytes"` // that the registry's interface sent
	Read    int     `json:"blob_reads"`   // requests of blobs in the registry's log, by anybody
	Own     int     `json:"own_reads"`    // those of the pulling node
	// Fetched are the layers that containerd keeps compressed: those that it fetched.
	Fetched int `json:"fetched_layers"`
	// PeakRSS is darterd's, bytes; 0 where it does not take part.
	PeakRSS int64 `json:"darterd_rss_max"`
}

func (s sample) cpu() float64 { return s.Containerd + s.Darterd }

// disturbed says that others had so much of the machine that the sample says little.
func (s sample) disturbed() bool { return s.Foreign > 0.15 }

// runReport is the pulls of one run by their names.
type runReport map[string]sample

// newCell takes the medians of runs.
func newCell(p plan, bytes int64, runs []runReport) cell {
	c := cell{
		Rate: p.rate(), Format: string(p.Format), Size: bytes, Layers: p.Layers, Runs: len(runs),
		Link: ratio(float64(bytes), float64(p.Rate)/8), Pulls: map[string]figures{},
	}
	for _, name := range p.pulls() {
		of := func(value func(pulled, plain sample) float64) float64 {
			var values []float64
			for _, run := range runs {
				values = append(values, value(run[name], run[plainDoor]))
			}
			return figure.Median(values)
		}
		f := figures{
			Seconds:    of(func(s, _ sample) float64 { return s.Seconds }),
			CPU:        of(func(s, _ sample) float64 { return s.cpu() }),
			VsPlain:    of(func(s, plain sample) float64 { return ratio(s.Seconds, plain.Seconds) }),
			CPUVsPlain: of(func(s, plain sample) float64 { return ratio(s.cpu(), plain.cpu()) }),
		}
		for _, run := range runs {
			f.Samples = append(f.Samples, run[name])
			if run[name].disturbed() {
				f.Disturbed++
			}
		}
		c.Pulls[name] = f
	}
	return c
}

func ratio(a, b float64) float64 {
	if b == 0 {
		return 0
	}
	return a / b
}

// pulls are the names of what is measured, plain containerd first.
func (p plan) pulls() []string {
	names := []string{plainDoor}
	for _, door := range p.Doors {
		for _, pull := range p.Pulls {
			names = append(names, pullName(door, pull))
		}
	}
	return names
}

func pullName(door, pull string) string { return door + "-" + pull }

// write puts the cell into the report at a path.
func (c cell) write(path, key string) error {
	all := report{}
	text, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(text, &all)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("report %s: %w", path, err)
	}
	all[key] = c
	return figure.Write(all, path)
}

// table is the cell in lines for people.
func (c cell) table(names []string) []string {
	lines := []string{fmt.Sprintf("%-16s %8s %8s %9s %9s  %s", "pull", "wall s", "CPU s", "× wall", "× CPU", "layers fetched by containerd, blob reads at the registry")}
	disturbed, all := 0, 0
	for _, name := range names {
		f := c.Pulls[name]
		last := f.Samples[len(f.Samples)-1]
		lines = append(lines, fmt.Sprintf("%-16s %8.1f %8.1f %9.2f %9.2f  %d, %d", name, f.Seconds, f.CPU, f.VsPlain, f.CPUVsPlain, last.Fetched, last.Read))
		disturbed, all = disturbed+f.Disturbed, all+len(f.Samples)
	}
	if disturbed > 0 {
		lines = append(lines, fmt.Sprintf("DISTURBED: others had over 15 %% of the machine during %d pulls of %d", disturbed, all))
	}
	return lines
}
