package swarm

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/darter-p2p/darter/p2p"
)

const origin1 = p2p.Origin("oci://registry/app/blobs/x")

// crowd lets n hosts join one task within spread, with one seed.
func crowd(f *follower, n int, spread time.Duration, place func(i int) p2p.Host) *task {
	f.check = false
	f.apply(HostUp{p2p.Host{ID: "seed", Addr: "seed:1", Zone: place(0).Zone, Seed: true}})
	id := taskOf("crowd")
	for i := range n {
		f.apply(HostUp{place(i)})
	}
	f.messages = 0
	for i := range n {
		f.apply(Join{id, hostOf(i), origin1, 1 << 28})
		f.settle(spread / time.Duration(n))
	}
	f.settle(2 * time.Second)
	if err := f.c.Check(); err != nil {
		f.t.Fatal(err)
	}
	f.agree()
	return f.c.tasks[id]
}

func flat(i int) p2p.Host { return host1(hostOf(i)) }

// degrees returns the degrees of a task's peers, sorted, without the seed's.
func degrees(t *task) (all []int, seed int) {
	for p := range t.all() {
		if p.wide {
			seed = len(p.edges)
			continue
		}
		all = append(all, len(p.edges))
	}
	slices.Sort(all)
	return all, seed
}

func TestCrowdIsARandomMeshOfDegreeK(t *testing.T) {
	for _, tt := range []struct {
		n           int
		mean        float64
		least, most int
		outbound    float64
		spread      time.Duration
	}{
		{n: 4, mean: 4, least: 4, most: 4, outbound: 5, spread: time.Second}, // the seed too
		{n: 1000, mean: 17, least: 12, most: 24, outbound: 4, spread: 20 * time.Millisecond},
		{n: 1000, mean: 17, least: 12, most: 24, outbound: 11, spread: 10 * time.Second},
	} {
		t.Run(fmt.Sprint(tt.n, "in", tt.spread), func(t *testing.T) {
			f := follow(t, noWarmup(), 1)
			task := crowd(f, tt.n, tt.spread, flat)
			all, seed := degrees(task)
			sum := 0
			for _, d := range all {
				sum += d
			}
			mean := float64(sum) / float64(len(all))
			out := float64(f.messages) / float64(tt.n)
			t.Logf("degree mean %.1f, least %d, 1%% %d, most %d; seed %d; %.1f messages told per peer", mean, all[0], all[len(all)/100], all[len(all)-1], seed, out)
			if mean < tt.mean-1 || mean > tt.mean+3 || all[len(all)/100] < tt.least || all[len(all)-1] > tt.most {
				t.Errorf("degrees: mean %.1f, %d to %d", mean, all[0], all[len(all)-1])
			}
			if want := min(tt.n, 64); seed != want {
				t.Errorf("the seed has %d neighbours, want %d", seed, want)
			}
			if out > tt.outbound {
				t.Errorf("%.1f messages told per peer, want at most %.1f", out, tt.outbound)
			}
			if r := radius(task); r > 5 {
				t.Errorf("the last peer is %d hops from the seed", r)
			}
		})
	}
}

// radius returns the most hops from the puller to any peer.
func radius(t *task) int {
	dist := map[*peer]int{t.pull.puller: 0}
	queue, far := []*peer{t.pull.puller}, 0
	for ; len(queue) > 0; queue = queue[1:] {
		for _, q := range queue[0].edges {
			if _, ok := dist[q]; !ok {
				dist[q] = dist[queue[0]] + 1
				far = max(far, dist[q])
				queue = append(queue, q)
			}
		}
	}
	return far
}

func TestLargeSwarmHasLargeNeighbourhoods(t *testing.T) {
	if testing.Short() {
		t.Skip()
	}
	cfg := noWarmup()
	cfg.LargeSwarm = 500
	f := follow(t, cfg, 1)
	all, _ := degrees(crowd(f, 2000, time.Second, flat))
	if median := all[len(all)/2]; median < 20 || all[len(all)-1] > 36 || all[0] < 12 {
		t.Errorf("degrees: median %d, %d to %d", median, all[0], all[len(all)-1])
	}
}

func TestRacks(t *testing.T) {
	f := follow(t, noWarmup(), 1)
	task := crowd(f, 400, time.Second, func(i int) p2p.Host {
		h := flat(i)
		h.Rack = fmt.Sprint("r", i%20)
		return h
	})
	for p := range task.all() {
		if p.wide {
			continue
		}
		own := sameRack(p)
		if own < 4 || len(p.edges)-own < 4 {
			t.Errorf("%s has %d neighbours in its rack of %d", p.host.ID, own, len(p.edges))
		}
	}
}

func TestZonesAreBridgedByFewLinks(t *testing.T) {
	f := follow(t, noWarmup(), 1)
	task := crowd(f, 600, time.Second, func(i int) p2p.Host {
		h := flat(i)
		h.Zone = fmt.Sprint("z", i%3)
		return h
	})
	for _, g := range task.groups {
		if g.bridges < 1 || g.bridges > 4 { // two of its own, and those that the others made to it
			t.Errorf("zone %s has %d links to others", g.zone, g.bridges)
		}
	}
	if lost := cutOff(task); len(lost) > 0 {
		t.Errorf("%d peers are cut off", len(lost))
	}
}

// TestChurn replaces dead neighbours while a tenth of a crowd dies.
func TestChurn(t *testing.T) {
	f := follow(t, noWarmup(), 1)
	task := crowd(f, 1000, time.Second, flat)
	f.messages = 0
	for i := 0; i < 1000; i += 3 {
		f.apply(HostDown{hostOf(i)})
		f.settle(3 * time.Millisecond)
	}
	f.settle(2 * time.Second)
	if err := f.c.Check(); err != nil {
		t.Fatal(err)
	}
	f.agree()
	all, _ := degrees(task)
	if all[0] < 8 || len(cutOff(task)) > 0 {
		t.Errorf("least degree %d, %d cut off", all[0], len(cutOff(task)))
	}
	t.Logf("%.1f messages per death", float64(f.messages)/334)
}

func BenchmarkJoin(b *testing.B) {
	c := New(noWarmup(), rand.New(rand.NewPCG(1, 1)))
	c.Apply(epoch, HostUp{p2p.Host{ID: "seed", Addr: "seed:1", Seed: true}})
	const hosts, size = 100_000, 1000
	ids := make([]p2p.HostID, hosts)
	for i := range ids {
		ids[i] = hostOf(i)
		h := flat(i)
		h.Rack = fmt.Sprint(i / 40)
		c.Apply(epoch, HostUp{h})
	}
	before := c.Stats().Decisions
	b.ReportAllocs()
	b.ResetTimer()
	i, now, round := 0, epoch, 0
	for b.Loop() {
		now = now.Add(20 * time.Microsecond)
		// tasks of a thousand peers, fresh hosts each time
		c.Apply(now, Join{taskOf(fmt.Sprint(round)), ids[(i+round*7)%hosts], origin1, 1 << 28})
		if i++; i%size == 0 {
			round++
		}
	}
	b.ReportMetric(float64(c.Stats().Decisions-before)/b.Elapsed().Seconds(), "neighbours/s")
}

// heap returns the bytes in use.
func heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// TestIdleHoldingsAreSmall measures the memory of (task, peer) pairs that nobody asks for.
func TestIdleHoldingsAreSmall(t *testing.T) {
	const hosts, tasks, per = 500, 2000, 100 // each task is held by a fifth of the hosts
	c := New(noWarmup(), rand.New(rand.NewPCG(1, 1)))
	for i := range hosts {
		c.Apply(epoch, HostUp{flat(i)})
	}
	ids := make([]p2p.TaskID, tasks)
	for i := range ids {
		ids[i] = taskOf(fmt.Sprint(i))
	}
	before := heap()
	for i := range hosts {
		a := Announce{Host: hostOf(i)}
		for j := range tasks {
			if (i+j)%(hosts/per) == 0 {
				a.Holdings = append(a.Holdings, p2p.Holding{Task: ids[j], Size: 1, Complete: true, Origin: origin1})
			}
		}
		c.Apply(epoch, a)
	}
	each := (heap() - before) / int64(c.Stats().Peers)
	t.Logf("%d bytes per idle (task, peer)", each)
	if each > 150 {
		t.Errorf("%d bytes per idle (task, peer), want at most 150", each)
	}
	runtime.KeepAlive(c)
}

// TestActivePeersAreSmall measures them while everybody takes the tasks.
func TestActivePeersAreSmall(t *testing.T) {
	const hosts, tasks = 1000, 20
	c := New(noWarmup(), rand.New(rand.NewPCG(1, 1)))
	for i := range hosts {
		c.Apply(epoch, HostUp{flat(i)})
	}
	before := heap()
	now := epoch
	for i := range tasks {
		for j := range hosts {
			now = now.Add(time.Millisecond)
			c.Apply(now, Join{taskOf(fmt.Sprint(i)), hostOf(j), origin1, 1})
		}
	}
	for range 5 {
		now = now.Add(time.Second)
		c.Apply(now, Tick{})
	}
	each := (heap() - before) / int64(c.Stats().Peers)
	t.Logf("%d bytes per active (task, peer)", each)
	if each > 300 {
		t.Errorf("%d bytes per active (task, peer), want at most 300", each)
	}
	runtime.KeepAlive(c)
}
