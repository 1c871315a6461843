package containerd

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	snapshotsapi "github.com/containerd/containerd/api/services/snapshots/v1"
	"github.com/containerd/containerd/v2/contrib/snapshotservice"
	"github.com/containerd/containerd/v2/plugins/snapshots/overlay"
	"google.golang.org/grpc"

	"github.com/darter-p2p/darter/integration/lab"
	"github.com/darter-p2p/darter/integration/lab/image"
	"github.com/darter-p2p/darter/integration/lab/labtest"
	"github.com/darter-p2p/darter/internal/serve/rpc"
	"github.com/darter-p2p/darter/plugin/doctor"
)

// TestInitLife is the life of darter on a node that uses stargz already, and whose CRI
// pulls by itself, by the programs alone: init shows, writes and restarts nothing;
// doctor finds nothing wrong; pulls of both snapshotters work, CRI's too; remove
// refuses and says how to drain, and what it says is enough; then every byte is as
// before, and stargz works on.
func TestInitLife(t *testing.T) {
	n := newInitNode(t)
	before := everyFile(t, n.etc)
	n.pull(t, "stargz", "before")

	init := []string{
		"init", "containerd", "--config", n.config, "--containerd", n.binary, "--address", n.socket, "--darterd-config", n.darterdConfig,
		"--hosts-dir", n.hosts, "--kept", filepath.Join(n.etc, "darter/containerd.before"), "--mirror-host", n.system.Registry.Addr,
	}
	out := n.darter(t, init...)
	if !strings.Contains(out, "+[proxy_plugins]") || !strings.Contains(out, "nothing was written") || everyFile(t, n.etc) != before {
		t.Errorf("without --yes init writes, or says\n%s", out)
	}
	n.wantDefaults(t)
	n.darter(t, append(init, "--yes")...)
	if out := n.darter(t, append(init, "--yes")...); !strings.Contains(out, "nothing to do") {
		t.Errorf("a second init says\n%s", out)
	}
	n.pull(t, "stargz", "between") // containerd has not been restarted
	n.restart(t)

	wantHealthy(t, n.doctor(t))
	n.pull(t, "stargz", "beside")
	n.pull(t, "darter", "caught")
	n.wantCaught(t, "default", "caught")
	wantBlobRequests(t, n.system.Registry, n.system.Seed.Host, true)
	n.ctr(t, "containers", "create", "--snapshotter", "darter", n.ref("caught"), "made-by-ctr")

	if out := n.darter(t, append(init, "--cri", "--yes")...); !strings.Contains(out, "max_concurrent_downloads = 5") {
		t.Errorf("init --cri does not say why CRI pulls by itself:\n%s", out)
	}
	written := everyFile(t, n.etc)
	n.restart(t)
	if _, err := n.host.Output(t.Context(), "crictl", "--config", "/dev/null", "-r", "unix://"+n.socket, "-i", "unix://"+n.socket, "pull", n.ref("cri")); err != nil {
		t.Fatal(err)
	}
	n.wantCaught(t, "k8s.io", "cri")

	out, err := n.try(append(init, "--remove", "--yes")...)
	if err == nil || !strings.Contains(out, "images rm --sync "+n.ref("caught")) || everyFile(t, n.etc) != written {
		t.Errorf("remove while snapshots exist: %v\n%s", err, out)
	}
	var commands strings.Builder
	for line := range strings.Lines(out) {
		if !strings.HasPrefix(line, "darter:") { // the error, behind the commands
			commands.WriteString(line)
		}
	}
	if _, err := n.host.Output(t.Context(), "sh", "-ec", commands.String()); err != nil {
		t.Fatalf("the commands that drain: %v\n%s", err, commands.String())
	}
	if calls, err := os.ReadFile(n.systemctl); err == nil {
		t.Errorf("systemctl was called: %s", calls)
	}
	n.darter(t, append(init, "--remove", "--yes", "--restart")...)
	if calls, err := os.ReadFile(n.systemctl); err != nil || string(calls) != "restart containerd\n" {
		t.Errorf("with --restart, systemctl was called with %q, %v", calls, err)
	}
	if after := everyFile(t, n.etc); after != before {
		t.Errorf("remove restores\n%s\nand there was\n%s", after, before)
	}
	n.restart(t)
	n.pull(t, "stargz", "after")
	if list := n.ctr(t, "plugins", "ls"); strings.Contains(list, " darter ") {
		t.Errorf("containerd still has the plugin:\n%s", list)
	}

	n.darterd.Kill()
	for _, f := range n.doctor(t) {
		if f.Level == doctor.OK && slices.Contains([]string{"darterd", "ports", "plugin configured", "plugin loaded", "plugin answers"}, f.Check) {
			t.Errorf("without darterd and its plugin doctor says %s", f)
		}
	}
}

// localPull makes CRI pull by itself.
const localPull = `[plugins."io.containerd.cri.v1.images"]
  max_concurrent_downloads = 5
`

// initNode is a node with darterd, and a containerd that knows stargz and not darter.
type initNode struct {
	system                     *lab.System
	host                       *lab.Host
	containerd                 *lab.Process
	darterd                    *lab.Darterd
	images                     map[string]lab.Image // by name
	binary, etc, config, hosts string
	socket                     string
	darterdConfig              string
	program                    string // darter
	systemctl                  string // file with the calls of a stand-in
	path                       string // PATH that has it
}

func newInitNode(t *testing.T) *initNode {
	t.Helper()
	l := labtest.New(t, lab.Options{}, append([]string{"crictl"}, lab.SystemTools...)...)
	s, err := l.StartSystem(t.Context(), lab.SystemOptions{})
	if err != nil {
		t.Fatal(err)
	}
	h, err := l.AddHost(t.Context(), "node", lab.Link{})
	if err != nil {
		t.Fatal(err)
	}
	darterd, err := s.Cluster.StartDarterd(t.Context(), h, lab.DarterdOptions{
		Scheduler: s.Scheduler.Addr, Registries: map[string]string{s.Registry.Addr: "http://" + s.Registry.Addr}, Door: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	n := &initNode{
		system: s, host: h, darterd: darterd, images: map[string]lab.Image{}, etc: filepath.Join(h.Dir, "etc"), socket: nodeSocket(h, "node"), darterdConfig: filepath.Join(h.Dir, "node.toml"),
		program: filepath.Join(os.Getenv(lab.BinEnv), "darter"), systemctl: filepath.Join(h.Dir, "systemctl.calls"),
	}
	n.hosts = filepath.Join(n.etc, "certs.d")
	if n.binary, err = lab.Tool("containerd"); err != nil {
		t.Fatal(err)
	}
	stargz := filepath.Join(h.Dir, "stargz.sock")
	serveSnapshotter(t, stargz, filepath.Join(h.Data, "stargz"))
	n.config = writeFile(t, n.etc, "config.toml", nodeConfig(h, "node", 3, stargzConfig(stargz)+localPull))
	writeFile(t, n.etc, "certs.d/"+strings.Replace(s.Registry.Addr, ":", "_", 1)+"_/hosts.toml", "server = \"http://"+s.Registry.Addr+"\"\n")
	standIn := writeFile(t, filepath.Join(h.Dir, "bin"), "systemctl", "#!/bin/sh\n[ \"$1\" = show ] || echo \"$@\" >> "+n.systemctl+"\n")
	if err := os.Chmod(standIn, 0o755); err != nil {
		t.Fatal(err)
	}
	n.path = "PATH=" + filepath.Dir(standIn) + ":" + os.Getenv("PATH")
	n.containerd, err = h.Start(t.Context(), lab.Program{
		Name: "containerd", Argv: []string{n.binary, "--config", n.config, "--log-level", "warn"},
		Ready: func(ctx context.Context) error {
			_, err := h.Output(ctx, "ctr", "-a", n.socket, "version")
			return err
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"before", "between", "beside", "caught", "cri", "after"} {
		if n.images[name], err = s.Registry.BuildAndPush(t.Context(), image.Recipe{Layers: 3, Bytes: 1 << 20, Compression: image.Gzip, Salt: name}, "lab/"+name+":1"); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Registry.Mark(); err != nil {
		t.Fatal(err)
	}
	return n
}

// serveSnapshotter serves containerd's own overlay snapshotter at a socket, as
// another plugin of a node.
func serveSnapshotter(t *testing.T, socket, root string) {
	t.Helper()
	sn, err := overlay.NewSnapshotter(root)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	snapshotsapi.RegisterSnapshotsServer(server, snapshotservice.FromSnapshotter(sn))
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- rpc.Serve(ctx, server, l, 0, nil) }()
	t.Cleanup(func() {
		stop()
		if err := errors.Join(<-served, sn.Close()); err != nil {
			t.Error(err)
		}
	})
}

func (n *initNode) ref(name string) string { return n.system.Registry.Addr + "/lab/" + name + ":1" }

// pull pulls an image that no one has pulled before into a snapshotter.
func (n *initNode) pull(t *testing.T, snapshotter, name string) {
	t.Helper()
	n.ctr(t, "images", "pull", "--hosts-dir", n.hosts, "--snapshotter", snapshotter, n.ref(name))
}

func (n *initNode) ctr(t *testing.T, args ...string) string {
	t.Helper()
	out, err := n.host.Output(t.Context(), append([]string{"ctr", "-a", n.socket}, args...)...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func (n *initNode) restart(t *testing.T) {
	t.Helper()
	if err := n.containerd.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// wantCaught fails the test unless an image is in darter's snapshotter, and
// containerd fetched none of its layers.
func (n *initNode) wantCaught(t *testing.T, namespace, name string) {
	t.Helper()
	if list := n.ctr(t, "-n", namespace, "snapshots", "--snapshotter", "darter", "ls"); len(strings.Split(strings.TrimSpace(list), "\n")) != 1+n.images[name].Layers {
		t.Errorf("the %d layers of %s are not in darter:\n%s", n.images[name].Layers, name, list)
	}
	content := lines(n.ctr(t, "-n", namespace, "content", "ls", "-q"))
	for _, blob := range n.images[name].Blobs {
		if blob.Kind == "layer" && slices.Contains(content, blob.Digest.String()) {
			t.Errorf("containerd fetched the layer %s of %s", blob.Digest, name)
		}
	}
}

// try runs darter on the node.
func (n *initNode) try(args ...string) (string, error) {
	return n.host.Output(context.Background(), append([]string{"env", n.path, n.program}, args...)...)
}

func (n *initNode) darter(t *testing.T, args ...string) string {
	t.Helper()
	out, err := n.try(args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// wantDefaults fails the test unless darter takes the same for a darterd without a
// file as for one with the file that darterd prints.
func (n *initNode) wantDefaults(t *testing.T) {
	t.Helper()
	text, err := n.host.Output(t.Context(), n.program+"d", "--print-default-config")
	if err != nil {
		t.Fatal(err)
	}
	printed := writeFile(t, n.host.Dir, "default.toml", text)
	init := []string{"init", "containerd", "--config", n.config, "--containerd", n.binary, "--hosts-dir", n.hosts, "--dry-run", "--darterd-config"}
	with, without := n.darter(t, append(init, printed)...), n.darter(t, append(init, "/none")...)
	if strings.ReplaceAll(with, printed, "/none") != without {
		t.Errorf("with darterd's defaults init does\n%s\nand without its file\n%s", with, without)
	}
}

// doctor returns what doctor finds.
func (n *initNode) doctor(t *testing.T) []doctor.Finding {
	t.Helper()
	out, err := n.try("doctor", "--config", n.config, "--containerd", n.binary, "--address", n.socket, "--darterd-config", n.darterdConfig,
		"--hosts-dir", n.hosts, "--kubelet-config", "/none", "--format", "json")
	var all []doctor.Finding
	if jsonErr := json.Unmarshal([]byte(out), &all); jsonErr != nil {
		t.Fatal(jsonErr, err, out)
	}
	return all
}

// wantHealthy fails the test unless all is well but what the lab has not.
func wantHealthy(t *testing.T, all []doctor.Finding) {
	t.Helper()
	if len(all) == 0 {
		t.Error("doctor says nothing")
	}
	for _, f := range all {
		if f.Level != doctor.OK && f.Check != "systemd" && f.Check != "Nydus images" { // those run on no lab node
			t.Errorf("doctor: %s; %s", f, f.Do)
		}
	}
}
