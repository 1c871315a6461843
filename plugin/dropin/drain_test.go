package dropin

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	containers "github.com/containerd/containerd/api/services/containers/v1"
	contents "github.com/containerd/containerd/api/services/content/v1"
	images "github.com/containerd/containerd/api/services/images/v1"
	namespaces "github.com/containerd/containerd/api/services/namespaces/v1"
	snapshots "github.com/containerd/containerd/api/services/snapshots/v1"
	"github.com/containerd/containerd/api/types"
	"github.com/containerd/errdefs"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// daemon is a containerd with an image in darter in namespace k8s.io, nothing of
// darter's in default, and a container in odd.
type daemon struct {
	without bool // darter's plugin
}

func namespace(ctx context.Context) string {
	md, _ := metadata.FromIncomingContext(ctx)
	return strings.Join(md.Get("containerd-namespace"), ",")
}

type namespaceService struct {
	namespaces.UnimplementedNamespacesServer
}

func (namespaceService) List(context.Context, *namespaces.ListNamespacesRequest) (*namespaces.ListNamespacesResponse, error) {
	return &namespaces.ListNamespacesResponse{Namespaces: []*namespaces.Namespace{{Name: "default"}, {Name: "k8s.io"}, {Name: "odd"}}}, nil
}

type snapshotService struct {
	snapshots.UnimplementedSnapshotsServer
	*daemon
}

func (s snapshotService) List(r *snapshots.ListSnapshotsRequest, stream snapshots.Snapshots_ListServer) error {
	if r.Snapshotter != Snapshotter || s.without {
		return status.Error(codes.InvalidArgument, "snapshotter not loaded: "+r.Snapshotter)
	}
	if namespace(stream.Context()) == "default" {
		return nil
	}
	return stream.Send(&snapshots.ListSnapshotsResponse{Info: []*snapshots.Info{{Name: "a"}, {Name: "b"}}})
}

type containerService struct {
	containers.UnimplementedContainersServer
}

func (containerService) List(ctx context.Context, _ *containers.ListContainersRequest) (*containers.ListContainersResponse, error) {
	list := []*containers.Container{{ID: "plain", Snapshotter: "overlayfs"}}
	if namespace(ctx) == "odd" {
		list = append(list, &containers.Container{ID: "it's", Snapshotter: Snapshotter})
	}
	return &containers.ListContainersResponse{Containers: list}, nil
}

type contentService struct {
	contents.UnimplementedContentServer
}

func (contentService) List(_ *contents.ListContentRequest, stream contents.Content_ListServer) error {
	if namespace(stream.Context()) != "k8s.io" {
		return nil
	}
	return stream.Send(&contents.ListContentResponse{Info: []*contents.Info{
		{Digest: "index", Labels: map[string]string{"containerd.io/gc.ref.content.m.0": "manifest"}},
		{Digest: "manifest", Labels: map[string]string{"containerd.io/gc.ref.content.config": "config", "containerd.io/gc.ref.content.l.0": "index"}},
		{Digest: "config", Labels: map[string]string{"containerd.io/gc.ref.snapshot.darter": "chain"}},
		{Digest: "other", Labels: map[string]string{"containerd.io/gc.ref.snapshot.overlayfs": "chain"}},
	}})
}

type imageService struct {
	images.UnimplementedImagesServer
}

func (imageService) List(context.Context, *images.ListImagesRequest) (*images.ListImagesResponse, error) {
	return &images.ListImagesResponse{Images: []*images.Image{
		{Name: "r.example/b:1", Target: &types.Descriptor{Digest: "index"}}, {Name: "r.example/a:1", Target: &types.Descriptor{Digest: "other"}}, {Name: "none"},
	}}, nil
}

func (d *daemon) serve(t *testing.T) string {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "c.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer()
	namespaces.RegisterNamespacesServer(s, namespaceService{})
	snapshots.RegisterSnapshotsServer(s, snapshotService{daemon: d})
	containers.RegisterContainersServer(s, containerService{})
	contents.RegisterContentServer(s, contentService{})
	images.RegisterImagesServer(s, imageService{})
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	t.Cleanup(func() {
		s.Stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return socket
}

func TestInUse(t *testing.T) {
	socket := (&daemon{}).serve(t)
	uses, err := InUse(t.Context(), socket)
	if err != nil {
		t.Fatal(err)
	}
	if len(uses) != 2 || uses[0].Namespace != "k8s.io" || uses[0].Snapshots != 2 || !slices.Equal(uses[0].Images, []string{"r.example/b:1"}) ||
		uses[1].Namespace != "odd" || !slices.Equal(uses[1].Containers, []string{"it's"}) {
		t.Errorf("in use: %+v", uses)
	}
	if got := strings.Join(uses[0].Drain("/c.sock"), "\n"); !strings.Contains(got, "crictl -r unix:///c.sock rmi r.example/b:1") {
		t.Errorf("drain k8s.io by\n%s", got)
	}
	if got := strings.Join(uses[1].Drain("/c.sock"), "\n"); !strings.Contains(got, `nerdctl -a /c.sock -n odd rm -f 'it'\''s'`) || !strings.Contains(got, "snapshots --snapshotter darter ls") {
		t.Errorf("drain odd by\n%s", got)
	}
	if _, err := InUse(t.Context(), (&daemon{without: true}).serve(t)); !errdefs.IsNotFound(err) {
		t.Errorf("without the plugin: %v", err)
	}
	if _, err := InUse(t.Context(), "/none.sock"); !errdefs.IsUnavailable(err) {
		t.Errorf("without containerd: %v", err)
	}
}

func TestOnDisk(t *testing.T) {
	root := t.TempDir()
	if n, err := OnDisk(root); n != 0 || err != nil {
		t.Errorf("nothing: %d, %v", n, err)
	}
	for _, d := range []string{"snapshots/1", "snapshots/22", "snapshots/new-3"} {
		if err := os.MkdirAll(filepath.Join(root, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if n, err := OnDisk(root); n != 2 || err != nil {
		t.Errorf("%d, %v, want 2", n, err)
	}
}
