package dropin

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	containers "github.com/containerd/containerd/api/services/containers/v1"
	contents "github.com/containerd/containerd/api/services/content/v1"
	images "github.com/containerd/containerd/api/services/images/v1"
	namespaces "github.com/containerd/containerd/api/services/namespaces/v1"
	snapshots "github.com/containerd/containerd/api/services/snapshots/v1"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
)

// criNamespace is where CRI keeps what it has.
const criNamespace = "k8s.io"

// askTimeout bounds the questions to containerd.
const askTimeout = 30 * time.Second

// Use is what a containerd namespace has in darter's snapshotter.
type Use struct {
	Namespace  string
	Snapshots  int // of images and containers
	Containers []Container
	Images     []string // references of images that are unpacked there
}

// Container is one whose root file system is a snapshot of darter.
type Container struct {
	ID   string
	Kind Kind
}

// Kind is whose a container is: who else made it can only take it away by halves.
type Kind string

// Kinds of containers. The zero Kind is one that ctr or an unknown client made.
const (
	Sandbox Kind = "sandbox"   // a pod's, in CRI
	Member  Kind = "container" // of a pod, in CRI
	Nerdctl Kind = "nerdctl"
)

func kindOf(c *containers.Container) Kind {
	if kind := Kind(c.Labels["io.cri-containerd.kind"]); kind == Sandbox || kind == Member {
		return kind
	}
	if _, ok := c.Labels["nerdctl/namespace"]; ok {
		return Nerdctl
	}
	return ""
}

// InUse asks containerd at a socket who uses darter's snapshots, in all namespaces;
// those that do not are left out. ErrUnavailable means that containerd does not
// answer, ErrNotFound that it runs without darter's plugin.
func InUse(ctx context.Context, socket string) ([]Use, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	if _, err := os.Stat(socket); err != nil { // else gRPC tries until the time is over
		return nil, fmt.Errorf("ask containerd: %w: %w", err, errdefs.ErrUnavailable)
	}
	conn, err := Dial(socket)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	list, err := namespaces.NewNamespacesClient(conn).List(ctx, &namespaces.ListNamespacesRequest{})
	if err != nil {
		return nil, fmt.Errorf("list containerd's namespaces: %w", errgrpc.ToNative(err))
	}
	var all []Use
	for _, ns := range list.Namespaces {
		use, err := inNamespace(ctx, conn, ns.Name)
		if err != nil {
			return nil, fmt.Errorf("namespace %s: %w", ns.Name, err)
		}
		if use.Snapshots+len(use.Containers)+len(use.Images) > 0 {
			all = append(all, use)
		}
	}
	return all, nil
}

// Dial connects to a Unix socket that speaks gRPC, at the first call.
func Dial(socket string) (*grpc.ClientConn, error) {
	conn, err := grpc.NewClient("unix://"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", socket, err)
	}
	return conn, nil
}

func inNamespace(ctx context.Context, conn *grpc.ClientConn, name string) (Use, error) {
	ctx = metadata.AppendToOutgoingContext(ctx, "containerd-namespace", name)
	use := Use{Namespace: name}
	stream, err := snapshots.NewSnapshotsClient(conn).List(ctx, &snapshots.ListSnapshotsRequest{Snapshotter: Snapshotter})
	if err != nil {
		return use, fmt.Errorf("list snapshots: %w", errgrpc.ToNative(err))
	}
	err = each(stream.Recv, func(r *snapshots.ListSnapshotsResponse) { use.Snapshots += len(r.Info) })
	if errdefs.IsInvalidArgument(err) { // containerd's word for a snapshotter that it has not
		return use, fmt.Errorf("list snapshots: %w: %w", err, errdefs.ErrNotFound)
	}
	if err != nil {
		return use, fmt.Errorf("list snapshots: %w", err)
	}
	running, err := containers.NewContainersClient(conn).List(ctx, &containers.ListContainersRequest{})
	if err != nil {
		return use, fmt.Errorf("list containers: %w", errgrpc.ToNative(err))
	}
	for _, c := range running.Containers {
		if c.Snapshotter == Snapshotter {
			use.Containers = append(use.Containers, Container{c.ID, kindOf(c)})
		}
	}
	refs, err := unpacked(ctx, conn)
	if err != nil {
		return use, err
	}
	for _, names := range refs {
		if name == criNamespace {
			names = names[:1] // CRI takes the others away with it, and then knows them not
		}
		use.Images = append(use.Images, names...)
	}
	slices.Sort(use.Images)
	return use, nil
}

// unpacked returns the images that are unpacked into darter: a label of their
// configuration keeps the snapshot, and labels lead from the image to it. The names
// are those of each image, by its target; the most readable is the first.
func unpacked(ctx context.Context, conn *grpc.ClientConn) (map[string][]string, error) {
	stream, err := contents.NewContentClient(conn).List(ctx, &contents.ListContentRequest{})
	if err != nil {
		return nil, fmt.Errorf("list content: %w", errgrpc.ToNative(err))
	}
	labels := map[string]map[string]string{}
	err = each(stream.Recv, func(r *contents.ListContentResponse) {
		for _, info := range r.Info {
			labels[info.Digest] = info.Labels
		}
	})
	if err != nil {
		return nil, fmt.Errorf("list content: %w", err)
	}
	list, err := images.NewImagesClient(conn).List(ctx, &images.ListImagesRequest{})
	if err != nil {
		return nil, fmt.Errorf("list images: %w", errgrpc.ToNative(err))
	}
	refs := map[string][]string{}
	for _, image := range list.Images {
		if target := image.Target; target != nil && reaches(labels, target.Digest) {
			refs[target.Digest] = append(refs[target.Digest], image.Name)
		}
	}
	byDigest := func(name string) int { return strings.Count(name, "sha256:") }
	for _, names := range refs {
		slices.SortFunc(names, func(a, b string) int {
			return cmp.Or(cmp.Compare(byDigest(a), byDigest(b)), cmp.Compare(a, b))
		})
	}
	return refs, nil
}

// reaches reports whether labels lead from a content to one that keeps a snapshot of darter.
func reaches(labels map[string]map[string]string, from string) bool {
	seen := map[string]bool{}
	for pending := []string{from}; len(pending) > 0; pending = pending[1:] {
		if seen[pending[0]] {
			continue
		}
		seen[pending[0]] = true
		for k, v := range labels[pending[0]] {
			if k == "containerd.io/gc.ref.snapshot."+Snapshotter || strings.HasPrefix(k, "containerd.io/gc.ref.snapshot."+Snapshotter+"/") {
				return true
			}
			if strings.HasPrefix(k, "containerd.io/gc.ref.content") {
				pending = append(pending, v)
			}
		}
	}
	return false
}

// each passes on what a stream has until its end.
func each[T any](recv func() (*T, error), take func(*T)) error {
	for {
		r, err := recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return errgrpc.ToNative(err)
		}
		take(r)
	}
}

// OnDisk counts the snapshots below darter's root, for when containerd cannot be asked.
func OnDisk(root string) (int, error) {
	entries, err := os.ReadDir(filepath.Join(root, "snapshots"))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("count snapshots: %w", err)
	}
	n := 0
	for _, e := range entries {
		if strings.Trim(e.Name(), "0123456789") == "" {
			n++
		}
	}
	return n, nil
}
