package preheat

import (
	"context"
	"fmt"
	"net"
	"time"

	"github.com/containerd/log"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"

	nodev1 "github.com/darter-p2p/darter/api/node/v1"
	"github.com/darter-p2p/darter/internal/pki"
	"github.com/darter-p2p/darter/internal/serve/rpc"
)

// drainTime is how long calls may go on after the server was told to stop.
const drainTime = 2 * time.Second

// Serve serves managers, and the gRPC health service, on l with mutual TLS until ctx ends
// or the listener fails. It closes l, and returns nil after a stop that ctx asked for.
func (s *Server) Serve(ctx context.Context, l net.Listener, id *pki.Identity) error {
	server := grpc.NewServer(
		grpc.Creds(id.Guard(id.ServerTLS(pki.Manager))),
		grpc.MaxRecvMsgSize(4<<20),
		grpc.ConnectionTimeout(10*time.Second),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: 10 * time.Second, Timeout: 10 * time.Second}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 5 * time.Second, PermitWithoutStream: true}),
		grpc.ChainUnaryInterceptor(func(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
			resp, err := next(ctx, req)
			logFailure(ctx, info.FullMethod, err)
			return resp, err
		}),
		grpc.ChainStreamInterceptor(func(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) error {
			err := next(srv, ss)
			logFailure(ctx, info.FullMethod, err)
			return err
		}),
	)
	nodev1.RegisterNodeServiceServer(server, s)
	alive := health.NewServer()
	grpc_health_v1.RegisterHealthServer(server, alive)
	if err := rpc.Serve(ctx, server, l, drainTime, alive.Shutdown); err != nil {
		return fmt.Errorf("the manager's door: %w", err)
	}
	return nil
}

func logFailure(ctx context.Context, method string, err error) {
	if err != nil {
		log.G(ctx).WithField("method", method).WithError(err).Info("a part of a job failed")
	}
}
