package lab_test

import (
	"sync"
	"testing"
	"time"

	"github.com/darter-p2p/darter/integration/lab"
	"github.com/darter-p2p/darter/integration/lab/image"
	"github.com/darter-p2p/darter/integration/lab/labtest"
)

// small is an image that a test has time for.
var small = image.Recipe{Layers: 4, Bytes: 24 << 20, Compression: image.Gzip}

// registryWith starts a registry on a host of its own and pushes an image.
func registryWith(t *testing.T, l *lab.Lab, link lab.Link, recipe image.Recipe, names ...string) (*lab.Registry, lab.Image) {
	t.Helper()
	registry, err := hosts(t, l, link, "registry")[0].StartRegistry(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var pushed lab.Image
	for _, name := range names {
		if pushed, err = registry.BuildAndPush(t.Context(), recipe, name); err != nil {
			t.Fatal(err)
		}
	}
	if err := registry.Mark(); err != nil {
		t.Fatal(err)
	}
	return registry, pushed
}

// TestNodesDownloadFromTheRegistry downloads without unpacking, so that the
// links decide how long it takes.
func TestNodesDownloadFromTheRegistry(t *testing.T) {
	l := labtest.New(t, lab.Options{}, "containerd", "ctr", "docker-registry")
	const rate = 50 * lab.Mbit
	registry, pushed := registryWith(t, l, lab.Both(lab.Gbit), small, "lab/small:1")
	nodes := hosts(t, l, lab.Both(rate), "node1", "node2")
	before, since := counters(t, append(nodes, registry.Host)...), machine(t)
	seconds := make([]float64, len(nodes))
	var wg sync.WaitGroup
	for i, host := range nodes {
		node, err := host.StartContainerd(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := node.UseMirror(registry.Addr, ""); err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			start := time.Now()
			if _, err := node.Ctr(t.Context(), "content", "fetch", "--hosts-dir", node.HostsDir, pushed.Ref); err != nil {
				t.Error(err)
			}
			seconds[i] = time.Since(start).Seconds()
			if err := node.Verify(t.Context(), lab.Ctr, pushed); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	after := counters(t, append(nodes, registry.Host)...)
	size := float64(pushed.Bytes)
	for i, host := range nodes {
		received := float64(after[i].rx - before[i].rx)
		if received < size || received > 1.02*size {
			t.Errorf("%s received %.0f bytes for an image of %.0f", host.Name, received, size)
		}
		wantRate(t, since, received*8/seconds[i], rate)
		blobs, err := registry.BlobRequests(host)
		if err != nil {
			t.Fatal(err)
		}
		if len(blobs) != pushed.Layers+1 {
			t.Errorf("the registry's log has %d reads of blobs from %s, want %d: %v", len(blobs), host.Name, pushed.Layers+1, blobs)
		}
	}
	sent := float64(after[2].tx - before[2].tx)
	if sent < 2*size || sent > 2.04*size {
		t.Errorf("the registry sent %.0f bytes for two images of %.0f", sent, size)
	}
	t.Logf("%d bytes in %.2f and %.2f s; the registry sent %.4f of two images", pushed.Bytes, seconds[0], seconds[1], sent/(2*size))
}

func TestClientsPullVerifyAndRemove(t *testing.T) {
	l := labtest.New(t, lab.Options{}, "containerd", "ctr", "nerdctl", "crictl", "docker-registry")
	registry, pushed := registryWith(t, l, lab.Link{}, small, "lab/small:1")
	node, err := hosts(t, l, lab.Link{}, "node")[0].StartContainerd(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := node.UseMirror(registry.Addr, ""); err != nil {
		t.Fatal(err)
	}
	for _, client := range lab.Clients {
		t.Run(string(client), func(t *testing.T) {
			if err := registry.Mark(); err != nil {
				t.Fatal(err)
			}
			if err := node.Pull(t.Context(), client, pushed.Ref); err != nil {
				t.Fatal(err)
			}
			if err := node.Verify(t.Context(), client, pushed); err != nil {
				t.Error(err)
			}
			if err := node.Remove(t.Context(), client, pushed.Ref); err != nil {
				t.Fatal(err)
			}
			if err := node.Verify(t.Context(), client, pushed); err == nil {
				t.Error("the content is there after the image was removed")
			}
			blobs, err := registry.BlobRequests(node.Host)
			if err != nil || len(blobs) != pushed.Layers+1 {
				t.Errorf("%d reads of blobs, %v: the pull was not cold", len(blobs), err)
			}
		})
	}
}

func TestDockerPullsFromMirrors(t *testing.T) {
	if reason := lab.NoDocker(); reason != "" {
		t.Skip(reason)
	}
	l := labtest.New(t, lab.Options{}, "docker-registry")
	registry, pushed := registryWith(t, l, lab.Link{}, small, "library/small:1")
	host := hosts(t, l, lab.Link{}, "node")[0]
	// The first mirror is not there: docker takes the next.
	docker, err := host.StartDocker(t.Context(), "http://127.0.0.1:65001", "http://"+registry.Addr)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := docker.Docker(t.Context(), "pull", "small:1"); err != nil {
		t.Fatal(err)
	}
	if err := docker.Verify(t.Context(), "small:1", pushed); err != nil {
		t.Error(err)
	}
}
