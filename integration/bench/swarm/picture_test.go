package main

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/darter-p2p/darter/integration/lab"
)

func TestPictureIsSVG(t *testing.T) {
	p := plan{Nodes: 2, Rate: 8 * lab.Mbit, Size: 2_000_000, Layers: 1}
	full := runReport{Makespan: 2, Bound: 1.9, CPULimited: true, Timeline: timeline{
		Seconds: []float64{0, 1, 2},
		Done:    map[string][]int64{"node1": {0, 1_000_000, 2_000_000}, "node2": {0, 500_000, 2_000_000}},
		Sent:    map[string][]int64{"node1": {0, 0, 9}, "node2": {0, 4, 9}, "seed": {0, 1_000_000, 2_000_000}},
	}}
	for name, c := range map[string]struct {
		run   runReport
		lines int
		words []string
	}{
		"full":  {full, 5, []string{"node1", "seed", "bound", "CPU-limited"}},
		"empty": {runReport{}, 0, []string{"bound"}},
	} {
		t.Run(name, func(t *testing.T) {
			svg := drawRun(p, c.run)
			decoder, lines := xml.NewDecoder(bytes.NewReader(svg)), 0
			for {
				token, err := decoder.Token()
				if errors.Is(err, io.EOF) {
					break
				}
				if err != nil {
					t.Fatalf("%v in %s", err, svg)
				}
				if start, ok := token.(xml.StartElement); ok && start.Name.Local == "polyline" {
					lines++
				}
			}
			if lines != c.lines {
				t.Errorf("%d curves, want %d", lines, c.lines)
			}
			for _, word := range append(c.words, "</svg>") {
				if !strings.Contains(string(svg), word) {
					t.Errorf("no %q", word)
				}
			}
			for _, wrong := range []string{"NaN", "Inf", "%!"} {
				if strings.Contains(string(svg), wrong) {
					t.Errorf("%s in %s", wrong, svg)
				}
			}
		})
	}
}

func TestPictureHasOneColourPerHost(t *testing.T) {
	run := runReport{Timeline: timeline{Seconds: []float64{0, 1}, Done: map[string][]int64{"node1": {0, 1}}, Sent: map[string][]int64{"a": {0, 1}, "node1": {0, 1}}}}
	svg := string(drawRun(plan{Size: 1, Rate: 8}, run))
	if strings.Count(svg, colour(1)) != 3 { // two curves and the legend
		t.Errorf("node1 is not the second colour in both panels: %s", svg)
	}
}

func TestNames(t *testing.T) {
	got := names(map[string][]int64{"node10": nil, "seed": nil, "node2": nil, "registry": nil, "node1": nil})
	if want := []string{"node1", "node2", "node10", "registry", "seed"}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

func TestRates(t *testing.T) {
	got := rates([]float64{0, 1, 2, 4, 5, 6, 8}, []int64{0, 100, 200, 200, 200, 200, 200}, 100)
	if want := []float64{0, 1, 1, 0.5, 0.4, 0.2, 0}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

func TestNiceStep(t *testing.T) {
	for whole, want := range map[float64]float64{0.001: 0.0001, 8: 1, 13: 2, 47: 5, 90: 10, 1300: 200} {
		if got := niceStep(whole); got < want*0.999 || got > want*1.001 {
			t.Errorf("%v: %v, want %v", whole, got, want)
		}
	}
}

func TestLongestPause(t *testing.T) {
	seconds := []float64{0, 1, 2, 3, 4, 5}
	for _, c := range []struct {
		counter []int64
		least   float64
		want    float64
	}{
		{[]int64{0, 1, 2, 3, 4, 5}, 0, 0},
		{[]int64{0, 0, 2, 2, 2, 5}, 0, 2},
		{[]int64{0, 9, 10, 11, 30, 31}, 1, 2},
		{[]int64{0, 1, 1}, 0, 1},
		{nil, 0, 0},
	} {
		if got := longestPause(seconds, c.counter, c.least); got != c.want {
			t.Errorf("%v below %v: %v s, want %v", c.counter, c.least, got, c.want)
		}
	}
}

func TestUntil(t *testing.T) {
	seconds := []float64{0, 1, 2}
	for end, want := range map[float64]int{-1: 0, 1: 2, 1.5: 2, 9: 3} {
		if got := until(end, seconds, []int64{1, 2, 3}); len(got) != want {
			t.Errorf("until %v: %v, want %d of them", end, got, want)
		}
	}
}
