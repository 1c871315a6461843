package rpc

import (
	"context"
	"errors"
	"io"
	"sync/atomic"
	"time"

	"github.com/containerd/log"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	schedulerv1 "github.com/darter-p2p/darter/api/scheduler/v1"
	"github.com/darter-p2p/darter/internal/pki"
	"github.com/darter-p2p/darter/p2p"
	"github.com/darter-p2p/darter/scheduler/swarm"
)

// helloTime is how long a new stream may take to say who it is.
const helloTime = 10 * time.Second

type connection = grpc.BidiStreamingServer[schedulerv1.ConnectRequest, schedulerv1.ConnectResponse]

// stream is a node's connection.
type stream struct {
	host  p2p.HostID
	queue chan *schedulerv1.ConnectResponse
	ended chan error // gets the reason for which the scheduler ends it, at most one
	began time.Time
	heard atomic.Int64 // nanoseconds from began to the last message: no clock that can be set
}

// send queues a message. A node that does not read is cut off: when it is back it is told everything.
func (m *stream) send(r *schedulerv1.ConnectResponse) {
	select {
	case m.queue <- r:
	default:
		m.end(status.Error(codes.ResourceExhausted, "too many messages wait for this node"))
	}
}

// end ends the stream; the first reason counts.
func (m *stream) end(why error) {
	select {
	case m.ended <- why:
	default:
	}
}

// Connect serves a node's stream until either side ends it.
func (s *Server) Connect(conn connection) error {
	host, err := s.greet(conn)
	if err != nil {
		s.metrics.refused.Inc()
		return err
	}
	m := &stream{
		host:  host.ID,
		queue: make(chan *schedulerv1.ConnectResponse, s.cfg.Queue),
		ended: make(chan error, 1),
		began: time.Now(),
	}
	s.enter(m, host)
	// The reader is unblocked by the end of this call, so Serve waits for it.
	s.readers.Go(func() { m.end(s.read(conn, m)) })
	err = s.write(conn, m)
	goodbye := errors.Is(err, io.EOF)
	if goodbye {
		err = nil
	}
	s.exit(m, err, goodbye)
	return err
}

// greet reads Hello and checks it against the certificate.
func (s *Server) greet(conn connection) (p2p.Host, error) {
	role, name, from, err := caller(conn.Context())
	if err != nil {
		return p2p.Host{}, status.Error(codes.Unauthenticated, err.Error())
	}
	if role != pki.Node && role != pki.Seed {
		return p2p.Host{}, status.Errorf(codes.PermissionDenied, "a certificate of role %s takes no part in swarms", role)
	}
	first, err := receiveWithin(conn, helloTime, &s.readers)
	if err != nil {
		return p2p.Host{}, err
	}
	hello := first.GetHello()
	if hello == nil {
		return p2p.Host{}, status.Error(codes.InvalidArgument, "the first message must be Hello")
	}
	s.metrics.received(first)
	host, err := hostOf(hello, from)
	if err != nil {
		return p2p.Host{}, status.Error(codes.InvalidArgument, err.Error())
	}
	if string(host.ID) != name {
		return p2p.Host{}, status.Errorf(codes.PermissionDenied, "host %q comes with the certificate of %q", host.ID, name)
	}
	if host.Seed && role != pki.Seed {
		return p2p.Host{}, status.Errorf(codes.PermissionDenied, "host %q would be a seed and has a certificate of role %s", host.ID, role)
	}
	return host, nil
}

// caller returns who calls, from the certificate, and from where.
func caller(ctx context.Context) (role pki.Role, name, from string, err error) {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return "", "", "", errors.New("the caller is not known")
	}
	info, ok := p.AuthInfo.(credentials.TLSInfo)
	if !ok {
		return "", "", "", errors.New("the caller has shown no certificate")
	}
	role, name, err = pki.PeerName(info.State)
	return role, name, p.Addr.String(), err
}

// enter makes the node a member, in the place of an older stream of the same node.
func (s *Server) enter(m *stream, host p2p.Host) {
	m.send(&schedulerv1.ConnectResponse{Message: &schedulerv1.ConnectResponse_Welcome{Welcome: &schedulerv1.Welcome{
		Scheduler: s.cfg.Name, HeartbeatSeconds: uint32(s.cfg.Heartbeat / time.Second),
	}}})
	s.mu.Lock()
	defer s.mu.Unlock()
	if old := s.members[m.host]; old != nil {
		old.end(status.Error(codes.Aborted, "this node has connected anew"))
	}
	s.members[m.host] = m
	delete(s.leaving, m.host)
	s.apply(swarm.HostUp{Host: host})
}

// exit ends a membership: at once if the node said goodbye, else after the grace.
func (s *Server) exit(m *stream, why error, goodbye bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.metrics.ended(why)
	if s.members[m.host] != m {
		return
	}
	delete(s.members, m.host)
	if s.cfg.Grace == 0 || goodbye {
		s.apply(swarm.HostDown{Host: m.host})
		return
	}
	s.leaving[m.host] = time.Now().Add(s.cfg.Grace)
	s.rouse()
	log.L.WithField("host", m.host).WithError(why).Info("A node's stream broke")
}

// read passes what the node says to the core until it says no more (io.EOF) or something wrong.
func (s *Server) read(conn connection, m *stream) error {
	for {
		r, err := conn.Recv()
		if err != nil {
			return err
		}
		m.heard.Store(int64(time.Since(m.began)))
		s.metrics.received(r)
		if r.GetHeartbeat() != nil {
			continue
		}
		ev, err := eventOf(m.host, r)
		if err != nil {
			return status.Error(codes.InvalidArgument, err.Error())
		}
		s.mu.Lock()
		current := s.members[m.host] == m
		if current {
			if ev = s.screen(m, ev); ev != nil {
				s.apply(ev)
			}
		}
		s.mu.Unlock()
		if !current {
			return status.Error(codes.Aborted, "this node has connected anew")
		}
	}
}

// write sends what is queued until the stream ends, and returns why.
func (s *Server) write(conn connection, m *stream) error {
	check := time.NewTicker(s.cfg.Heartbeat)
	defer check.Stop()
	for {
		select {
		case r := <-m.queue:
			if err := conn.Send(r); err != nil {
				return err
			}
			s.metrics.sent(r)
		case <-check.C:
			silent := time.Since(m.began) - time.Duration(m.heard.Load())
			if silent > time.Duration(s.cfg.Missed)*s.cfg.Heartbeat {
				return status.Errorf(codes.DeadlineExceeded, "nothing heard for %v", silent.Round(time.Second))
			}
		case why := <-m.ended:
			return why
		case <-conn.Context().Done():
			return status.FromContextError(conn.Context().Err()).Err()
		case <-s.stop:
			return status.Error(codes.Unavailable, errStopping.Error())
		}
	}
}

// receiveWithin reads one message in bounded time. A read that is given up ends with the stream.
func receiveWithin(conn connection, d time.Duration, readers interface{ Go(func()) }) (*schedulerv1.ConnectRequest, error) {
	type result struct {
		r   *schedulerv1.ConnectRequest
		err error
	}
	got := make(chan result, 1)
	readers.Go(func() {
		r, err := conn.Recv()
		got <- result{r, err}
	})
	timeout := time.NewTimer(d)
	defer timeout.Stop()
	select {
	case x := <-got:
		if errors.Is(x.err, io.EOF) {
			return nil, status.Error(codes.InvalidArgument, "the stream ended before Hello")
		}
		return x.r, x.err
	case <-timeout.C:
		return nil, status.Error(codes.DeadlineExceeded, "no Hello within "+d.String())
	}
}
