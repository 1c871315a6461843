package containerd

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/darter-p2p/darter/integration/lab"
	"github.com/darter-p2p/darter/integration/lab/image"
	"github.com/darter-p2p/darter/integration/lab/rootfs"
)

const preferNydus = `prefer_nydus = ["*"]`

// besides makes an index of a crafted image and a Nydus image of it, and returns the
// ordinary one.
func (s *lazySystem) besides(t *testing.T, c image.Crafted, name string) lab.Image {
	t.Helper()
	ordinary := push(t, s.Registry, c, "lab/"+name+":1")
	if _, err := s.Cluster.Convert(t.Context(), s.Registry, ordinary.Ref, "lab/"+name+":1", "--beside"); err != nil {
		t.Fatal(err)
	}
	return ordinary
}

// wantUnread fails the test if anybody read a layer of the image at the registry.
func (s *lazySystem) wantUnread(t *testing.T, i lab.Image) {
	t.Helper()
	requests, err := s.Registry.Requests()
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range requests {
		for _, blob := range i.Blobs {
			if blob.Kind == "layer" && r.IsBlobRead() && strings.Contains(r.Path, blob.Digest.String()) {
				t.Errorf("%s read the ordinary layer %s", r.From, blob.Digest)
			}
		}
	}
}

// TestNydusBeside pulls an image by every client whose index has a Nydus image of it:
// none of its layers is read, and its root file system is right. An image with the same
// base has all its files.
func TestNydusBeside(t *testing.T) {
	s := newLazySystem(t, lab.SystemOptions{Nodes: 1, DoorExtra: preferNydus + "\n" + forgetSoon}, "", "nerdctl", "crictl")
	node := s.Nodes[0]
	push(t, s.Registry, craft(t), pause)
	shared := append(odd(t, "beside"), pack(t, image.Gzip, image.File("large", 0o644, noise(1, 3<<20))))
	ordinary := s.besides(t, craft(t, append(shared, pack(t, image.Gzip, image.File("own", 0o644, "of it")))...), "beside")
	sibling := push(t, s.Registry, craft(t, append(shared, pack(t, image.Gzip, image.File("own", 0o644, "of another")))...), "lab/sibling:1")
	want, other := s.right(t, ordinary), s.right(t, sibling)
	if err := s.Registry.Mark(); err != nil {
		t.Fatal(err)
	}
	for _, client := range lab.Clients {
		if err := node.Pull(t.Context(), client, ordinary.Ref); err != nil {
			t.Fatal(err)
		}
		wantFetched(t, node.Containerd, client, ordinary, 0)
		got, err := node.Rootfs(t.Context(), client, lab.Door, ordinary.Ref)
		if err != nil {
			t.Fatal(err)
		}
		if err := rootfs.Compare(timeless(got, want), timeless(want, want)); err != nil {
			t.Errorf("%s: the root file system is not that of the ordinary image:\n%v", client, err)
		}
	}
	s.wantUnread(t, ordinary)

	if err := node.Pull(t.Context(), lab.Ctr, sibling.Ref); err != nil {
		t.Fatal(err)
	}
	got, err := node.Rootfs(t.Context(), lab.Ctr, lab.Door, sibling.Ref)
	if err != nil {
		t.Fatal(err)
	}
	if err := rootfs.Compare(timeless(got, other), timeless(other, other)); err != nil {
		t.Errorf("an image with the same base:\n%v", err)
	}
	mustRun(t, node.Containerd, lab.Nerdctl, "run", "-d", "--name", "one", "--net", "none", "--cgroup-parent", "/"+s.Lab.ID(), ordinary.Ref)
	if got := mustRun(t, node.Containerd, lab.Nerdctl, "exec", "one", "cat", "/own"); got != "of it" {
		t.Errorf("a container reads %q", got)
	}
	mustRun(t, node.Containerd, lab.Nerdctl, "rm", "-f", "one")
	wantNoMounts(t, node)
	wantEmptyDoor(t, node.Containerd)
}

// TestNydusModes mounts by loop devices, and not at all: then a Nydus image is refused in
// words, and the ordinary one beside it is used.
func TestNydusModes(t *testing.T) {
	s := newLazySystem(t, lab.SystemOptions{Nodes: 1, DoorExtra: preferNydus + "\n" + forgetSoon}, "[rafs.mount]\nmode = 'loop'\n")
	node := s.Nodes[0]
	c := craft(t, pack(t, image.Gzip, image.File("large", 0o644, noise(2, 2<<20))))
	_, nydus := s.convert(t, c, "modes")
	beside := s.besides(t, c, "beside")
	want := s.right(t, beside)
	if err := s.Registry.Mark(); err != nil {
		t.Fatal(err)
	}
	for _, i := range []lab.Image{nydus, beside} {
		if err := node.Pull(t.Context(), lab.Ctr, i.Ref); err != nil {
			t.Fatal(err)
		}
		got, err := node.Rootfs(t.Context(), lab.Ctr, lab.Door, i.Ref)
		if err != nil {
			t.Fatal(err)
		}
		if err := rootfs.Compare(timeless(got, want), timeless(want, want)); err != nil {
			t.Errorf("by loop devices:\n%v", err)
		}
	}
	s.wantUnread(t, beside)
	wantNoMounts(t, node)
	eventually(t, func() error { return noLoops(node.Host.Data) })
	wantEmptyDoor(t, node.Containerd)

	s.rafs[0].Kill()
	var err error
	if s.rafs[0], err = s.Cluster.StartRafs(t.Context(), node.Darterd, "[rafs.mount]\nmode = 'off'\n"); err != nil {
		t.Fatal(err)
	}
	if err := node.Pull(t.Context(), lab.Ctr, nydus.Ref); err == nil || !strings.Contains(err.Error(), "cannot mount") {
		t.Errorf("on a node that mounts nothing: %v", err)
	}
	if err := node.Pull(t.Context(), lab.Ctr, beside.Ref); err != nil {
		t.Fatal(err)
	}
	wantRootfs(t, node.Containerd, lab.Ctr, beside, want)
	wantEmptyDoor(t, node.Containerd)
}

// noLoops is an error where a loop device has a file below dir.
func noLoops(dir string) error {
	all, err := filepath.Glob("/sys/block/loop*/loop/backing_file")
	if err != nil {
		return err
	}
	for _, path := range all {
		if b, err := os.ReadFile(path); err == nil && strings.HasPrefix(string(b), dir+"/") {
			return fmt.Errorf("%s is %s", path, strings.TrimSpace(string(b)))
		}
	}
	return nil
}
