package rpc

import (
	"time"

	schedulerv1 "github.com/darter-p2p/darter/api/scheduler/v1"
	"github.com/darter-p2p/darter/p2p"
	"github.com/darter-p2p/darter/scheduler/swarm"
)

// response turns an effect into the message that tells it.
func (s *Server) response(now time.Time, e swarm.Effect) *schedulerv1.ConnectResponse {
	switch m := e.Message.(type) {
	case swarm.Neighbours:
		return &schedulerv1.ConnectResponse{Message: &schedulerv1.ConnectResponse_Neighbours{Neighbours: neighbours(m)}}
	case swarm.Pull:
		pull := &schedulerv1.Pull{Task: m.Task.String(), Origin: string(m.Origin), Size: m.Size, Stop: m.Stop}
		if s := m.Stripe; s != (p2p.Stripe{}) {
			pull.Stripe = &schedulerv1.Stripe{Run: s.Run, Of: uint32(s.Of), Mine: s.Mine, Helper: s.Helper}
		}
		if m.Token {
			pull.Token = s.token(now, m.Task, e.To)
		}
		return &schedulerv1.ConnectResponse{Message: &schedulerv1.ConnectResponse_Pull{Pull: pull}}
	case swarm.Relief:
		relief := &schedulerv1.Relief{
			Task: m.Task.String(), Origin: string(m.Origin), Size: m.Size, First: uint32(m.First), Count: uint32(m.Count), Beside: m.Beside,
		}
		if m.Token {
			relief.Token = s.token(now, m.Task, e.To)
		}
		return &schedulerv1.ConnectResponse{Message: &schedulerv1.ConnectResponse_Relief{Relief: relief}}
	case swarm.TaskGeometry:
		return &schedulerv1.ConnectResponse{Message: &schedulerv1.ConnectResponse_TaskGeometry{
			TaskGeometry: &schedulerv1.TaskGeometry{Task: m.Task.String(), Size: m.Size},
		}}
	case swarm.TaskFailed:
		return &schedulerv1.ConnectResponse{Message: &schedulerv1.ConnectResponse_TaskFailed{
			TaskFailed: &schedulerv1.TaskFailed{Task: m.Task.String(), Error: originError(m.Error)},
		}}
	}
	panic("rpc: an effect has no message") // a new kind of effect was forgotten here
}

func neighbours(m swarm.Neighbours) *schedulerv1.Neighbours {
	n := &schedulerv1.Neighbours{Task: m.Task.String()}
	for _, h := range m.Add {
		n.Add = append(n.Add, &schedulerv1.Peer{HostId: string(h.ID), Address: h.Addr, Zone: h.Zone, Rack: h.Rack, Seed: h.Seed})
	}
	for _, id := range m.Remove {
		n.Remove = append(n.Remove, string(id))
	}
	return n
}

func originError(e p2p.OriginError) *schedulerv1.OriginError {
	return &schedulerv1.OriginError{
		Status: int32(e.Status), Message: e.Message, Puller: string(e.Puller), Wrong: e.Wrong, Keyless: e.Keyless,
		RetryAfterSeconds: int64((e.RetryAfter + time.Second - 1) / time.Second), Origin: string(e.Origin),
	}
}
