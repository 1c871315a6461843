package snapshot

import (
	"context"
	"flag"
	"net"
	"os"
	"path/filepath"
	"testing"

	snapshotsapi "github.com/containerd/containerd/api/services/snapshots/v1"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/core/snapshots/proxy"
	"github.com/containerd/containerd/v2/core/snapshots/testsuite"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

// Containerd's own suite, as containerd sees the door: over the socket. The name is
// overlayfs because the suite knows by it that overlay does not rename directories.
func TestContainerdSuite(t *testing.T) {
	needRoot(t)
	testsuite.SnapshotterSuite(t, "overlayfs", func(ctx context.Context, root string) (snapshots.Snapshotter, func() error, error) {
		door, err := New(ctx, testConfig(root), Options{})
		if err != nil {
			return nil, nil, err
		}
		client, stop, err := serveDoor(door)
		if err != nil {
			return nil, nil, err
		}
		return client, func() error { stop(); return door.Close() }, nil
	})
}

// needRoot skips a test that mounts, without root, and tells containerd's test
// helpers that there is root.
func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root, to mount overlays")
	}
	if err := flag.Set("test.root", "true"); err != nil {
		t.Fatal(err)
	}
}

func testConfig(dir string) Config {
	c := Default()
	c.Root, c.Socket = filepath.Join(dir, "snapshots"), filepath.Join(dir, "s.sock")
	return c
}

// serveDoor serves d on a socket and returns containerd's client of it.
func serveDoor(d *Door) (_ snapshots.Snapshotter, stop func(), _ error) {
	dir, err := os.MkdirTemp("", "door") // test directories have names too long for a socket
	if err != nil {
		return nil, nil, err
	}
	path := filepath.Join(dir, "s.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, nil, err
	}
	conn, err := grpc.NewClient("unix://"+path, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = d.Serve(ctx, l)
	}()
	return proxy.NewSnapshotter(snapshotsapi.NewSnapshotsClient(conn), "darter"), func() {
		conn.Close()
		cancel()
		<-served
		os.RemoveAll(dir)
	}, nil
}
