package rpc

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/darter-p2p/darter/p2p"
	"github.com/darter-p2p/darter/scheduler/swarm"
)

// run gives the core its time until ctx ends; then it ends all streams.
func (s *Server) run(ctx context.Context) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		timer.Reset(s.tick())
		select {
		case <-ctx.Done():
			close(s.stop)
			return
		case <-timer.C:
		case <-s.wake:
		}
	}
}

// tick lets time pass and returns how long nothing will happen by itself.
func (s *Server) tick() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	for _, id := range slices.Sorted(maps.Keys(s.leaving)) {
		if !now.Before(s.leaving[id]) {
			delete(s.leaving, id)
			s.apply(swarm.HostDown{Host: id})
		}
	}
	s.apply(swarm.Tick{})
	wait := time.Hour
	if next, ok := s.core.Next(); ok {
		wait = min(wait, time.Until(next))
	}
	for _, at := range s.leaving {
		wait = min(wait, time.Until(at))
	}
	return max(wait, 0)
}

// rouse has run look at the time anew.
func (s *Server) rouse() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// apply passes an event to the core and sends what comes of it. The caller holds mu.
func (s *Server) apply(ev swarm.Event) {
	now := time.Now()
	before, had := s.core.Next()
	for _, e := range s.core.Apply(now, ev) {
		// A host whose stream broke is told everything again when it is back.
		if m := s.members[e.To]; m != nil {
			m.send(s.response(now, e))
		}
	}
	if next, ok := s.core.Next(); ok && (!had || next.Before(before)) {
		s.rouse()
	}
}

// token returns the right of an acting seed, or nothing if it cannot be signed: the
// host then reads for itself alone.
func (s *Server) token(now time.Time, task p2p.TaskID, host p2p.HostID) []byte {
	token, err := s.signer.Token(task, host, now.Add(s.cfg.TokenLife))
	if err != nil {
		s.metrics.tokenFailures.Inc()
		return nil
	}
	return token
}
