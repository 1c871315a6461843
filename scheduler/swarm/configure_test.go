package swarm

import (
	"fmt"
	"testing"
	"time"
)

// Meshes that are there follow a change of the number of neighbours, both ways, and of
// whether racks and zones matter.
func TestConfigure(t *testing.T) {
	cfg := noWarmup()
	cfg.Neighbours, cfg.RackNeighbours, cfg.Bridges, cfg.SeedDegree = 8, 0, 0, 12
	f := follow(t, cfg, 3)
	task := taskOf("a")
	const n = 200
	seed := host1("seed")
	seed.Seed = true
	f.apply(HostUp{seed})
	for i := range n {
		h := host1(hostOf(i))
		h.Zone, h.Rack = fmt.Sprint("z", i%2), fmt.Sprint("r", i%20)
		f.apply(HostUp{h})
		f.apply(Join{task, h.ID, "oci://o/app/blobs/sha256:0", 1 << 30})
		f.now = f.now.Add(time.Millisecond)
	}
	f.settle(3 * time.Second)
	figures := func() (mean float64, most, abroad, rack int) {
		degrees := 0
		for p := range f.c.tasks[task].all() {
			if p.wide {
				continue
			}
			degrees += len(p.edges)
			most = max(most, len(p.edges))
			for _, q := range p.edges {
				if q.wide {
					continue
				}
				if p.host.Zone != q.host.Zone {
					abroad++
				}
				if p.host.Zone+p.host.Rack == q.host.Zone+q.host.Rack {
					rack++
				}
			}
		}
		f.agree()
		if lost := cutOff(f.c.tasks[task]); len(lost) > 0 {
			t.Errorf("%d are cut off", len(lost))
		}
		return float64(degrees) / n, most, abroad, rack
	}
	want := func(what string, ok bool) {
		t.Helper()
		if mean, most, abroad, rack := figures(); !ok {
			t.Errorf("%s: mean %.1f, at most %d, %d links leave a zone, %d stay in a rack", what, mean, most, abroad, rack)
		}
	}
	mean, most, abroad, _ := figures()
	want("at first", mean > 6 && mean <= 9 && most <= 12 && abroad > n)
	set := func(change func(*Config)) {
		t.Helper()
		change(&cfg)
		if err := cfg.Validate(); err != nil {
			t.Fatal(err)
		}
		f.apply(Configure{cfg})
		f.settle(3 * time.Second)
	}
	set(func(c *Config) { c.Neighbours, c.LargeNeighbours, c.SeedDegree = 20, 24, 64 })
	mean, most, _, _ = figures()
	want("more", mean >= 14 && most <= 30)
	set(func(c *Config) { c.Neighbours = 4 })
	mean, most, _, _ = figures()
	want("fewer", mean <= 6 && most <= 6)
	set(func(c *Config) { c.LargeSwarm, c.LargeNeighbours = 50, 16 })
	mean, _, _, _ = figures()
	want("large", mean >= 11)
	// Who comes from now on keeps to racks and zones.
	set(func(c *Config) {
		c.LargeSwarm, c.LargeNeighbours, c.Neighbours, c.RackNeighbours, c.Bridges = 5000, 24, 16, 4, 2
	})
	for i := range n {
		f.apply(Leave{task, hostOf(i)})
		f.apply(Join{task, hostOf(i), "oci://o/app/blobs/sha256:0", 1 << 30})
		f.now = f.now.Add(time.Millisecond)
	}
	f.settle(3 * time.Second)
	_, _, abroad, rack := figures()
	want("racks and zones", abroad <= 16 && rack >= n)
	before := f.messages
	f.apply(Configure{cfg})
	f.settle(3 * time.Second)
	if f.messages != before {
		t.Errorf("a change of nothing told %d messages", f.messages-before)
	}
	for i := range n {
		f.apply(HostDown{hostOf(i)})
	}
	f.apply(HostDown{"seed"})
	f.settle(time.Hour)
	if len(f.c.racks)+len(f.c.tasks)+len(f.c.hosts) != 0 {
		t.Errorf("something is left behind: %+v", f.c.Stats())
	}
}
