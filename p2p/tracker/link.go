package tracker

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"

	schedulerv1 "github.com/darter-p2p/darter/api/scheduler/v1"
	"github.com/darter-p2p/darter/internal/pki"
	"github.com/darter-p2p/darter/p2p"
)

const (
	// A connection on which nothing came for keepaliveTime (grpc's least) is asked
	// for a sign of life; without one in keepaliveTimeout it is dead.
	keepaliveTime    = 10 * time.Second
	keepaliveTimeout = 3 * time.Second
	// maxPart and maxPartBytes bound one message of an announcement.
	maxPart      = 1000
	maxPartBytes = 512 << 10
	// goodbye is how long the end of the stream may take to reach the scheduler.
	goodbye = time.Second
	// maxMessageBytes bounds what the scheduler may send at once.
	maxMessageBytes = 4 << 20
)

var (
	errQueueFull = errors.New("more messages wait for the scheduler than the queue holds")
	errNoWelcome = errors.New("the scheduler did not answer in time")
	errEnded     = errors.New("the scheduler ended the stream")
)

type connection = grpc.BidiStreamingClient[schedulerv1.ConnectRequest, schedulerv1.ConnectResponse]

// link is one connection to a scheduler.
type link struct {
	conn    connection
	service schedulerv1.SchedulerServiceClient
	queue   chan *schedulerv1.ConnectRequest
	tags    chan p2p.Tag
	end     context.CancelCauseFunc
}

func (l *link) say(m *schedulerv1.ConnectRequest) {
	select {
	case l.queue <- m:
	default:
		l.end(errQueueFull) // the next connection announces everything
	}
}

// connect holds a connection to the scheduler until it breaks or ctx ends. It
// reports whether the scheduler welcomed the node, and why the connection ended.
func (s *scheduler) connect(ctx context.Context) (answered bool, err error) {
	c, addr := s.c, s.addr
	client, err := grpc.NewClient("passthrough:///"+addr,
		grpc.WithTransportCredentials(c.id.Guard(c.id.ClientTLS(pki.Scheduler))),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: keepaliveTime, Timeout: keepaliveTimeout}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessageBytes)),
		grpc.WithDisableServiceConfig(),
		grpc.WithNoProxy(),
	)
	if err != nil {
		return false, fmt.Errorf("connect to scheduler %s: %w", addr, err)
	}
	defer client.Close()

	// The stream outlives ctx by a moment, to say goodbye.
	life, end := context.WithCancelCause(context.WithoutCancel(ctx))
	defer end(nil)
	late := time.AfterFunc(c.cfg.Dial, func() { end(errNoWelcome) })
	defer late.Stop()
	stopped := context.AfterFunc(ctx, func() { end(ctx.Err()) })
	conn, welcome, err := c.hello(life, client)
	if !stopped() || err != nil || !late.Stop() {
		return false, fmt.Errorf("connect to scheduler %s: %w", addr, cause(life, err))
	}
	l := &link{
		conn: conn, service: schedulerv1.NewSchedulerServiceClient(client), end: end,
		queue: make(chan *schedulerv1.ConnectRequest, c.cfg.Queue), tags: make(chan p2p.Tag, maxTags),
	}
	s.up(ctx, l, welcome)
	err = s.converse(ctx, life, l, heartbeatOf(welcome))
	s.down(ctx)
	return true, fmt.Errorf("scheduler %s: %w", addr, err)
}

// cause returns why life ended, else err.
func cause(life context.Context, err error) error {
	if why := context.Cause(life); why != nil {
		return why
	}
	return err
}

// hello opens the stream, says who the node is and waits for the scheduler's welcome.
func (c *Client) hello(ctx context.Context, client *grpc.ClientConn) (connection, *schedulerv1.Welcome, error) {
	conn, err := schedulerv1.NewSchedulerServiceClient(client).Connect(ctx)
	if err != nil {
		return nil, nil, err
	}
	h := c.cfg.Host
	// An error of Send is io.EOF; Recv says what is wrong.
	_ = conn.Send(&schedulerv1.ConnectRequest{Message: &schedulerv1.ConnectRequest_Hello{Hello: &schedulerv1.Hello{
		HostId: string(h.ID), Address: h.Addr, Zone: h.Zone, Rack: h.Rack, Seed: h.Seed, Version: c.cfg.Version,
	}}})
	first, err := conn.Recv()
	if err != nil {
		return nil, nil, err
	}
	if first.GetWelcome() == nil {
		return nil, nil, errors.New("the scheduler's first message is no welcome")
	}
	return conn, first.GetWelcome(), nil
}

// heartbeatOf returns how often to say something: more often than the scheduler asks for.
func heartbeatOf(w *schedulerv1.Welcome) time.Duration {
	asked := time.Duration(min(max(w.GetHeartbeatSeconds(), 1), 3600)) * time.Second
	return asked - asked/4
}

// up makes l the connection that messages go to, and tells the handler.
func (s *scheduler) up(ctx context.Context, l *link, w *schedulerv1.Welcome) {
	c := s.c
	c.mu.Lock()
	came := s.tried && len(c.schedulers) > 1
	s.link, s.tried = l, true
	s.state = State{Connected: true, Address: s.addr, Scheduler: w.GetScheduler(), Since: time.Now()}
	c.mu.Unlock()
	if came {
		c.moves.Go(func() { c.moveIn(ctx, s) })
	}
	c.tellState()
}

func (s *scheduler) down(ctx context.Context) {
	s.c.mu.Lock()
	s.link = nil
	s.state.Connected, s.state.Since = false, time.Now()
	s.c.mu.Unlock()
	if ctx.Err() == nil {
		s.c.moveAway(s)
	}
	s.c.tellState()
}

// converse announces the node's holdings, then sends and receives until life or ctx
// ends, and returns why.
func (s *scheduler) converse(ctx, life context.Context, l *link, heartbeat time.Duration) error {
	defer context.AfterFunc(ctx, func() {
		select {
		case <-life.Done():
		case <-time.After(goodbye):
			l.end(context.Cause(ctx))
		}
	})()
	var sending sync.WaitGroup
	sending.Go(func() {
		for _, part := range parts(s.announced()) {
			if l.conn.Send(part) != nil {
				return
			}
		}
		l.run(ctx, life, heartbeat)
	})
	sending.Go(func() { s.tellTags(life, l) })
	l.end(s.receive(l))
	sending.Wait()
	return context.Cause(life)
}

// run sends what is queued and heartbeats. When sending fails it returns: receive knows why.
func (l *link) run(ctx, life context.Context, heartbeat time.Duration) {
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	for {
		var m *schedulerv1.ConnectRequest
		select {
		case m = <-l.queue:
		case <-beat.C:
			m = &schedulerv1.ConnectRequest{Message: &schedulerv1.ConnectRequest_Heartbeat{Heartbeat: &schedulerv1.Heartbeat{}}}
		case <-life.Done():
			return
		case <-ctx.Done():
			_ = l.conn.CloseSend() // the scheduler answers by ending the stream
			return
		}
		if l.conn.Send(m) != nil {
			return
		}
	}
}

// parts splits an announcement into messages; there is always one.
func parts(holdings []p2p.Holding) []*schedulerv1.ConnectRequest {
	var all []*schedulerv1.ConnectRequest
	part, size := &schedulerv1.Announce{}, 0
	put := func(last bool) {
		part.Last = last
		all = append(all, &schedulerv1.ConnectRequest{Message: &schedulerv1.ConnectRequest_Announce{Announce: part}})
		part, size = &schedulerv1.Announce{}, 0
	}
	for _, h := range holdings {
		if len(part.Holdings) == maxPart || size > maxPartBytes {
			put(false)
		}
		part.Holdings = append(part.Holdings, &schedulerv1.Holding{
			Task: h.Task.String(), Size: h.Size, Complete: h.Complete, Active: h.Active, Pulling: h.Pulling, Origin: sayable(h.Origin),
		})
		size += 100 + len(h.Origin)
	}
	put(true)
	return all
}
