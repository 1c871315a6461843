package rpc

import (
	"context"
	"fmt"
	"net"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"

	schedulerv1 "github.com/darter-p2p/darter/api/scheduler/v1"
	"github.com/darter-p2p/darter/internal/pki"
	"github.com/darter-p2p/darter/internal/serve/rpc"
)

// A connection on which nothing came for keepaliveTime is asked for a sign of life;
// without one in keepaliveTimeout it is dead.
const (
	keepaliveTime    = 5 * time.Second
	keepaliveTimeout = 3 * time.Second
)

// Serve serves nodes, and the gRPC health service, on l with mutual TLS until ctx
// ends or the listener fails. It closes l, ends all streams, and returns nil after
// a stop that ctx asked for. It is called once.
func (s *Server) Serve(ctx context.Context, l net.Listener, id *pki.Identity) error {
	server := grpc.NewServer(
		grpc.Creds(id.Guard(id.ServerTLS(pki.Node, pki.Seed, pki.Client, pki.Manager))),
		grpc.MaxRecvMsgSize(maxMessageBytes),
		grpc.MaxConcurrentStreams(16), // of one connection; a node needs one
		grpc.ConnectionTimeout(helloTime),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: keepaliveTime, Timeout: keepaliveTimeout}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: time.Second, PermitWithoutStream: true}),
	)
	schedulerv1.RegisterSchedulerServiceServer(server, s)
	alive := health.NewServer()
	grpc_health_v1.RegisterHealthServer(server, alive)

	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		// run ends the streams.
		if err := rpc.Serve(ctx, server, l, 0, alive.Shutdown); err != nil {
			return fmt.Errorf("nodes: %w", err)
		}
		return nil
	})
	group.Go(func() error {
		s.run(ctx)
		return nil
	})
	err := group.Wait()
	s.readers.Wait()
	return err
}
