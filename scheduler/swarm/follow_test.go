package swarm

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/darter-p2p/darter/p2p"
)

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func taskOf(name string) p2p.TaskID {
	id, err := p2p.TaskOfDigest(digest.FromString(name))
	if err != nil {
		panic(err)
	}
	return id
}

func hostOf(i int) p2p.HostID { return p2p.HostID(fmt.Sprintf("n%05d", i)) }

func host1(id p2p.HostID) p2p.Host { return p2p.Host{ID: id, Addr: string(id) + ":65002"} }

// follower applies events to a core and keeps what every host was told.
type follower struct {
	t        testing.TB
	c        *Core
	now      time.Time
	known    map[key]map[p2p.HostID]p2p.Host // neighbours by (host, task)
	messages int
	check    bool
}

type key struct {
	host p2p.HostID
	task p2p.TaskID
}

func follow(t testing.TB, cfg Config, seed uint64) *follower {
	t.Helper()
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	return &follower{
		t: t, c: New(cfg, rand.New(rand.NewPCG(seed, 1))), now: epoch,
		known: make(map[key]map[p2p.HostID]p2p.Host), check: true,
	}
}

func noWarmup() Config {
	cfg := Default()
	cfg.Warmup, cfg.Settle = 0, 0
	return cfg
}

func (f *follower) apply(ev Event) []Effect {
	f.t.Helper()
	effects := f.c.Apply(f.now, ev)
	for _, e := range effects {
		f.messages++
		if f.c.hosts[e.To] == nil {
			f.t.Fatalf("%T is sent to %s, which is not up", e.Message, e.To)
		}
		if m, ok := e.Message.(Neighbours); ok {
			f.hear(e.To, m)
		}
	}
	if f.check {
		if err := f.c.Check(); err != nil {
			f.t.Fatalf("after %#v: %v", ev, err)
		}
	}
	return effects
}

func (f *follower) hear(to p2p.HostID, m Neighbours) {
	k := key{to, m.Task}
	if len(m.Add)+len(m.Remove) == 0 {
		f.t.Fatalf("%s is told of no change", to)
	}
	if f.known[k] == nil {
		f.known[k] = make(map[p2p.HostID]p2p.Host)
	}
	for _, id := range m.Remove {
		delete(f.known[k], id)
	}
	for _, h := range m.Add {
		f.known[k][h.ID] = h
	}
}

// settle lets time pass until nothing is left to be told, at least for d.
func (f *follower) settle(d time.Duration) {
	f.t.Helper()
	end := f.now.Add(d)
	for {
		next, ok := f.c.Next()
		if !ok || next.After(end) {
			break
		}
		f.now = next
		f.apply(Tick{})
	}
	f.now = end
	f.apply(Tick{})
}

// agree fails the test unless every peer was told of all its neighbours, as they are.
func (f *follower) agree() {
	f.t.Helper()
	for id, t := range f.c.tasks {
		for p := range t.all() {
			told := f.known[key{p.host.ID, id}]
			for _, q := range p.edges {
				if h, ok := told[q.host.ID]; !ok || h != q.describe() {
					f.t.Fatalf("task %s: %s was told %+v of its neighbour %+v", id.Short(), p.host.ID, h, q.describe())
				}
			}
		}
	}
}

// all ranges over every peer of a task.
func (t *task) all() func(yield func(*peer) bool) {
	return func(yield func(*peer) bool) {
		for _, g := range t.groups {
			for _, p := range g.peers {
				if !yield(p) {
					return
				}
			}
		}
		for _, p := range t.parts {
			if !yield(p) {
				return
			}
		}
	}
}

// cutOff returns the peers that take a task and reach nobody who holds it or reads
// it; where there is nobody, those that are apart from the first one.
func cutOff(t *task) []*peer {
	var todo []*peer
	seen := make(map[*peer]bool)
	visit := func(p *peer) {
		if !seen[p] {
			seen[p] = true
			todo = append(todo, p)
		}
	}
	for p := range t.all() {
		if p.state == complete || t.pull != nil && t.pull.puller == p {
			visit(p)
		}
	}
	for p := range t.all() {
		if len(todo) == 0 && p.takes() {
			visit(p)
		}
	}
	for len(todo) > 0 {
		p := todo[0]
		todo = todo[1:]
		if p.relays() {
			for _, q := range p.edges {
				visit(q)
			}
		}
	}
	var lost []*peer
	for p := range t.all() {
		if p.takes() && !seen[p] {
			lost = append(lost, p)
		}
	}
	return lost
}
