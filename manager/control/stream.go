package control

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync/atomic"

	"github.com/containerd/errdefs"
	"github.com/containerd/log"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	managerv1 "github.com/darter-p2p/darter/api/manager/v1"
	"github.com/darter-p2p/darter/internal/pki"
	"github.com/darter-p2p/darter/manager/model"
)

// stream is one connected member.
type stream struct {
	member model.Member
	pin    string
	dirty  chan struct{} // of capacity 1
	beats  atomic.Int64  // heartbeats that were not noted yet
	// version is that of the state that the member says is in force.
	version atomic.Int64
	// turn is that of the state that the member has not said to have yet.
	turn atomic.Pointer[turn]
}

// wake makes the stream look at the view.
func (s *stream) wake() {
	select {
	case s.dirty <- struct{}{}:
	default:
	}
}

// heard reports whether the member was heard of since it was called last.
func (s *stream) heard() (version int64, heard bool) {
	return s.version.Load(), s.beats.Swap(0) > 0
}

// Connect serves a member's stream.
func (s *Server) Connect(wire grpc.BidiStreamingServer[managerv1.ConnectRequest, managerv1.ConnectResponse]) error {
	ctx := wire.Context()
	name, role, remote, err := who(ctx)
	if err != nil {
		return err
	}
	first, err := wire.Recv()
	if err != nil {
		return err
	}
	hello := first.GetHello()
	if hello == nil {
		return status.Error(codes.InvalidArgument, "the first message is not Hello")
	}
	select {
	case <-s.ready:
	case <-s.stop:
		return status.Error(codes.Unavailable, "the manager is stopping")
	case <-ctx.Done():
		return ctx.Err()
	}
	one, at, err := s.admit(ctx, role, name, remote, hello)
	if err != nil {
		return toStatus(ctx, err)
	}
	defer s.forget(one)
	log.G(ctx).WithField("role", role).WithField("name", name).WithField("cluster", at.cluster).Debug("A member connected")

	received := make(chan error, 1)
	go func() { received <- s.receive(one, wire) }() // ends with the call's context
	var last *managerv1.State
	var seen *view
	defer func() { one.turn.Swap(nil).end() }()
	for {
		if s.current() != seen {
			if last != nil { // the first state waits for nobody
				one.turn.Swap(s.turns.take(ctx.Done(), s.stop)).end()
			}
			v := s.current() // it may have changed while we waited
			seen = v
			if moved := v.assign(&one.member, one.pin); moved.cluster != at.cluster {
				at = moved
				if err := s.move(ctx, one, at); err != nil {
					return toStatus(ctx, err)
				}
			}
			state := proto.CloneOf(v.states[at.cluster])
			if state == nil { // its cluster has gone
				state = proto.CloneOf(v.states[0])
			}
			state.Because = at.because
			if last == nil || !proto.Equal(last, state) {
				if err := wire.Send(&managerv1.ConnectResponse{State: state}); err != nil {
					return err
				}
				last = state
			} else {
				one.turn.Swap(nil).end()
			}
		}
		select {
		case err := <-received:
			return err
		case <-s.stop:
			return status.Error(codes.Unavailable, "the manager is stopping")
		case <-one.dirty:
		}
	}
}

func (s *Server) current() *view {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.view
}

// admit writes down who connected and finds its cluster.
func (s *Server) admit(ctx context.Context, role model.Role, name, remote string, hello *managerv1.Hello) (*stream, place, error) {
	m := model.Member{
		Role: role, Name: name, State: model.Active, Hostname: hello.GetHostname(), IP: hello.GetIp(),
		Address: hello.GetAddress(), JobAddress: hello.GetJobAddress(), IDC: hello.GetIdc(), Location: hello.GetLocation(),
		Version: hello.GetVersion(), ConfigVersion: hello.GetStateVersion(),
	}
	if m.IP == "" {
		m.IP = remote
	}
	for _, address := range []*string{&m.Address, &m.JobAddress} {
		if strings.HasPrefix(*address, ":") { // it listens on all its addresses
			*address = net.JoinHostPort(m.IP, (*address)[1:])
		}
	}
	if err := m.Validate(); err != nil {
		return nil, place{}, err
	}
	there, err := s.store.MemberByName(ctx, role, name)
	switch {
	case err == nil:
		m.ClusterID = there.ClusterID
	case !errdefs.IsNotFound(err):
		return nil, place{}, err
	}
	at := s.current().assign(&m, hello.GetCluster())
	m.ClusterID = at.cluster
	if s.searches.Inc(); at.cluster == 0 {
		s.misses.Inc()
	}
	if err := s.store.ConnectMember(ctx, &m, s.now()); err != nil {
		return nil, place{}, err
	}
	one := &stream{member: m, pin: hello.GetCluster(), dirty: make(chan struct{}, 1)}
	one.version.Store(hello.GetStateVersion())
	s.mu.Lock()
	s.streams[one] = struct{}{}
	s.mu.Unlock()
	if role == model.RoleScheduler {
		s.Changed() // the nodes of its cluster learn of it
	}
	return one, at, nil
}

// move writes down that a member's cluster is another now.
func (s *Server) move(ctx context.Context, one *stream, at place) error {
	one.member.ClusterID = at.cluster
	log.G(ctx).WithField("role", one.member.Role).WithField("name", one.member.Name).WithField("cluster", at.cluster).
		WithField("because", at.because).Info("A member moves to another cluster")
	return s.store.ConnectMember(ctx, &one.member, s.now())
}

func (s *Server) forget(one *stream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.streams, one)
}

// receive takes heartbeats until the stream ends, and returns why.
func (s *Server) receive(one *stream, wire grpc.BidiStreamingServer[managerv1.ConnectRequest, managerv1.ConnectResponse]) error {
	for {
		m, err := wire.Recv()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		case m.GetHeartbeat() == nil:
			return status.Error(codes.InvalidArgument, "a message after Hello that is no Heartbeat")
		}
		was := one.version.Swap(m.GetHeartbeat().GetStateVersion())
		one.beats.Add(1)
		if was != m.GetHeartbeat().GetStateVersion() {
			select {
			case s.applied <- struct{}{}:
			default:
			}
		}
		one.turn.Swap(nil).end()
	}
}

// who returns the identity in the caller's certificate, and its address.
func who(ctx context.Context) (name string, role model.Role, remote string, err error) {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return "", "", "", status.Error(codes.Unauthenticated, "no connection")
	}
	info, ok := p.AuthInfo.(credentials.TLSInfo)
	if !ok {
		return "", "", "", status.Error(codes.Unauthenticated, "no TLS")
	}
	of, name, err := pki.PeerName(info.State)
	if err != nil {
		return "", "", "", status.Error(codes.Unauthenticated, err.Error())
	}
	switch of {
	case pki.Node, pki.Seed, pki.Scheduler:
	default:
		return "", "", "", status.Errorf(codes.PermissionDenied, "the role %s is no member's", of)
	}
	if host, _, err := net.SplitHostPort(p.Addr.String()); err == nil {
		remote = host
	}
	return name, model.Role(of), remote, nil
}

// toStatus gives an error the code by which the member knows whether to try again.
func toStatus(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil:
		return status.FromContextError(ctx.Err()).Err()
	case errdefs.IsInvalidArgument(err):
		return status.Error(codes.InvalidArgument, err.Error())
	}
	log.G(ctx).WithError(err).Error("A member cannot be served")
	return status.Error(codes.Unavailable, "the manager's database does not answer")
}
