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

	"github.com/darter-p2p/darter/internal/serve/rpc"
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
		list = append(list, &containers.Container{ID: "it's", Snapshotter: Snapshotter, Labels: map[string]string{"nerdctl/namespace": "odd"}},
			&containers.Container{ID: "of-ctr", Snapshotter: Snapshotter})
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
	image := func(name, target string) *images.Image {
		return &images.Image{Name: name, Target: &types.Descriptor{Digest: target}}
	}
	return &images.ListImagesResponse{Images: []*images.Image{
		image("r.example/b@sha256:1", "index"), image("r.example/b:1", "index"), image("sha256:2", "index"),
		image("r.example/a:1", "other"), {Name: "none"},
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
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- rpc.Serve(ctx, s, l, 0, nil) }()
	t.Cleanup(func() {
		stop()
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
		uses[1].Namespace != "odd" || !slices.Equal(uses[1].Containers, []Container{{"it's", Nerdctl}, {ID: "of-ctr"}}) {
		t.Errorf("in use: %+v", uses)
	}
	if _, err := InUse(t.Context(), (&daemon{without: true}).serve(t)); !errdefs.IsNotFound(err) {
		t.Errorf("without the plugin: %v", err)
	}
	if _, err := InUse(t.Context(), "/none.sock"); !errdefs.IsUnavailable(err) {
		t.Errorf("without containerd: %v", err)
	}
}

func TestDrain(t *testing.T) {
	const end = "snapshots --snapshotter darter ls   # must be empty in the end"
	pods := []Container{{"pod", Sandbox}, {"member", Member}}
	for _, test := range []struct {
		use  Use
		want []string
	}{
		{Use{Namespace: "k8s.io", Containers: pods, Images: []string{"r.example/b:1"}}, []string{
			"kubectl drain $(hostname) --ignore-daemonsets   # where there is a kubelet",
			"systemctl stop kubelet   # it would start the pods that are left again; start it when darter is removed",
			"crictl -r unix:///c.sock -i unix:///c.sock rm -f member",
			"crictl -r unix:///c.sock -i unix:///c.sock rmp -f pod",
			"crictl -r unix:///c.sock -i unix:///c.sock rmi r.example/b:1",
			"ctr -a /c.sock -n k8s.io " + end,
		}},
		{Use{Namespace: "odd", Containers: []Container{{"it's", Nerdctl}, {ID: "x"}}, Images: []string{"i:1"}}, []string{
			`nerdctl -a /c.sock -n odd rm -f 'it'\''s'`,
			"ctr -a /c.sock -n odd tasks rm -f x || true   # it may not be running",
			"ctr -a /c.sock -n odd containers rm x",
			"ctr -a /c.sock -n odd images rm --sync i:1",
			"ctr -a /c.sock -n odd " + end,
		}},
		{Use{Namespace: "moby", Containers: []Container{{ID: "x"}}, Images: []string{"i:1"}}, []string{
			"docker rm -f x", "docker rmi i:1", "ctr -a /c.sock -n moby " + end,
		}},
	} {
		if got := test.use.Drain("/c.sock"); !slices.Equal(got, test.want) {
			t.Errorf("%s: drain by\n%s\nwant\n%s", test.use.Namespace, strings.Join(got, "\n"), strings.Join(test.want, "\n"))
		}
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
