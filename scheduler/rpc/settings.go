package rpc

import (
	"net/http"

	"github.com/darter-p2p/darter/internal/block"
	"github.com/darter-p2p/darter/p2p"
	"github.com/darter-p2p/darter/scheduler/swarm"
)

// Configure changes how swarms are connected, for those that are there, too. The
// configuration must be valid.
func (s *Server) Configure(c swarm.Config) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.apply(swarm.Configure{Config: c})
}

// Block replaces the rules by which nodes are refused. Joins that name a blocked origin
// are answered by 403 with the rule, so that nodes that do not have the rules are refused,
// too; what is under way is ended by those that have them.
func (s *Server) Block(rules *block.Rules) { s.blocked.Set(rules) }

// refused returns what the rules say of an origin.
func (s *Server) refused(o p2p.Origin) (why p2p.OriginError, is bool) {
	if o == "" {
		return why, false
	}
	if err := s.blocked.Rules().Check(block.Request{URL: block.URL(string(o))}); err != nil {
		return p2p.OriginError{Status: http.StatusForbidden, Message: err.Error()}, true
	}
	return why, false
}

// screen takes out of an event what is blocked, and answers it. It returns nil where
// nothing is left. The caller holds mu.
func (s *Server) screen(m *stream, ev swarm.Event) swarm.Event {
	refuse := func(task p2p.TaskID, why p2p.OriginError) {
		s.metrics.blocked.Inc()
		m.send(s.response(m.began, swarm.Effect{To: m.host, Message: swarm.TaskFailed{Task: task, Error: why}}))
	}
	switch e := ev.(type) {
	case swarm.Join:
		if why, is := s.refused(e.Origin); is {
			refuse(e.Task, why)
			return nil
		}
	case swarm.Announce:
		for i, h := range e.Holdings {
			if !h.Active && !h.Pulling {
				continue
			}
			if why, is := s.refused(h.Origin); is { // what it holds it may give to those who name another origin
				e.Holdings[i].Active, e.Holdings[i].Pulling = false, false
				refuse(h.Task, why)
			}
		}
	}
	return ev
}
