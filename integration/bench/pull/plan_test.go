package main

import (
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/darter-p2p/darter/integration/lab"
	"github.com/darter-p2p/darter/integration/lab/image"
)

func TestParsePlan(t *testing.T) {
	both, all := []string{mirrorDoor, snapshotDoor}, []string{firstPull, nextPull, warmPull}
	for name, c := range map[string]struct {
		env  map[string]string
		want plan
		bad  bool
	}{
		"standard": {want: plan{Rate: lab.Gbit, Format: image.Gzip, Size: 500 << 20, Layers: 7, Runs: 3, Time: 10 * time.Minute, Doors: both, Pulls: all}},
		"all": {
			env: map[string]string{"RATE": "200mbit", "FORMAT": "zstd", "SIZE": "64", "LAYERS": "3", "RUNS": "1", "DOORS": "snapshot", "PULLS": "next, warm", "PROFILE": "1", "TIME": "2m"},
			want: plan{Rate: 200 * lab.Mbit, Format: image.Zstd, Size: 64 << 20, Layers: 3, Runs: 1, Time: 2 * time.Minute,
				Doors: []string{snapshotDoor}, Pulls: []string{nextPull, warmPull}, Profile: true},
		},
		"loopback": {env: map[string]string{"RATE": "loopback"}, want: plan{Format: image.Gzip, Size: 500 << 20, Layers: 7, Runs: 3, Time: 10 * time.Minute, Doors: both, Pulls: all}},
		"rate":     {env: map[string]string{"RATE": "fast"}, bad: true},
		"format":   {env: map[string]string{"FORMAT": "lzma"}, bad: true},
		"runs":     {env: map[string]string{"RUNS": "0"}, bad: true},
		"door":     {env: map[string]string{"DOORS": "window"}, bad: true},
		"pull":     {env: map[string]string{"PULLS": "last"}, bad: true},
		"no door":  {env: map[string]string{"DOORS": ","}, bad: true},
		"time":     {env: map[string]string{"TIME": "10"}, bad: true},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := parsePlan(func(name string) string { return c.env[name] })
			if (err != nil) != c.bad {
				t.Fatalf("error %v, want one: %v", err, c.bad)
			}
			if !c.bad && !reflect.DeepEqual(got, c.want) {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
		})
	}
}

func TestStepsAlternate(t *testing.T) {
	all := plan{Doors: []string{mirrorDoor, snapshotDoor}, Pulls: []string{firstPull, nextPull, warmPull}}
	for name, c := range map[string]struct {
		plan plan
		run  int
		want []string
	}{
		"even": {all, 0, []string{"mirror-first", "mirror-next", "mirror-warm", "snapshot-first", "plain", "snapshot-next", "snapshot-warm"}},
		"odd":  {all, 1, []string{"snapshot-first", "snapshot-next", "plain", "snapshot-warm", "mirror-first", "mirror-next", "mirror-warm"}},
		"mirror alone": {
			plan{Doors: []string{mirrorDoor}, Pulls: []string{nextPull}}, 2, []string{"mirror-first", "plain", "mirror-next"},
		},
	} {
		var got []string
		for _, door := range c.plan.order(c.run) {
			got = append(got, c.plan.steps(door, c.run)...)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}
