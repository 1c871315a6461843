package main

import (
	"slices"
	"testing"

	"github.com/darter-p2p/darter/integration/lab"
)

func TestParsePlan(t *testing.T) {
	standard := plan{Nodes: 8, Rate: 200 * lab.Mbit, Size: 256 << 20, Layers: 1, MTU: 9000, Runs: 3}
	for name, c := range map[string]struct {
		env  map[string]string
		want plan
		bad  bool
	}{
		"standard": {want: standard},
		"all": {
			env:  map[string]string{"N": "16", "RATE": "100mbit", "SIZE": "1GiB", "LAYERS": "7", "MTU": "1500", "RUNS": "1", "PROFILE": "1"},
			want: plan{Nodes: 16, Rate: 100 * lab.Mbit, Size: 1 << 30, Layers: 7, MTU: 1500, Runs: 1, Profile: true},
		},
		"no node":          {env: map[string]string{"N": "0"}, bad: true},
		"not a number":     {env: map[string]string{"RUNS": "three"}, bad: true},
		"rate without bit": {env: map[string]string{"RATE": "200"}, bad: true},
		"size of nothing":  {env: map[string]string{"SIZE": "0MiB"}, bad: true},
		"size too large":   {env: map[string]string{"SIZE": "9000000000GiB"}, bad: true},
		"layers too small": {env: map[string]string{"SIZE": "2KiB", "LAYERS": "3"}, bad: true},
		"first of two bad": {env: map[string]string{"N": "x", "RUNS": "2"}, bad: true},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := parsePlan(func(name string) string { return c.env[name] })
			if (err != nil) != c.bad {
				t.Fatalf("error %v, want one: %v", err, c.bad)
			}
			if !c.bad && got != c.want {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
		})
	}
}

func TestLayerSizes(t *testing.T) {
	for _, p := range []plan{{Size: 256 << 20, Layers: 1}, {Size: 256<<20 + 1, Layers: 7}, {Size: 127 << 10, Layers: 127}} {
		var sum int64
		sizes := p.layerSizes()
		for _, size := range sizes {
			sum += size
		}
		if len(sizes) != p.Layers || sum != p.Size || slices.Min(sizes) <= 0 {
			t.Errorf("%+v: %d layers of together %d, the least %d", p, len(sizes), sum, slices.Min(sizes))
		}
	}
}

func TestPaths(t *testing.T) {
	for _, c := range []struct {
		plan plan
		want string
	}{
		{plan{Nodes: 8, Rate: 200 * lab.Mbit, Layers: 1}, "out/bench-swarm-N8-200mbit.json"},
		{plan{Nodes: 16, Rate: lab.Gbit, Layers: 7}, "out/bench-swarm-N16-1gbit-L7.json"},
	} {
		if got, _ := c.plan.paths(); got != c.want {
			t.Errorf("got %s, want %s", got, c.want)
		}
	}
}
