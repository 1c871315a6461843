package snapshot

import (
	"context"
	"fmt"
	"net"
	"time"

	snapshotsapi "github.com/containerd/containerd/api/services/snapshots/v1"
	"github.com/containerd/containerd/v2/contrib/snapshotservice"
	"google.golang.org/grpc"
)

const (
	// maxMessage is containerd's bound of a message, in bytes.
	maxMessage = 16 << 20
	// drain is how long calls may go on when the server stops.
	drain = 5 * time.Second
)

// Serve answers containerd's snapshots API on l until ctx ends; then it accepts nothing
// more, gives those who wait for a layer the ordinary mounts, lets calls finish for a
// few seconds, cuts the others and returns nil. It closes l. The door catches no layer
// any more after it.
func (d *Door) Serve(ctx context.Context, l net.Listener) error {
	server := grpc.NewServer(grpc.MaxRecvMsgSize(maxMessage), grpc.MaxSendMsgSize(maxMessage), grpc.WaitForHandlers(true))
	snapshotsapi.RegisterSnapshotsServer(server, snapshotservice.FromSnapshotter(d))
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	select {
	case err := <-served:
		return fmt.Errorf("serve snapshots: %w", err)
	case <-ctx.Done():
	}
	d.stager.stop()
	cut := time.AfterFunc(drain, server.Stop)
	defer cut.Stop()
	server.GracefulStop()
	return <-served
}
