package containerd

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/darter-p2p/darter/integration/lab"
	"github.com/darter-p2p/darter/integration/lab/labtest"
)

// TestDoorPrivateRegistry pulls from a registry that asks for a name and a password,
// which the node finds in its docker config. Who has none gets nothing.
func TestDoorPrivateRegistry(t *testing.T) {
	l := labtest.New(t, lab.Options{}, append([]string{"crictl"}, lab.SystemTools...)...)
	host, err := l.AddHost(t.Context(), "private", lab.Link{})
	if err != nil {
		t.Fatal(err)
	}
	registry, err := host.StartPrivateRegistry(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	credentials := filepath.Join(l.DataDir(), "docker.json")
	s := startDoorSystem(t, l, lab.SystemOptions{
		Nodes: 1, Registries: map[string]string{registry.Addr: "http://" + registry.Addr},
		Extra: fmt.Sprintf("[credentials]\ndocker_config = [%q]\n", credentials),
	})
	node := s.Nodes[0]
	for _, containerd := range []*lab.Containerd{node.Containerd, s.plain} {
		mirror := ""
		if containerd != s.plain {
			mirror = lab.Mirror
		}
		if err := containerd.UseMirror(registry.Addr, mirror); err != nil {
			t.Fatal(err)
		}
	}
	user := registry.User + ":" + registry.Password
	pushed := push(t, registry, craft(t, odd(t, "private")...), "lab/private:1")
	if err := node.Pull(t.Context(), lab.Crictl, pushed.Ref); err == nil {
		t.Error("a pull without a credential passes")
	}
	if err := node.Pull(t.Context(), lab.Crictl, pushed.Ref, "--creds", user); err != nil {
		t.Fatal(err)
	}
	t.Logf("the node has no credential: containerd fetched %d of %d layers itself", fetched(t, node.Containerd, lab.Crictl, pushed), pushed.Layers)
	mustRun(t, s.plain, lab.Ctr, "images", "pull", "--hosts-dir", s.plain.HostsDir, "--user", user, pushed.Ref)
	want, err := s.plain.Rootfs(t.Context(), lab.Ctr, "overlayfs", pushed.Ref)
	if err != nil {
		t.Fatal(err)
	}
	wantRootfs(t, node.Containerd, lab.Crictl, pushed, want)
	wantEmptyDoor(t, node.Containerd)

	text, err := json.Marshal(map[string]any{"auths": map[string]any{
		registry.Addr: map[string]string{"auth": base64.StdEncoding.EncodeToString([]byte(user))},
	}})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(credentials, text, 0o600); err != nil {
		t.Fatal(err)
	}
	other := push(t, registry, craft(t, odd(t, "more private")...), "lab/private:2")
	if err := node.Pull(t.Context(), lab.Crictl, other.Ref, "--creds", user); err != nil {
		t.Fatal(err)
	}
	wantFetched(t, node.Containerd, lab.Crictl, other, 0)
	wantEmptyDoor(t, node.Containerd)
}
