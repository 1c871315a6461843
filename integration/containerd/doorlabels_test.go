package containerd

import (
	"testing"

	"github.com/darter-p2p/darter/integration/lab"
)

// TestDoorWithoutTransferService pulls in the ways in which containerd does not use
// its transfer service, which tells the door what a layer is. All pulls work, and
// what the door did not catch came through darterd's mirror.
func TestDoorWithoutTransferService(t *testing.T) {
	s := newDoorSystem(t, lab.SystemOptions{}, "crictl")
	old := lab.NoDocker() == ""
	for _, c := range []struct {
		name    string
		options lab.ContainerdOptions
		client  lab.Client
		flags   []string
		caught  bool
	}{
		{name: "ctr pull --local", client: lab.Ctr, flags: []string{"--local"}},
		{name: "CRI use_local_image_pull", options: lab.ContainerdOptions{LocalPull: true}, client: lab.Crictl, caught: true},
		{name: "CRI of containerd 1.6", options: lab.ContainerdOptions{Debian: true}, client: lab.Crictl, caught: true},
		{name: "ctr of containerd 1.6", options: lab.ContainerdOptions{Debian: true}, client: lab.Ctr},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.options.Debian && !old {
				t.Skip(lab.NoDocker())
			}
			c.options.Door, c.options.CRI = true, lab.Door
			node, err := s.AddNode(t.Context(), c.options)
			if err != nil {
				t.Fatal(err)
			}
			pushed := s.push(t, craft(t, odd(t, c.name)...), "lab/labels:1")
			want := s.right(t, pushed)
			if err := node.Pull(t.Context(), c.client, pushed.Ref, c.flags...); err != nil {
				t.Fatal(err)
			}
			got := fetched(t, node.Containerd, c.client, pushed)
			t.Logf("containerd fetched %d of %d layers itself", got, pushed.Layers)
			if c.caught != (got == 0) {
				t.Errorf("caught: %t, want %t", got == 0, c.caught)
			}
			wantRootfs(t, node.Containerd, c.client, pushed, want)
			wantBlobRequests(t, s.Registry, node.Host, false)
			wantEmptyDoor(t, node.Containerd)
		})
	}
}
