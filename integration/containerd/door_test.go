package containerd

import (
	"fmt"
	"slices"
	"testing"

	"github.com/darter-p2p/darter/integration/lab"
	"github.com/darter-p2p/darter/integration/lab/image"
	"github.com/darter-p2p/darter/integration/lab/labtest"
	"github.com/darter-p2p/darter/integration/lab/rootfs"
)

// doorSystem is the whole of darter with the snapshot door on every node, and a node
// without darter, whose overlayfs shows what is right.
type doorSystem struct {
	*lab.System
	plain *lab.Containerd
}

// pause is the image of pods' sandboxes.
const pause = "lab/pause:1"

// forgetSoon makes the door remove soon what it has unpacked for a pull that failed.
const forgetSoon = `keep_staged = "2s"`

// newDoorSystem starts it; CRI of the nodes unpacks into the door, too.
func newDoorSystem(t *testing.T, o lab.SystemOptions, tools ...string) *doorSystem {
	t.Helper()
	return startDoorSystem(t, labtest.New(t, lab.Options{}, append(tools, lab.SystemTools...)...), o)
}

func startDoorSystem(t *testing.T, l *lab.Lab, o lab.SystemOptions) *doorSystem {
	t.Helper()
	o.Door, o.Sandbox, o.Containerd.CRI = true, pause, lab.Door
	system, err := l.StartSystem(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	s := &doorSystem{System: system}
	host, err := l.AddHost(t.Context(), "plain", o.Link)
	if err != nil {
		t.Fatal(err)
	}
	if s.plain, err = host.StartContainerdWith(t.Context(), lab.ContainerdOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := s.plain.UseMirror(s.Registry.Addr, ""); err != nil {
		t.Fatal(err)
	}
	return s
}

// push puts a crafted image into the registry and forgets the registry's log.
func (s *doorSystem) push(t *testing.T, c image.Crafted, repositoryTag string) lab.Image {
	t.Helper()
	pushed := push(t, s.Registry, c, repositoryTag)
	if err := s.Registry.Mark(); err != nil {
		t.Fatal(err)
	}
	return pushed
}

// right is the root file system that overlayfs makes of an image.
func (s *doorSystem) right(t *testing.T, i lab.Image) rootfs.Tree {
	t.Helper()
	if err := s.plain.Pull(t.Context(), lab.Ctr, i.Ref); err != nil {
		t.Fatal(err)
	}
	tree, err := s.plain.Rootfs(t.Context(), lab.Ctr, "overlayfs", i.Ref)
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

// wantRootfs fails the test unless the image that a client pulled is right in the door.
func wantRootfs(t *testing.T, node *lab.Containerd, client lab.Client, i lab.Image, want rootfs.Tree) {
	t.Helper()
	got, err := node.Rootfs(t.Context(), client, lab.Door, i.Ref)
	if err != nil {
		t.Fatal(err)
	}
	if err := rootfs.Compare(got, want); err != nil {
		t.Errorf("%s: the root file system is not that of overlayfs:\n%v", node.Host.Name, err)
	}
}

// fetched counts the layers that containerd fetched itself: those that the door
// serves never come into its content store.
func fetched(t *testing.T, node *lab.Containerd, client lab.Client, i lab.Image) int {
	t.Helper()
	out, err := node.Ctr(t.Context(), "-n", namespaceOf(client), "content", "ls", "-q")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, blob := range i.Blobs {
		if blob.Kind == "layer" && slices.Contains(lines(out), blob.Digest.String()) {
			n++
		}
	}
	return n
}

// wantFetched fails the test unless containerd fetched so many layers itself.
func wantFetched(t *testing.T, node *lab.Containerd, client lab.Client, i lab.Image, want int) {
	t.Helper()
	if got := fetched(t, node, client, i); got != want {
		t.Errorf("%s by %s: containerd fetched %d of %d layers itself, want %d", node.Host.Name, client, got, i.Layers, want)
	}
}

// wantEmptyDoor removes all images and fails the test if the node's door keeps anything.
func wantEmptyDoor(t *testing.T, node *lab.Containerd) {
	t.Helper()
	for _, namespace := range []string{"default", "k8s.io"} {
		out, err := node.Ctr(t.Context(), "-n", namespace, "images", "ls", "-q")
		if err != nil {
			t.Fatal(err)
		}
		for _, ref := range lines(out) {
			if _, err := node.Ctr(t.Context(), "-n", namespace, "images", "rm", "--sync", ref); err != nil {
				t.Error(err)
			}
		}
	}
	for _, client := range []lab.Client{lab.Ctr, lab.Crictl} {
		left, err := node.Snapshots(t.Context(), client, lab.Door)
		if err != nil {
			t.Fatal(err)
		}
		if len(left) > 0 {
			t.Errorf("%s: snapshots are left: %v", node.Host.Name, left)
		}
	}
	eventually(t, func() error {
		left, err := node.Host.DoorFolders()
		if err == nil && len(left) > 0 {
			err = fmt.Errorf("%s: folders are left: %v", node.Host.Name, left)
		}
		return err
	})
}

// TestDoorClients pulls an odd image with every client, on one node after the other:
// no node reads a layer from the registry, containerd fetches none, and the root
// file system is that of overlayfs. With darterd stopped the door fails at once and
// says why, and the same image is pulled into overlayfs, from the registry.
func TestDoorClients(t *testing.T) {
	s := newDoorSystem(t, lab.SystemOptions{Nodes: 2}, "nerdctl", "crictl")
	for _, client := range lab.Clients {
		t.Run(string(client), func(t *testing.T) {
			pushed := s.push(t, craft(t, odd(t, string(client))...), "lab/"+string(client)+":1")
			want := s.right(t, pushed)
			for _, node := range s.Nodes {
				if err := node.Pull(t.Context(), client, pushed.Ref); err != nil {
					t.Fatal(err)
				}
				wantFetched(t, node.Containerd, client, pushed, 0)
				wantRootfs(t, node.Containerd, client, pushed, want)
				wantBlobRequests(t, s.Registry, node.Host, false)
			}
			wantBlobRequests(t, s.Registry, s.Seed.Host, true)
			if err := s.Nodes[1].Remove(t.Context(), client, pushed.Ref); err != nil {
				t.Error(err)
			}
		})
	}
	for _, node := range s.Nodes {
		wantEmptyDoor(t, node.Containerd)
	}
	t.Run("darterd is stopped", func(t *testing.T) {
		node := s.Nodes[0]
		pushed := s.push(t, craft(t, odd(t, "stopped")...), "lab/stopped:1")
		node.Darterd.Kill()
		if err := node.Pull(t.Context(), lab.Ctr, pushed.Ref); err == nil {
			t.Error("a pull into the door passes without a door")
		} else {
			t.Logf("a pull into the door: %s", lastLine(err))
		}
		node.Snapshotter = "overlayfs"
		if err := node.Pull(t.Context(), lab.Ctr, pushed.Ref); err != nil {
			t.Fatal(err)
		}
		wantBlobRequests(t, s.Registry, node.Host, true)
	})
}

// TestDoorAtOnce pulls one image on all nodes at once, and two images that share
// layers on each.
func TestDoorAtOnce(t *testing.T) {
	s := newDoorSystem(t, lab.SystemOptions{Nodes: 2})
	one := s.push(t, craft(t, odd(t, "at once")...), "lab/one:1")
	two := s.push(t, craft(t, append(odd(t, "at once"), unlike(t, "two"))...), "lab/two:1")
	want := map[string]rootfs.Tree{one.Ref: s.right(t, one), two.Ref: s.right(t, two)}
	if err := s.Registry.Mark(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 2)
	for _, i := range []lab.Image{one, two} {
		go func() { ended <- pulls(s.PullAll(t.Context(), lab.Ctr, i.Ref, nil)) }()
	}
	for range 2 {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
	for _, node := range s.Nodes {
		for _, i := range []lab.Image{one, two} {
			wantFetched(t, node.Containerd, lab.Ctr, i, 0)
			wantRootfs(t, node.Containerd, lab.Ctr, i, want[i.Ref])
		}
		wantBlobRequests(t, s.Registry, node.Host, false)
		wantEmptyDoor(t, node.Containerd)
	}
}

// pulls is the first failure of many pulls.
func pulls(all []lab.Pulled) error {
	for _, p := range all {
		if p.Err != nil {
			return fmt.Errorf("%s: %w", p.Node.Host.Name, p.Err)
		}
	}
	return nil
}

// namespaceOf is where a client's images are in containerd.
func namespaceOf(client lab.Client) string {
	if client == lab.Crictl {
		return "k8s.io"
	}
	return "default"
}
