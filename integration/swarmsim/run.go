package swarmsim

import (
	"fmt"
	"math/bits"
	"slices"
	"time"

	"github.com/darter-p2p/darter/p2p"
)

// Result is what came of a run.
type Result struct {
	Complete   bool
	Ratio      float64 // end of the last node / the bound M + floor(log2 N), in piece times
	P50, P99   float64 // of the nodes that are not slow, in M piece times since each joined
	Origin     float64 // copies of the task that the origin sent
	SeedCopies float64 // copies that seeds sent
	FromPeers  float64 // copies that the node which had least from nodes that are no seeds had
	Wasted     float64 // copies that arrived twice, per node
	Banned     int
	Control    float64 // messages to the scheduler per node
	Events     int
	Trace      uint64
}

// play runs a scenario from a seed of chance.
func play(sc *scenario, seed uint64) (*Sim, Result, error) {
	s := newSim(sc, seed)
	if err := s.prepare(sc); err != nil {
		return s, Result{}, err
	}
	err := s.run()
	return s, s.result(), err
}

// prepare puts the scenario's steps into the queue.
func (s *Sim) prepare(sc *scenario) error {
	for _, n := range s.nodes {
		if !n.host.Seed {
			continue
		}
		if sc.held {
			n.joined = true
			s.incomplete++
			s.knows(n)
			for p := range sc.pieces {
				n.core.Got(s.task, p2p.Piece(p))
				s.hold(n, p2p.Piece(p))
			}
			n.puller, n.pending = true, nil
			n.done = 1 // not 0, which is incomplete
		}
	}
	s.begin(sc.held)
	for _, st := range sc.steps {
		first, ok1 := s.byHost[p2p.HostID(st.first)]
		last, ok2 := s.byHost[p2p.HostID(st.last)]
		if !ok1 || !ok2 || last < first {
			return fmt.Errorf("scenario %s: no nodes %s-%s", sc.name, st.first, st.last)
		}
		for id := first; id <= last; id++ {
			do, err := s.action(st, s.nodes[id])
			if err != nil {
				return err
			}
			at := st.at
			if st.over > 0 {
				at += time.Duration(s.rng.Float64() * float64(st.over))
			}
			s.at(at, event{kind: evScript, node: id, data: do})
		}
	}
	return nil
}

func (s *Sim) action(st step, n *node) (func(), error) {
	switch st.verb {
	case "join":
		return func() { s.join(n) }, nil
	case "kill":
		return func() { s.kill(n) }, nil
	case "liar":
		return func() { n.liar = true }, nil
	case "slow":
		return func() {
			n.slow = true
			s.net.up[n.id], s.net.down[n.id] = s.rate*st.factor, s.rate*st.factor
			s.plan(s.net.reshare(s.now, n.id))
		}, nil
	}
	return nil, fmt.Errorf("scenario: unknown verb %q", st.verb)
}

func (s *Sim) result() Result {
	r := Result{Events: s.events, Trace: s.trace, Complete: true, FromPeers: 1}
	size := float64(s.geometry.Size)
	unit := size / s.rate // seconds
	var last time.Duration
	var took []float64
	nodes, wasted := 0, int64(0)
	banned := map[int32]bool{}
	for _, n := range s.nodes {
		for id := range n.banned {
			banned[id] = true
		}
		if n.host.Seed {
			r.SeedCopies += float64(n.sent) / size
			continue
		}
		if !n.joined || !n.alive || n.liar { // nobody gives a liar anything
			continue
		}
		nodes++
		wasted += n.wasted
		if n.done == 0 {
			r.Complete = false
			continue
		}
		last = max(last, n.done)
		r.FromPeers = min(r.FromPeers, float64(n.fromPeers)/size)
		if !n.slow {
			took = append(took, (n.done-n.started).Seconds()/unit)
		}
	}
	r.Banned = len(banned)
	slices.Sort(took)
	if len(took) > 0 {
		r.P50, r.P99 = took[len(took)/2], took[min(len(took)-1, len(took)*99/100)]
	}
	m := float64(s.geometry.Pieces())
	bound := (m + float64(bits.Len(uint(nodes))-1)) / m * unit
	r.Ratio = last.Seconds() / bound
	r.Origin = float64(s.originFrom) / size
	r.Wasted = float64(wasted) / size / float64(max(nodes, 1))
	r.Control = float64(s.messages) / float64(max(nodes, 1))
	return r
}

// check compares a result with what the scenario expects.
func (sc *scenario) check(r Result) error {
	values := map[string]float64{"ratio": r.Ratio, "p50": r.P50, "p99": r.P99, "origin": r.Origin,
		"seedcopies": r.SeedCopies, "frompeers": r.FromPeers, "banned": float64(r.Banned), "wasted": r.Wasted, "control": r.Control}
	for _, e := range sc.expect {
		if e.what == "complete" {
			if !r.Complete {
				return fmt.Errorf("not every node completed")
			}
			continue
		}
		v, ok := values[e.what]
		if !ok {
			return fmt.Errorf("expect %s: no such value", e.what)
		}
		if e.atMost && v > e.value || !e.atMost && v < e.value {
			return fmt.Errorf("%s is %.3f, expected <= or >= %.3f", e.what, v, e.value)
		}
	}
	return nil
}
