package swarm

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"github.com/darter-p2p/darter/p2p"
)

var rounds = flag.Int("rounds", 40, "random histories of TestRandomEvents")

// TestRandomEvents applies random histories and checks every rule after every event,
// that hosts were told what the core holds, and that the meshes are connected once
// the losses of the last seconds are mended.
func TestRandomEvents(t *testing.T) {
	for seed := range *rounds {
		t.Run(fmt.Sprint("seed", seed), func(t *testing.T) { randomHistory(t, uint64(seed)) })
	}
}

func randomHistory(t *testing.T, seed uint64) {
	r := rand.New(rand.NewPCG(seed, 2))
	cfg := shape(r, Default())
	cfg.Warmup = time.Duration(r.IntN(3)) * time.Second
	cfg.Avoid = 2 * time.Second
	f := follow(t, cfg, seed)
	g := &historian{r: r, hosts: 4 + r.IntN(50), tasks: 1 + r.IntN(3), zones: 1 + r.IntN(3), seeds: r.IntN(4)}
	for i := range g.hosts {
		f.apply(HostUp{g.host(i)})
	}
	for step := range 1500 {
		f.apply(g.event(f.c))
		f.now = f.now.Add(time.Duration(r.IntN(20)) * time.Millisecond)
		if step%300 == 299 {
			f.settle(4 * time.Second)
			f.agree()
			for id, task := range f.c.tasks {
				if lost := cutOff(task); len(lost) > 0 {
					t.Fatalf("task %s: %d of %d are cut off, %s among them", id.Short(), len(lost), task.members(), lost[0].host.ID)
				}
			}
		}
	}
	for i := range g.hosts {
		f.apply(HostDown{hostOf(i)})
	}
	f.settle(cfg.Condemn + cfg.MaxRetryAfter + time.Minute)
	if s := f.c.Stats(); s.Hosts+s.Tasks+s.Peers+s.Pulls+s.Seeds != 0 || len(f.c.watched)+len(f.c.later)+len(f.c.racks) != 0 {
		t.Fatalf("something is left behind: %+v", s)
	}
}

// shape gives a configuration other figures of meshes.
func shape(r *rand.Rand, cfg Config) Config {
	cfg.Neighbours = 2 + r.IntN(8)
	cfg.LargeNeighbours = cfg.Neighbours + 2
	cfg.LargeSwarm = 5 + r.IntN(40)
	cfg.SeedDegree = cfg.LargeNeighbours + r.IntN(10)
	cfg.RackNeighbours = r.IntN(cfg.Neighbours/2 + 1)
	cfg.Bridges = min(r.IntN(3), cfg.Neighbours)
	return cfg
}

// historian makes up what hosts say, true or not.
type historian struct {
	r                          *rand.Rand
	hosts, tasks, zones, seeds int
}

func (g *historian) host(i int) p2p.Host {
	h := host1(hostOf(i))
	h.Seed = i < g.seeds
	h.Zone = fmt.Sprint("z", i%g.zones)
	if i%5 != 0 {
		h.Rack = fmt.Sprint("r", i%7)
	}
	return h
}

func (g *historian) id() p2p.HostID { return hostOf(g.r.IntN(g.hosts)) }

// size is that of a task, as somebody says it: not known, small, or worth sharing.
func (g *historian) size() int64 { return []int64{-1, 1, 20 << 20}[g.r.IntN(3)] }

func (g *historian) event(c *Core) Event {
	id, task := g.id(), taskOf(fmt.Sprint(g.r.IntN(g.tasks)))
	origin := p2p.Origin(fmt.Sprintf("oci://o%d/app/blobs/sha256:0", g.r.IntN(2)))
	if g.r.IntN(8) == 0 {
		origin = ""
	}
	puller := id
	if t := c.tasks[task]; t != nil && t.pull != nil && g.r.IntN(3) > 0 {
		puller = t.pull.puller.host.ID
	}
	switch g.r.IntN(25) {
	case 0, 1, 2, 3, 4, 5:
		return Join{task, id, origin, g.size()}
	case 6, 7, 8:
		return Done{task, id}
	case 9:
		return Leave{task, id}
	case 10:
		return HostDown{id}
	case 11, 12, 13:
		h := g.host(g.r.IntN(g.hosts))
		if g.r.IntN(10) == 0 {
			h.Addr = fmt.Sprint("moved:", g.r.IntN(3))
		}
		return HostUp{h}
	case 14, 15:
		return g.lost(c, task, id)
	case 16:
		return PullStarted{task, puller, g.size()}
	case 17:
		status := []int{0, 404, 429, 503, 200}[g.r.IntN(5)]
		return PullFailed{task, puller, p2p.OriginError{Status: status, RetryAfter: time.Duration(g.r.IntN(2)) * time.Second}}
	case 18:
		return PullDone{task, puller}
	case 19:
		return BadPeer{task, g.id(), id}
	case 20:
		a := Announce{Host: id, Last: g.r.IntN(2) == 0}
		for range g.r.IntN(3) {
			a.Holdings = append(a.Holdings, p2p.Holding{
				Task: taskOf(fmt.Sprint(g.r.IntN(g.tasks))), Size: g.size(), Origin: origin,
				Complete: g.r.IntN(3) == 0, Active: g.r.IntN(2) == 0, Pulling: g.r.IntN(4) == 0,
			})
		}
		return a
	}
	switch g.r.IntN(5) {
	case 4:
		if g.r.IntN(4) == 0 {
			return Configure{shape(g.r, c.cfg)}
		}
	case 0, 1:
		return Starved{task, id, p2p.Piece(g.r.IntN(10)), g.r.IntN(2) == 0, g.r.IntN(4) == 0}
	case 2:
		if t := c.tasks[task]; t != nil && t.relief != nil && t.relief.peer != nil {
			id = t.relief.peer.host.ID
		}
		return Relieved{task, id, g.r.IntN(5), g.r.IntN(2) == 0}
	}
	return Tick{}
}

func (g *historian) lost(c *Core, task p2p.TaskID, id p2p.HostID) Event {
	ev := NeighbourLost{Task: task, Host: id, Lost: []p2p.HostID{g.id()}}
	if p := c.find(task, id); p != nil {
		for _, q := range p.edges {
			if g.r.IntN(4) == 0 {
				ev.Lost = append(ev.Lost, q.host.ID)
			}
		}
	}
	return ev
}

// TestSameSeedSameEffects applies one history twice.
func TestSameSeedSameEffects(t *testing.T) {
	run := func() (all [][]Effect) {
		cfg := noWarmup()
		cfg.Neighbours, cfg.RackNeighbours = 4, 2
		f := follow(t, cfg, 7)
		f.check = false
		g := &historian{r: rand.New(rand.NewPCG(3, 3)), hosts: 60, tasks: 3, zones: 2, seeds: 2}
		for i := range g.hosts {
			all = append(all, append([]Effect(nil), f.apply(HostUp{g.host(i)})...))
		}
		for range 3000 {
			all = append(all, append([]Effect(nil), f.apply(g.event(f.c))...))
			f.now = f.now.Add(time.Duration(g.r.IntN(30)) * time.Millisecond)
		}
		return all
	}
	if a, b := run(), run(); !reflect.DeepEqual(a, b) {
		t.Fatal("the same events with the same seed gave different effects")
	}
}
