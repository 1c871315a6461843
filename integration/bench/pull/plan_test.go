package main

import (
	"reflect"
	"testing"

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
		"standard": {want: plan{Rate: lab.Gbit, Format: image.Gzip, Size: 500 << 20, Layers: 7, Runs: 3, Doors: both, Pulls: all}},
		"all": {
			env: map[string]string{"RATE": "200mbit", "FORMAT": "zstd", "SIZE": "64", "LAYERS": "3", "RUNS": "1", "DOORS": "snapshot", "PULLS": "next, warm", "PROFILE": "1"},
			want: plan{Rate: 200 * lab.Mbit, Format: image.Zstd, Size: 64 << 20, Layers: 3, Runs: 1,
				Doors: []string{snapshotDoor}, Pulls: []string{nextPull, warmPull}, Profile: true},
		},
		"loopback": {env: map[string]string{"RATE": "loopback"}, want: plan{Format: image.Gzip, Size: 500 << 20, Layers: 7, Runs: 3, Doors: both, Pulls: all}},
		"rate":     {env: map[string]string{"RATE": "fast"}, bad: true},
		"format":   {env: map[string]string{"FORMAT": "lzma"}, bad: true},
		"runs":     {env: map[string]string{"RUNS": "0"}, bad: true},
		"door":     {env: map[string]string{"DOORS": "window"}, bad: true},
		"pull":     {env: map[string]string{"PULLS": "last"}, bad: true},
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
