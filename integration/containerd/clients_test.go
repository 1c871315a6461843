package containerd

import (
	"testing"

	"github.com/darter-p2p/darter/integration/lab"
	"github.com/darter-p2p/darter/integration/lab/labtest"
)

// TestClients pulls with every client, each an image of its own. Through darterd
// only the seed may read blobs from the registry; with darterd stopped the same
// pulls pass, and the nodes read them.
func TestClients(t *testing.T) {
	l := labtest.New(t, lab.Options{}, append([]string{"nerdctl", "crictl"}, lab.SystemTools...)...)
	s, _ := newSystem(t, l, lab.SystemOptions{Nodes: 1}, small)
	node := s.Nodes[0]
	for _, stopped := range []bool{false, true} {
		way := "through darterd"
		if stopped {
			way = "darterd is stopped"
			node.Darterd.Kill()
		}
		for _, client := range lab.Clients {
			t.Run(way+"/"+string(client), func(t *testing.T) {
				recipe := small
				recipe.Salt = string(client)
				pushed, err := s.Registry.BuildAndPush(t.Context(), recipe, "lab/"+string(client)+":1")
				if err != nil {
					t.Fatal(err)
				}
				if err := s.Registry.Mark(); err != nil {
					t.Fatal(err)
				}
				if err := node.Pull(t.Context(), client, pushed.Ref); err != nil {
					t.Fatal(err)
				}
				if err := node.Verify(t.Context(), client, pushed); err != nil {
					t.Error(err)
				}
				wantBlobRequests(t, s.Registry, node.Host, stopped)
				wantBlobRequests(t, s.Registry, s.Seed.Host, !stopped)
				if err := node.Remove(t.Context(), client, pushed.Ref); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

// TestDocker is the same for docker, whose second mirror is the registry itself.
func TestDocker(t *testing.T) {
	if reason := lab.NoDocker(); reason != "" {
		t.Skip(reason)
	}
	l := labtest.New(t, lab.Options{}, lab.SystemTools...)
	s, _ := newSystem(t, l, lab.SystemOptions{Nodes: 1}, small)
	node := s.Nodes[0]
	docker, err := node.Host.StartDocker(t.Context(), lab.Mirror, "http://"+s.Registry.Addr)
	if err != nil {
		t.Fatal(err)
	}
	pushed, err := s.Registry.BuildAndPush(t.Context(), small, "library/small:1")
	if err != nil {
		t.Fatal(err)
	}
	for _, stopped := range []bool{false, true} {
		if stopped {
			node.Darterd.Kill()
		}
		if err := s.Registry.Mark(); err != nil {
			t.Fatal(err)
		}
		if _, err := docker.Docker(t.Context(), "pull", "small:1"); err != nil {
			t.Fatal(err)
		}
		if err := docker.Verify(t.Context(), "small:1", pushed); err != nil {
			t.Error(err)
		}
		wantBlobRequests(t, s.Registry, node.Host, stopped)
		wantBlobRequests(t, s.Registry, s.Seed.Host, !stopped)
		if _, err := docker.Docker(t.Context(), "rmi", "small:1"); err != nil {
			t.Error(err)
		}
	}
}

// TestCraneValidates reads a whole image through the mirror and checks every size and digest.
func TestCraneValidates(t *testing.T) {
	l := labtest.New(t, lab.Options{}, append([]string{"crane"}, lab.SystemTools...)...)
	s, _ := newSystem(t, l, lab.SystemOptions{Nodes: 1}, small)
	node := s.Nodes[0]
	if _, err := node.Host.Output(t.Context(), "crane", "validate", "--insecure", "--remote", "127.0.0.1:65001/lab/image:1"); err != nil {
		t.Error(err)
	}
	wantBlobRequests(t, s.Registry, node.Host, false)
	wantBlobRequests(t, s.Registry, s.Seed.Host, true)
}
