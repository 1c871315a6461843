// Package rpc runs gRPC servers that stop in good order. It is no part of package serve,
// for the mount server links that and no gRPC.
package rpc

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"google.golang.org/grpc"
)

// Serve serves s on l until ctx ends or the listener fails. Then it calls stopping, which
// may be nil and ends what would not end by itself, lets calls finish for at most drain
// (0 = 5 s) and cuts the others. It returns nil after a stop that ctx asked for, also
// one from before the first connection. It closes l.
func Serve(ctx context.Context, s *grpc.Server, l net.Listener, drain time.Duration, stopping func()) error {
	if drain == 0 {
		drain = 5 * time.Second
	}
	addr := l.Addr()
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	var err error
	select {
	case err = <-served:
		served <- nil
	case <-ctx.Done():
	}
	if stopping != nil {
		stopping()
	}
	late := time.AfterFunc(drain, s.Stop)
	defer late.Stop()
	s.GracefulStop()
	// A server that was stopped first says so when it is told to serve.
	if end := <-served; !errors.Is(end, grpc.ErrServerStopped) {
		err = errors.Join(err, end)
	}
	if err != nil {
		return fmt.Errorf("serve %s: %w", addr, err)
	}
	return nil
}
