package swarmsim

import (
	"math/rand/v2"
	"time"

	"github.com/darter-p2p/darter/p2p"
	"github.com/darter-p2p/darter/scheduler/swarm"
)

// origin is where the joiners of a scenario say the task can be read.
const origin = p2p.Origin("oci://origin.test/task/blobs/sha256:0")

// control is the scheduler: the real core, and the messages to and from it.
type control struct {
	sched    *swarm.Core
	tickAt   time.Duration // when the next tick is due; 0 = none
	messages int           // from nodes, not counting that they are up
	checks   int           // scheduler events until the next Check; see checkEvery
}

func newControl(seed uint64) control {
	return control{sched: swarm.New(swarm.Default(), rand.New(rand.NewPCG(seed, 2)))}
}

// begin connects every host to the scheduler, long enough ago for its warm-up to be
// over, and lets the seeds say what they hold.
func (s *Sim) begin(held bool) {
	before := epoch.Add(-time.Minute)
	for _, n := range s.nodes {
		s.sched.Apply(before, swarm.HostUp{Host: n.host})
	}
	for _, n := range s.nodes {
		if held && n.host.Seed {
			s.sched.Apply(before, swarm.Announce{Host: n.host.ID, Last: true, Holdings: []p2p.Holding{
				{Task: s.task, Size: s.geometry.Size, Complete: true},
			}})
		}
	}
}

// send carries an event of a node to the scheduler.
func (s *Sim) send(ev swarm.Event) {
	s.messages++
	s.after(s.latency, event{kind: evControl, data: ev})
}

// decide lets the scheduler take an event, and carries its messages out.
func (s *Sim) decide(ev swarm.Event) {
	for _, e := range s.sched.Apply(s.clock(), ev) {
		s.after(s.latency, event{kind: evEffect, node: s.byHost[e.To], data: e.Message})
	}
	if s.checks--; s.checks < 0 {
		s.checks = s.checkEvery
		if err := s.sched.Check(); err != nil {
			s.fail("scheduler: %w", err)
		}
	}
	next, ok := s.sched.Next()
	if at := max(next.Sub(epoch), s.now); ok && (s.tickAt == 0 || at < s.tickAt) {
		s.tickAt = at
		s.at(at, event{kind: evTick})
	}
}

// effect is what a node does with a message of the scheduler.
func (s *Sim) effect(n *node, m any) {
	switch m := m.(type) {
	case swarm.Neighbours:
		for _, h := range m.Remove {
			s.part(n, s.nodes[s.byHost[h]])
		}
		for _, h := range m.Add {
			s.introduce(n, s.nodes[s.byHost[h.ID]], h.Seed)
		}
	case swarm.TaskGeometry:
		s.knows(n)
	case swarm.Pull:
		if m.Stop {
			delete(s.origins, n.id)
			return
		}
		n.share = m.Stripe
		s.pull(n)
	case swarm.TaskFailed:
		s.failures++
	}
}
