package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

func good() Report {
	return Report{
		ImageBytes: 1000, OriginBytes: 1010, OriginRatio: 1.01, SeedCopies: 1.2,
		Nodes: []NodeReport{
			{Name: "node1", Seconds: 5, FromPeers: 600, FromSeed: 400, DigestOK: true},
			{Name: "node2", Seconds: 6, FromPeers: 300, FromSeed: 690, FromOrigin: 10, DigestOK: true},
		},
		Lazy:    &LazyReport{ImageBytes: 900, Seconds: 0.5, Fetched: 90, Right: true},
		Preheat: &PreheatReport{ImageBytes: 100, Seconds: 1, PullSeconds: 0.2, OriginBytes: 5, Nodes: []PreheatedNode{{"node1", "succeeded", 5, 100}}},
	}
}

func TestMisses(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(*Report)
		want   string
	}{
		{"good", func(*Report) {}, ""},
		{"origin", func(r *Report) { r.OriginRatio = 1.021 }, "the registry sent 1.021 images"},
		{"seed", func(r *Report) { r.SeedCopies = 1.61 }, "the seed sent 1.61 images"},
		{"peers", func(r *Report) { r.Nodes[1].FromPeers = 299 }, "node2 got 0.30 of the image"},
		{"no lazy images here", func(r *Report) { r.Lazy = nil }, ""},
		{"lazy", func(r *Report) { r.Lazy.Fetched = 100 }, "0.11 of the Nydus image was fetched"},
		{"lazy content", func(r *Report) { r.Lazy.Right = false }, "the file read out of the Nydus image"},
		{"preheat", func(r *Report) { r.Preheat.Nodes[0].State = "failed" }, "the preheat on node1 is failed"},
		{"preheated", func(r *Report) { r.Preheat.OriginBytes = 6 }, "the registry sent 0.06 of the preheated image"},
		{"digest", func(r *Report) { r.Nodes[0].DigestOK = false }, "node1 does not have the right content"},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := good()
			test.change(&r)
			got := strings.Join(r.Misses(), "; ")
			if test.want == "" && got != "" || !strings.HasPrefix(got, test.want) {
				t.Errorf("misses %q, want %q", got, test.want)
			}
		})
	}
}

func TestReportHasExactlyTheNamedFields(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out", "demo.json")
	if err := good().Write(path); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var top map[string]any
	if err := json.Unmarshal(text, &top); err != nil {
		t.Fatal(err)
	}
	want := []string{"image_bytes", "lazy", "nodes", "origin_bytes", "origin_ratio", "preheat", "seed_copies"}
	if got := keys(top); !reflect.DeepEqual(got, want) {
		t.Errorf("fields %v, want %v", got, want)
	}
	nodes, _ := top["nodes"].([]any)
	node, _ := nodes[0].(map[string]any)
	want = []string{"digest_ok", "door", "from_origin", "from_peers", "from_seed", "name", "seconds"}
	if got := keys(node); !reflect.DeepEqual(got, want) {
		t.Errorf("fields of a node %v, want %v", got, want)
	}
}

func keys(m map[string]any) []string {
	var all []string
	for key := range m {
		all = append(all, key)
	}
	slices.Sort(all)
	return all
}

func TestScreen(t *testing.T) {
	rows := []row{{host: "node1", from: map[string]int64{"seed": 1 << 20, "node2": 3 << 20}, state: "pulling"}}
	senders := []string{registryColumn, "seed", "node2"}

	var plain strings.Builder
	(&screen{out: &plain}).show(2*time.Second, senders, rows, 8<<20)
	if got, want := plain.String(), "  2.0 s  node1: seed 1.0 node2 3.0 = 50 %\n"; got != want {
		t.Errorf("plain: %q, want %q", got, want)
	}

	var drawn strings.Builder
	s := screen{out: &drawn, terminal: true}
	s.show(0, senders, rows, 8<<20)
	first := drawn.Len()
	s.show(time.Second, senders, rows, 8<<20)
	if again := drawn.String()[first:]; !strings.HasPrefix(again, "\x1b[3A\x1b[2K") || strings.Count(again, "\n") != 3 {
		t.Errorf("the second table does not replace the first: %q", again)
	}
	for _, want := range []string{"node1", "·", "1.0", "3.0", "4.0", "50 %", "pulling"} {
		if !strings.Contains(drawn.String(), want) {
			t.Errorf("the table lacks %q:\n%s", want, drawn.String())
		}
	}
}
