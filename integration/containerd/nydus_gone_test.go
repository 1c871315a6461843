package containerd

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/darter-p2p/darter/integration/lab"
	"github.com/darter-p2p/darter/integration/lab/image"
)

// TestNydusBlobDeleted deletes a Nydus image's blobs at the registry, which keeps its
// manifest, when one node holds them all: another one starts a container and reads.
func TestNydusBlobDeleted(t *testing.T) {
	s := newLazySystem(t, lab.SystemOptions{Nodes: 2, Extra: "[auth]\npublic = '0s'\n"}, // whether it is public is asked each time
		quickFill, "nerdctl")
	const size = 3 << 20
	_, nydus := s.convert(t, craft(t, pack(t, image.Gzip, image.File("large", 0o644, noise(11, size)))), "life")
	run := func(node *lab.Node, args ...string) string {
		args = append([]string{"run", "--net", "none", "--cgroup-parent", "/" + s.Lab.ID()}, args...)
		return mustRun(t, node.Containerd, lab.Nerdctl, args...)
	}
	for _, node := range s.Nodes {
		mustRun(t, node.Containerd, lab.Nerdctl, "pull", nydus.Ref)
	}
	keeps := run(s.Nodes[0], "-d", nydus.Ref, "sleep", "600")
	eventually(t, func() error {
		mounts, err := s.rafs[0].Mounts(t.Context())
		if err == nil && (len(mounts) != 1 || !mounts[0].Complete()) {
			err = fmt.Errorf("not complete: %+v", mounts)
		}
		return err
	})
	wantHeld(t, s.Nodes[0].Darterd, nydus)

	client := http.Client{Transport: s.Registry.Host.Transport()}
	defer client.CloseIdleConnections()
	gone := map[string]bool{}
	for _, blob := range nydus.Blobs {
		if blob.Kind != "layer" || gone[blob.Digest.String()] {
			continue
		}
		gone[blob.Digest.String()] = true
		at := fmt.Sprintf("http://%s/v2/lab/life/blobs/%s", s.Registry.Addr, blob.Digest)
		r, err := http.NewRequestWithContext(t.Context(), http.MethodDelete, at, nil)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		if answer.StatusCode != http.StatusAccepted {
			t.Fatalf("DELETE %s: %s", at, answer.Status)
		}
	}
	s.Seed.Kill()
	if got := run(s.Nodes[1], "--rm", nydus.Ref, "sh", "-c", "cat /large | wc -c"); got != fmt.Sprint(size) {
		t.Errorf("the other node reads %q bytes", got)
	}
	mustRun(t, s.Nodes[0].Containerd, lab.Nerdctl, "rm", "-f", keeps)
	for _, node := range s.Nodes {
		wantNoMounts(t, node)
	}
}
