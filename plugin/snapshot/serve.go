package snapshot

import (
	"context"
	"fmt"
	"net"
	"time"

	snapshotsapi "github.com/containerd/containerd/api/services/snapshots/v1"
	"github.com/containerd/containerd/v2/contrib/snapshotservice"
	"github.com/containerd/containerd/v2/core/snapshots"
	"google.golang.org/grpc"
)

const (
	// maxMessage is containerd's bound of a message, in bytes.
	maxMessage = 16 << 20
	// drain is how long calls may go on when the server stops.
	drain = 5 * time.Second
)

// Serve answers containerd's snapshots API on l from s until ctx ends; then it accepts
// nothing more, lets calls finish for a few seconds, cuts the others and returns nil.
// It closes l.
func Serve(ctx context.Context, l net.Listener, s snapshots.Snapshotter) error {
	server := grpc.NewServer(grpc.MaxRecvMsgSize(maxMessage), grpc.MaxSendMsgSize(maxMessage))
	snapshotsapi.RegisterSnapshotsServer(server, snapshotservice.FromSnapshotter(s))
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	select {
	case err := <-served:
		return fmt.Errorf("serve snapshots: %w", err)
	case <-ctx.Done():
	}
	cut := time.AfterFunc(drain, server.Stop)
	defer cut.Stop()
	server.GracefulStop()
	return <-served
}
