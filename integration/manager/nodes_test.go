package manager_test

import (
	"context"
	"fmt"
	"net"
	"path/filepath"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	managerv1 "github.com/darter-p2p/darter/api/manager/v1"
	nodev1 "github.com/darter-p2p/darter/api/node/v1"
	"github.com/darter-p2p/darter/internal/dynamic"
	"github.com/darter-p2p/darter/internal/pki"
	"github.com/darter-p2p/darter/internal/serve/rpc"
)

// fakeNode is a node's job service that brings nothing: a fetch lasts until the test lets
// it end, or its caller goes. It follows a manager as darterd does.
type fakeNode struct {
	nodev1.UnimplementedNodeServiceServer
	name string
	gate <-chan struct{} // closed when fetches may end

	mu      sync.Mutex
	running map[string]int  // fetches by job
	told    map[string]int  // fetches that began, by job
	brought map[string]int  // contents that were brought, by name
	twice   []string        // jobs of which two fetches ran at once
	wrong   []string        // credentials other than the right one
	changed chan<- struct{} // after each change
}

// authorization is what fake registries want.
const authorization = "Basic ZGFydGVyOnN3b3JkZmlzaA=="

// startNode starts a node of the manager at an address.
func startNode(t *testing.T, ca *pki.CA, manager string, role pki.Role, name string, gate <-chan struct{}, changed chan<- struct{}) *fakeNode {
	t.Helper()
	n := &fakeNode{
		name: name, gate: gate, changed: changed,
		running: map[string]int{}, told: map[string]int{}, brought: map[string]int{},
	}
	id, err := ca.Identity(role, name)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(grpc.Creds(credentials.NewTLS(id.ServerTLS(pki.Manager))))
	nodev1.RegisterNodeServiceServer(server, n)
	follower := dynamic.New(dynamic.Config{Address: manager, State: filepath.Join(t.TempDir(), "state")}, id.ClientTLS(pki.Manager),
		func() *managerv1.Hello {
			return &managerv1.Hello{JobAddress: l.Addr().String(), Address: l.Addr().String()}
		},
		func(context.Context, *managerv1.State) error { return nil })
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := rpc.Serve(ctx, server, l, 0, nil); err != nil {
			t.Error(err)
		}
	})
	running.Go(func() {
		if err := follower.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		stop()
		running.Wait()
	})
	return n
}

// Resolve implements nodev1.NodeServiceServer.
func (n *fakeNode) Resolve(_ context.Context, r *nodev1.ResolveRequest) (*nodev1.ResolveResponse, error) {
	n.check(r.GetAuthorization())
	return &nodev1.ResolveResponse{Registry: "registry.test", Repository: "app", Digest: contentOf(r.GetImage()), Contents: []*nodev1.Content{
		{Kind: nodev1.Kind_KIND_MANIFEST, Digest: contentOf(r.GetImage()), Size: 1000},
		{Kind: nodev1.Kind_KIND_BLOB, Digest: contentOf(r.GetImage() + "/layer"), Size: 1 << 20},
	}}, nil
}

func (n *fakeNode) check(got string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if got != authorization {
		n.wrong = append(n.wrong, got)
	}
}

// Fetch implements nodev1.NodeServiceServer.
func (n *fakeNode) Fetch(r *nodev1.FetchRequest, out grpc.ServerStreamingServer[nodev1.FetchResponse]) error {
	n.check(r.GetAuthorization())
	n.change(func() {
		n.told[r.GetJob()]++
		if n.running[r.GetJob()]++; n.running[r.GetJob()] > 1 {
			n.twice = append(n.twice, r.GetJob())
		}
	})
	defer n.change(func() { n.running[r.GetJob()]-- })
	select {
	case <-n.gate:
	case <-out.Context().Done():
		return out.Context().Err()
	}
	for i, c := range r.GetContents() {
		n.change(func() { n.brought[c.GetDigest()]++ })
		h := &nodev1.Holding{Task: c.GetDigest(), Size: c.GetSize(), Bytes: c.GetSize(), Pieces: 4, PiecesHeld: 4, Complete: true}
		if err := out.Send(&nodev1.FetchResponse{Index: uint32(i), Settled: true, Holding: h}); err != nil { //nolint:gosec // few
			return err
		}
	}
	return out.Send(&nodev1.FetchResponse{Done: true})
}

// change changes what is counted, and tells the test.
func (n *fakeNode) change(f func()) {
	n.mu.Lock()
	f()
	n.mu.Unlock()
	select {
	case n.changed <- struct{}{}:
	default:
	}
}

// begun is how many fetches run now.
func (n *fakeNode) begun() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	sum := 0
	for _, jobs := range n.running {
		sum += jobs
	}
	return sum
}

func jobName(id int64) string { return fmt.Sprintf("job-%d", id) }
