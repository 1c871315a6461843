package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"

	"github.com/darter-p2p/darter/integration/bench/cputime"
	"github.com/darter-p2p/darter/integration/bench/figure"
)

// reportPath is where the report is. Every invocation replaces what it measured anew
// and leaves the rest.
const reportPath = "out/bench-lazy.json"

// report is out/bench-lazy.json: cells by row, image and rate, such as "start-1GiB-1gbit".
type report map[string]cell

// cell is what one invocation measured of one row.
type cell struct {
	Unit string `json:"unit"`
	Runs int    `json:"runs"`
	// Facts are what the figures are to be held against, such as sizes in bytes.
	Facts   map[string]float64 `json:"facts,omitempty"`
	Figures []figures          `json:"figures"`
}

// figures are one name's samples of all runs.
type figures struct {
	Name   string  `json:"name"`
	Median float64 `json:"median"`
	P99    float64 `json:"p99,omitempty"` // of single reads: the median of the runs' p99
	// Ratio to the baseline's value in the same run: the median of the runs' ratios.
	Baseline string   `json:"baseline,omitempty"`
	Ratio    float64  `json:"ratio,omitempty"`
	Samples  []sample `json:"samples"` // in the order of the runs
}

// sample is one measurement.
type sample struct {
	Value float64 `json:"value"`
	P99   float64 `json:"p99,omitempty"`
	Count int     `json:"count,omitempty"` // single reads
	Busy  float64 `json:"busy"`            // share of the machine, used by anybody, 0 to 1
	Steal float64 `json:"stolen"`          // what the hypervisor took of it
}

// run is the samples of one run by their names.
type run map[string]sample

// compared says what a name is compared with.
type compared struct{ name, baseline string }

// newCell takes the medians of runs, in the order of names.
func newCell(unit string, facts map[string]float64, names []compared, runs []run) cell {
	c := cell{Unit: unit, Runs: len(runs), Facts: facts}
	for _, n := range names {
		f := figures{Name: n.name, Baseline: n.baseline}
		var values, tails, ratios []float64
		for _, r := range runs {
			s, ok := r[n.name]
			if !ok {
				continue
			}
			f.Samples = append(f.Samples, s)
			values, tails = append(values, s.Value), append(tails, s.P99)
			if b := r[n.baseline].Value; b > 0 {
				ratios = append(ratios, s.Value/b)
			}
		}
		f.Median, f.P99, f.Ratio = figure.Median(values), figure.Median(tails), figure.Median(ratios)
		c.Figures = append(c.Figures, f)
	}
	return c
}

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
func (c cell) table(key string) []string {
	lines := []string{fmt.Sprintf("%-34s %10s %10s  %-24s %s", key+", "+c.Unit, "median", "p99", "ratio to", "busy (stolen), %")}
	for _, f := range c.Figures {
		if len(f.Samples) == 0 {
			continue
		}
		p99, to := "", ""
		if f.P99 > 0 {
			p99 = fmt.Sprintf("%.4g", f.P99)
		}
		if f.Ratio > 0 {
			to = fmt.Sprintf("%.2f %s", f.Ratio, f.Baseline)
		}
		var busy, steal []float64
		for _, s := range f.Samples {
			busy, steal = append(busy, s.Busy), append(steal, s.Steal)
		}
		lines = append(lines, fmt.Sprintf("  %-32s %10.4g %10s  %-24s %.0f (%.0f)", f.Name, f.Median, p99, to, 100*figure.Median(busy), 100*figure.Median(steal)))
	}
	for _, name := range sorted(c.Facts) {
		lines = append(lines, fmt.Sprintf("  %-32s %10.6g", name, c.Facts[name]))
	}
	return lines
}

func sorted(m map[string]float64) []string {
	var names []string
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// during measures what the machine did while f ran, whose value is the sample's.
func during(f func() (float64, error)) (sample, error) {
	before, err := cputime.ReadMachine()
	if err != nil {
		return sample{}, err
	}
	value, err := f()
	if err != nil {
		return sample{}, err
	}
	after, err := cputime.ReadMachine()
	used := after.Since(before)
	return sample{Value: value, Busy: used.Share(), Steal: used.Steal()}, err
}
