package containerd

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/darter-p2p/darter/integration/lab"
)

// TestDoorNerdctl uses an image of the door as people use images: run, change,
// commit, push, save, remove.
func TestDoorNerdctl(t *testing.T) {
	s := newDoorSystem(t, lab.SystemOptions{Nodes: 2}, "nerdctl")
	node := s.Nodes[0]
	pushed := s.push(t, craft(t, odd(t, "nerdctl")...), "lab/life:1")
	nerdctl := func(args ...string) string { return mustRun(t, node.Containerd, lab.Nerdctl, args...) }
	nerdctl("pull", pushed.Ref)
	wantFetched(t, node.Containerd, lab.Nerdctl, pushed, 0)

	nerdctl("run", "-d", "--name", "one", "--net", "none", "--cgroup-parent", "/"+s.Lab.ID(), pushed.Ref)
	if got := nerdctl("exec", "one", "cat", "/odd/kept"); got != "kept by nerdctl" {
		t.Errorf("the container reads %q", got)
	}
	nerdctl("exec", "one", "sh", "-c", "echo changed >/odd/changed")

	// Once pushed, an image must be whole in the registry: another node, that
	// never saw the first image, runs the new one.
	committed := s.Registry.Addr + "/lab/committed:1"
	nerdctl("commit", "one", committed)
	nerdctl("push", committed)
	second := s.Nodes[1]
	mustRun(t, second.Containerd, lab.Nerdctl, "pull", committed)
	mustRun(t, second.Containerd, lab.Nerdctl, "run", "-d", "--name", "two", "--net", "none", "--cgroup-parent", "/"+s.Lab.ID(), committed)
	if got := mustRun(t, second.Containerd, lab.Nerdctl, "exec", "two", "cat", "/odd/changed", "/odd/kept"); got != "changed\nkept by nerdctl" {
		t.Errorf("the committed image has %q", got)
	}

	archive := filepath.Join(node.Host.Data, "saved.tar")
	nerdctl("save", "-o", archive, pushed.Ref)
	wantLoads(t, s.plain, archive, pushed)

	nerdctl("rm", "-f", "one")
	nerdctl("rmi", committed, pushed.Ref)
	mustRun(t, second.Containerd, lab.Nerdctl, "rm", "-f", "two")
	mustRun(t, second.Containerd, lab.Nerdctl, "rmi", committed)
	for _, node := range s.Nodes {
		wantEmptyDoor(t, node.Containerd)
	}
}

// wantLoads loads an archive of an image into a containerd without darter and fails
// the test unless the image is whole there.
func wantLoads(t *testing.T, node *lab.Containerd, archive string, want lab.Image) {
	t.Helper()
	mustRun(t, node, lab.Ctr, "images", "import", archive)
	for _, blob := range want.Blobs {
		if blob.Kind != "layer" {
			continue
		}
		if _, err := node.Ctr(t.Context(), "content", "get", blob.Digest.String()); err != nil {
			t.Errorf("the archive lacks %s: %v", blob.Digest, lastLine(err))
		}
	}
}

// TestDoorCtr does the same with ctr, whose export does not fetch what containerd
// lacks: `ctr content fetch` does.
func TestDoorCtr(t *testing.T) {
	s := newDoorSystem(t, lab.SystemOptions{Nodes: 1})
	node := s.Nodes[0]
	pushed := s.push(t, craft(t, odd(t, "ctr")...), "lab/life:1")
	ctr := func(args ...string) string { return mustRun(t, node.Containerd, lab.Ctr, args...) }
	if err := node.Pull(t.Context(), lab.Ctr, pushed.Ref); err != nil {
		t.Fatal(err)
	}
	wantFetched(t, node.Containerd, lab.Ctr, pushed, 0)
	ctr("run", "-d", "--snapshotter", lab.Door, "--cgroup", "/"+s.Lab.ID()+"/one", pushed.Ref, "one")
	if got := ctr("tasks", "exec", "--exec-id", "e", "one", "cat", "/odd/kept"); got != "kept by ctr" {
		t.Errorf("the container reads %q", got)
	}
	ctr("tasks", "kill", "--signal", "KILL", "one")
	eventually(t, func() error {
		_, err := node.Ctr(t.Context(), "containers", "rm", "one")
		return err
	})

	again := s.Registry.Addr + "/lab/again:1"
	ctr("images", "tag", pushed.Ref, again)
	ctr("images", "push", "--plain-http", again)

	archive := filepath.Join(node.Host.Data, "exported.tar")
	if _, err := node.Ctr(t.Context(), "images", "export", archive, pushed.Ref); err == nil {
		t.Error("ctr exports an image whose layers containerd does not have; say so in the documents")
	} else {
		t.Logf("ctr images export: %s", lastLine(err))
	}
	ctr("content", "fetch", "--hosts-dir", node.HostsDir, pushed.Ref)
	ctr("images", "export", archive, pushed.Ref)
	wantLoads(t, s.plain, archive, pushed)
	wantBlobRequests(t, s.Registry, node.Host, false) // all that was fetched came through darterd
	wantEmptyDoor(t, node.Containerd)
}

// TestDoorCRI runs a pod as the kubelet does.
func TestDoorCRI(t *testing.T) {
	s := newDoorSystem(t, lab.SystemOptions{Nodes: 1}, "crictl")
	node := s.Nodes[0]
	push(t, s.Registry, craft(t), pause)
	pushed := s.push(t, craft(t, odd(t, "cri")...), "lab/life:1")
	crictl := func(args ...string) string { return mustRun(t, node.Containerd, lab.Crictl, args...) }
	crictl("pull", pushed.Ref)
	wantFetched(t, node.Containerd, lab.Crictl, pushed, 0)
	pod, container := runPod(t, node.Containerd, s.Lab.ID(), pushed.Ref)
	if got := crictl("exec", "-s", container, "cat", "/odd/kept"); got != "kept by cri" {
		t.Errorf("the container reads %q", got)
	}
	if got := crictl("imagefsinfo"); !strings.Contains(got, "snapshots") || !strings.Contains(got, node.Host.Data) {
		t.Errorf("CRI does not report the door's folder as its image file system: %s", got)
	}
	crictl("rmp", "-f", pod)
	crictl("rmi", pushed.Ref)
	wantBlobRequests(t, s.Registry, node.Host, false)
	wantEmptyDoor(t, node.Containerd)
}

// runPod starts a pod with one container in the host's network.
func runPod(t *testing.T, node *lab.Containerd, cgroup, ref string) (pod, container string) {
	t.Helper()
	podFile := writeJSON(t, node.Host, "pod.json", map[string]any{
		"metadata": map[string]any{"name": "pod", "namespace": "lab", "uid": "1", "attempt": 1},
		"linux": map[string]any{
			"cgroup_parent":    "/" + cgroup,
			"security_context": map[string]any{"namespace_options": map[string]any{"network": 2}},
		},
	})
	containerFile := writeJSON(t, node.Host, "container.json", map[string]any{
		"metadata": map[string]any{"name": "container"}, "image": map[string]any{"image": ref},
	})
	pod = mustRun(t, node, lab.Crictl, "runp", podFile)
	container = mustRun(t, node, lab.Crictl, "create", pod, containerFile, podFile)
	mustRun(t, node, lab.Crictl, "start", container)
	return pod, container
}

// writeJSON writes a file into a host's folder and returns its path.
func writeJSON(t *testing.T, host *lab.Host, name string, value any) string {
	t.Helper()
	text, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(host.Dir, name)
	if err := os.WriteFile(path, text, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// mustRun runs a client and returns what it printed, without spaces at the end.
func mustRun(t *testing.T, node *lab.Containerd, client lab.Client, args ...string) string {
	t.Helper()
	out, err := node.Run(context.WithoutCancel(t.Context()), client, args...)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(out)
}
