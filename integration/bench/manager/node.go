package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"

	managerv1 "github.com/darter-p2p/darter/api/manager/v1"
	"github.com/darter-p2p/darter/internal/pki"
)

// crowd is the simulated nodes, and what they have been told.
type crowd struct {
	address string // of the manager
	nodes   []*node

	// dialing bounds the handshakes at a time: real nodes have a processor each, these
	// have what the manager leaves of one machine, and would all be late together.
	dialing chan struct{}

	streams atomic.Int64 // that are open and have been told something
	told    atomic.Int64 // states

	mu      sync.Mutex
	waiting *round
}

// round is a wait for all nodes to be told a version.
type round struct {
	version int64
	left    int
	times   []time.Duration // since begun, of each node
	begun   time.Time
	done    chan struct{}
}

// node is one simulated node.
type node struct {
	id      int
	crowd   *crowd
	tls     *tls.Config
	version atomic.Int64
}

// newCrowd makes n nodes with a certificate each.
func newCrowd(ca *pki.CA, address string, n, dialing int) (*crowd, error) {
	c := &crowd{address: address, dialing: make(chan struct{}, dialing)}
	for i := range n {
		role := pki.Node
		if i%1000 == 0 { // so that the cluster has a scheduler
			role = pki.Scheduler
		}
		id, err := ca.Identity(role, fmt.Sprintf("node-%05d", i))
		if err != nil {
			return nil, err
		}
		c.nodes = append(c.nodes, &node{id: i, crowd: c, tls: id.ClientTLS(pki.Manager)})
	}
	return c, nil
}

// ip is the node's own address of loopback, from which it connects.
func (n *node) ip() net.IP { return net.IPv4(127, 1, byte(n.id/250), byte(1+n.id%250)) } //nolint:gosec // below 60,000

// run follows the manager until ctx ends.
func (n *node) run(ctx context.Context) error {
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: n.ip()}}
	conn, err := grpc.NewClient("passthrough:///"+n.crowd.address,
		grpc.WithTransportCredentials(credentials.NewTLS(n.tls)),
		grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
			return dialer.DialContext(ctx, "tcp", address)
		}),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 500 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 15 * time.Second},
			MinConnectTimeout: 10 * time.Second,
		}),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 20 * time.Second, Timeout: 20 * time.Second}),
		grpc.WithReadBufferSize(4<<10), grpc.WithWriteBufferSize(4<<10),
	)
	if err != nil {
		return err
	}
	defer conn.Close()
	for pause := 500 * time.Millisecond; ctx.Err() == nil; pause = min(2*pause, 15*time.Second) {
		if n.session(ctx, managerv1.NewManagerServiceClient(conn)) {
			pause = 500 * time.Millisecond
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause/2 + rand.N(pause)):
		}
	}
	return nil
}

// connect opens a stream when it is this node's turn.
func (n *node) connect(ctx context.Context, client managerv1.ManagerServiceClient) (managerv1.ManagerService_ConnectClient, error) {
	select {
	case n.crowd.dialing <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { <-n.crowd.dialing }()
	return client.Connect(ctx, grpc.WaitForReady(true))
}

// session is one stream, until it breaks; heard says that the manager said anything.
func (n *node) session(ctx context.Context, client managerv1.ManagerServiceClient) (heard bool) {
	ctx, stop := context.WithCancel(ctx)
	stream, err := n.connect(ctx, client)
	if err != nil {
		stop()
		return false
	}
	var beats sync.WaitGroup
	defer beats.Wait()
	defer stop()
	hello := &managerv1.Hello{
		Hostname: fmt.Sprintf("host-%05d", n.id), Address: n.ip().String() + ":65002", JobAddress: n.ip().String() + ":65000",
		Idc: fmt.Sprintf("idc%d", n.id%4), Location: fmt.Sprintf("region|zone%d|rack%d", n.id%4, n.id%250), Version: "bench",
		StateVersion: n.version.Load(),
	}
	if stream.Send(&managerv1.ConnectRequest{Message: &managerv1.ConnectRequest_Hello{Hello: hello}}) != nil {
		return false
	}
	in := make(chan time.Duration, 1)
	beats.Go(func() { n.beat(ctx, stream, in) })
	for {
		m, err := stream.Recv()
		if err != nil {
			if heard {
				n.crowd.streams.Add(-1)
			}
			return heard
		}
		if !heard {
			heard = true
			n.crowd.streams.Add(1)
		}
		n.crowd.take(n, m.GetState())
		select {
		case <-in:
		default:
		}
		in <- time.Duration(m.GetState().GetHeartbeatSeconds()) * time.Second
	}
}

// beat says what is in force at once after each change, and then as often as asked.
func (n *node) beat(ctx context.Context, stream grpc.BidiStreamingClient[managerv1.ConnectRequest, managerv1.ConnectResponse], in <-chan time.Duration) {
	period := time.Hour
	for {
		select {
		case <-ctx.Done():
			return
		case period = <-in:
		case <-time.After(period):
		}
		m := &managerv1.ConnectRequest{Message: &managerv1.ConnectRequest_Heartbeat{
			Heartbeat: &managerv1.Heartbeat{StateVersion: n.version.Load()},
		}}
		if stream.Send(m) != nil {
			return
		}
	}
}

// take notes what a node is told.
func (c *crowd) take(n *node, s *managerv1.State) {
	c.told.Add(1)
	was := n.version.Swap(s.GetVersion())
	c.mu.Lock()
	defer c.mu.Unlock()
	if r := c.waiting; r != nil && was < r.version && s.GetVersion() >= r.version {
		r.heard()
	}
}

func (r *round) heard() {
	r.times = append(r.times, time.Since(r.begun))
	if r.left--; r.left == 0 {
		close(r.done)
	}
}

// await begins a round: it is done when every node was told version or a later one.
func (c *crowd) await(version int64, begun time.Time) *round {
	r := &round{version: version, left: len(c.nodes), begun: begun, done: make(chan struct{})}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waiting = r
	for _, n := range c.nodes {
		if n.version.Load() >= version { // was faster than the answer to who set it
			r.heard()
		}
	}
	return r
}
