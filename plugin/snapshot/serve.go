package snapshot

import (
	"context"
	"fmt"
	"net"

	snapshotsapi "github.com/containerd/containerd/api/services/snapshots/v1"
	"github.com/containerd/containerd/v2/contrib/snapshotservice"
	"google.golang.org/grpc"

	"github.com/darter-p2p/darter/internal/serve/rpc"
)

// maxMessage is containerd's bound of a message, in bytes.
const maxMessage = 16 << 20

// Serve answers containerd's snapshots API on l until ctx ends; then it accepts nothing
// more, gives those who wait for a layer the ordinary mounts, lets calls finish for a
// few seconds, cuts the others and returns nil. It closes l. The door catches no layer
// any more after it.
func (d *Door) Serve(ctx context.Context, l net.Listener) error {
	server := grpc.NewServer(grpc.MaxRecvMsgSize(maxMessage), grpc.MaxSendMsgSize(maxMessage), grpc.WaitForHandlers(true))
	snapshotsapi.RegisterSnapshotsServer(server, snapshotservice.FromSnapshotter(d))
	if err := rpc.Serve(ctx, server, l, 0, d.stager.stop); err != nil {
		return fmt.Errorf("snapshots: %w", err)
	}
	return nil
}
