package jobs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/containerd/errdefs"
	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"

	nodev1 "github.com/darter-p2p/darter/api/node/v1"
	"github.com/darter-p2p/darter/internal/pki"
)

// Agent is one node's job service. Errors of calls carry gRPC statuses whose messages
// are the node's, or the registry's, own words. Methods may be called concurrently.
type Agent interface {
	Resolve(ctx context.Context, r *nodev1.ResolveRequest) (*nodev1.ResolveResponse, error)
	// Fetch tells of each content until all have settled; an error says that the node
	// said no more.
	Fetch(ctx context.Context, r *nodev1.FetchRequest, tell func(*nodev1.FetchResponse)) error
	Held(ctx context.Context, r *nodev1.HeldRequest) (*nodev1.HeldResponse, error)
	Delete(ctx context.Context, r *nodev1.DeleteRequest) (*nodev1.DeleteResponse, error)
	Collect(ctx context.Context, r *nodev1.CollectRequest) (*nodev1.CollectResponse, error)
	Unpin(ctx context.Context, r *nodev1.UnpinRequest) (*nodev1.UnpinResponse, error)
	io.Closer
}

// Dial reaches a node. It may return before the node has answered.
type Dial func(n Node) (Agent, error)

// Connect returns the Dial over mutual TLS: it believes the node whose certificate has
// the name that the manager knows.
func Connect(id *pki.Identity) Dial {
	return func(n Node) (Agent, error) {
		if n.Address == "" {
			return nil, fmt.Errorf("node %s: no address of its job service is known: %w", n.Name, errdefs.ErrUnavailable)
		}
		conn, err := grpc.NewClient("passthrough:///"+n.Address,
			grpc.WithTransportCredentials(id.Guard(id.ClientTLSTo(n.Name, pki.Node, pki.Seed))),
			grpc.WithConnectParams(grpc.ConnectParams{MinConnectTimeout: 10 * time.Second}),
			grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 20 * time.Second, Timeout: 20 * time.Second}),
			grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(16<<20)),
		)
		if err != nil {
			return nil, fmt.Errorf("node %s: %w", n.Name, err)
		}
		return &remote{conn, nodev1.NewNodeServiceClient(conn)}, nil
	}
}

// remote is an Agent over gRPC.
type remote struct {
	conn   *grpc.ClientConn
	client nodev1.NodeServiceClient
}

func (r *remote) Close() error { return r.conn.Close() }

func (r *remote) Resolve(ctx context.Context, q *nodev1.ResolveRequest) (*nodev1.ResolveResponse, error) {
	return r.client.Resolve(ctx, q)
}

func (r *remote) Held(ctx context.Context, q *nodev1.HeldRequest) (*nodev1.HeldResponse, error) {
	return r.client.Held(ctx, q)
}

func (r *remote) Delete(ctx context.Context, q *nodev1.DeleteRequest) (*nodev1.DeleteResponse, error) {
	return r.client.Delete(ctx, q)
}

func (r *remote) Collect(ctx context.Context, q *nodev1.CollectRequest) (*nodev1.CollectResponse, error) {
	return r.client.Collect(ctx, q)
}

func (r *remote) Unpin(ctx context.Context, q *nodev1.UnpinRequest) (*nodev1.UnpinResponse, error) {
	return r.client.Unpin(ctx, q)
}

func (r *remote) Fetch(ctx context.Context, q *nodev1.FetchRequest, tell func(*nodev1.FetchResponse)) error {
	stream, err := r.client.Fetch(ctx, q)
	if err != nil {
		return err
	}
	for {
		m, err := stream.Recv()
		switch {
		case errors.Is(err, io.EOF):
			return fmt.Errorf("the node ended before all contents had settled: %w", errdefs.ErrUnavailable)
		case err != nil:
			return err
		case m.GetDone():
			return nil
		case int64(m.GetIndex()) < int64(len(q.GetContents())):
			tell(m)
		}
	}
}
