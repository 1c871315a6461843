package containerd

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/darter-p2p/darter/integration/lab"
	"github.com/darter-p2p/darter/integration/lab/image"
	"github.com/darter-p2p/darter/integration/lab/labtest"
)

// TestNydusPrivateLater pulls a private Nydus image with a password that the registry takes
// back later, as it does with every token after its time. What was filled needs nobody: not
// for the container that runs, and not for one that starts after a restart. Who never had
// a credential gets nothing.
func TestNydusPrivateLater(t *testing.T) {
	if reason := lab.NoLazy(); reason != "" {
		t.Skip(reason)
	}
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
	s := &lazySystem{doorSystem: startDoorSystem(t, l, lab.SystemOptions{
		Nodes: 2, Registries: map[string]string{registry.Addr: "http://" + registry.Addr},
		Extra: fmt.Sprintf("[credentials]\ndocker_config = [%q]\n", credentials),
	})}
	for _, node := range s.Nodes {
		if err := node.UseMirror(registry.Addr, lab.Mirror); err != nil {
			t.Fatal(err)
		}
		r, err := s.Cluster.StartRafs(t.Context(), node.Darterd, "[rafs.fill]\ndelay = '1ms'\nquiet = '1ms'\n")
		if err != nil {
			t.Fatal(err)
		}
		s.rafs = append(s.rafs, r)
	}
	node, stranger := s.Nodes[0], s.Nodes[1]
	push(t, s.Registry, craft(t), pause)
	const size = 3 << 20
	_, public := s.convert(t, craft(t, pack(t, image.Gzip, image.File("large", 0o644, noise(4, size)))), "life")
	tag, err := name.NewTag(public.Ref, name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	transport := s.Registry.Host.Transport()
	defer transport.CloseIdleConnections()
	made, err := remote.Image(tag, remote.WithContext(t.Context()), remote.WithTransport(transport))
	if err != nil {
		t.Fatal(err)
	}
	nydus, err := registry.Push(t.Context(), made, "lab/private:1")
	if err != nil {
		t.Fatal(err)
	}

	user := registry.User + ":" + registry.Password
	text, err := json.Marshal(map[string]any{"auths": map[string]any{
		registry.Addr: map[string]string{"auth": base64.StdEncoding.EncodeToString([]byte(user))},
	}})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(credentials, text, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := node.Pull(t.Context(), lab.Crictl, nydus.Ref, "--creds", user); err != nil {
		t.Fatal(err)
	}
	pod, container := runPod(t, node.Containerd, s.Lab.ID(), nydus.Ref)
	eventually(t, func() error {
		mounts, err := s.rafs[0].Mounts(t.Context())
		if err != nil {
			return err
		}
		if len(mounts) != 1 || !mounts[0].Complete() {
			return fmt.Errorf("not complete: %+v", mounts)
		}
		return nil
	})

	// The credential is gone, on the node and at the registry.
	if err := os.Remove(credentials); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(host.Dir, "htpasswd"), []byte("nobody:$2b$05$2idEs9hDbpPAJyN40vfB4e35WnX4ZcdBwrAhEcMjz8VYX5T8pr3QC\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	read := func(container, when string) {
		t.Helper()
		if got := mustRun(t, node.Containerd, lab.Crictl, "exec", "-s", container, "sh", "-c", "cat /large | wc -c"); got != fmt.Sprint(size) {
			t.Errorf("%s a container reads %q bytes", when, got)
		}
	}
	read(container, "when the credential is gone,")
	if err := node.Darterd.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	mustRun(t, node.Containerd, lab.Crictl, "rmp", "-f", pod)
	pod, container = runPod(t, node.Containerd, s.Lab.ID(), nydus.Ref)
	read(container, "started when the credential was gone,")

	if err := stranger.Pull(t.Context(), lab.Crictl, nydus.Ref); err == nil {
		t.Error("a node without a credential pulls it")
	}
	if err := stranger.Pull(t.Context(), lab.Crictl, nydus.Ref, "--creds", user); err == nil {
		t.Error("a credential that was taken back is good for a pull on another node")
	}
	mustRun(t, node.Containerd, lab.Crictl, "rmp", "-f", pod)
	wantNoMounts(t, node)
}
