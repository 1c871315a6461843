package containerd

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/platforms"

	"github.com/darter-p2p/darter/integration/lab"
	"github.com/darter-p2p/darter/integration/lab/labtest"
	"github.com/darter-p2p/darter/plugin/dropin"
)

// nodeConfig is the main file of a containerd of the test's own, with more settings.
func nodeConfig(h *lab.Host, name string, version int, more string) string {
	grpc := `[grpc]
  address = "` + nodeSocket(h, name) + `"
`
	if version > 3 {
		grpc = `[plugins."io.containerd.server.v1.grpc"]
  address = "` + nodeSocket(h, name) + `"
[plugins."io.containerd.server.v1.ttrpc"]
  address = "` + nodeSocket(h, name) + `.ttrpc"
`
	}
	data := filepath.Join(h.Data, name)
	return fmt.Sprintf("version = %d\nroot = %q\nstate = %q\n\n%s", version, filepath.Join(data, "root"), filepath.Join(data, "state"), grpc) +
		`[plugins."io.containerd.internal.v1.opt"]
  path = "` + filepath.Join(data, "opt") + `"
[plugins."io.containerd.nri.v1.nri"]
  disable = true
` + more
}

func nodeSocket(h *lab.Host, name string) string { return filepath.Join(h.Dir, name+".sock") }

// stargzConfig is what a node has that uses stargz already, whose plugin is at a socket.
func stargzConfig(socket string) string {
	return `[proxy_plugins.stargz]
  type = "snapshot"
  address = "` + socket + `"
[[plugins."io.containerd.transfer.v1.local".unpack_config]]
  platform = "` + platforms.Format(platforms.DefaultSpec()) + `"
  snapshotter = "stargz"
[[plugins."io.containerd.transfer.v1.local".unpack_config]]
  platform = "` + platforms.Format(platforms.DefaultSpec()) + `"
  snapshotter = "overlayfs"
`
}

// TestInitVersions configures real containerds with main files of each version,
// starts them on the result, and takes everything away again.
func TestInitVersions(t *testing.T) {
	l := labtest.New(t, lab.Options{}, "containerd", "ctr")
	h, err := l.AddHost(t.Context(), "node", lab.Link{})
	if err != nil {
		t.Fatal(err)
	}
	current, err := lab.Tool("containerd")
	if err != nil {
		t.Fatal(err)
	}
	const transfer, images, oldCRI = "io.containerd.transfer.v1 local", "io.containerd.cri.v1 images", "io.containerd.grpc.v1 cri"
	const slow = "[plugins.\"io.containerd.grpc.v1.cri\"]\n  max_concurrent_downloads = 5\n"
	for _, test := range []struct {
		name    string
		binary  string
		version int
		more    string
		cri     bool
		loaded  []string // plugins
	}{
		{"v2", current, 2, "", false, []string{transfer, images}},
		{"v2cri", current, 2, slow, true, []string{transfer, images}},
		{"v3", current, 3, stargzConfig("/run/none.sock"), false, []string{transfer, images, "io.containerd.snapshotter.v1 stargz"}},
		{"v4", current, 4, "", false, []string{transfer, images}},
		{"v4cri", current, 4, "[plugins.\"io.containerd.cri.v1.images\"]\n  use_local_image_pull = true\n", true, []string{transfer, images}},
		{"debian", debianContainerd, 2, slow, true, []string{oldCRI}},
	} {
		t.Run(test.name, func(t *testing.T) {
			if test.binary == debianContainerd {
				skipUnlessOld(t)
			}
			etc := t.TempDir()
			o := initOptions(etc, test.binary)
			o.CRI, o.AllHosts = test.cri, true
			writeFile(t, etc, "config.toml", nodeConfig(h, test.name, test.version, test.more))
			writeFile(t, etc, "certs.d/registry.example/hosts.toml", "server = \"https://registry.example\"\n")
			before := everyFile(t, etc)
			if text := apply(t, o); text == "" {
				t.Error("init found nothing to do")
			}
			if text := apply(t, o); text != "" {
				t.Errorf("a second init is not without work:\n%s", text)
			}
			merged, err := dropin.Dump(t.Context(), test.binary, o.Config)
			if err != nil {
				t.Fatal(err)
			}
			if dirs := merged.CRIHostsDirs(); !slices.Equal(dirs, []string{o.HostsDir}) {
				t.Errorf("CRI looks for hosts.toml in %v", dirs)
			}
			if test.cri && (merged.CRISnapshotter() != dropin.Snapshotter || !merged.CRIAnnotates()) {
				t.Errorf("CRI has snapshotter %s, annotations %t", merged.CRISnapshotter(), merged.CRIAnnotates())
			}

			socket := nodeSocket(h, test.name)
			ctr := func(args ...string) (string, error) {
				return h.Output(t.Context(), append([]string{"ctr", "-a", socket}, args...)...)
			}
			process, err := h.Start(t.Context(), lab.Program{
				Name: "containerd-" + test.name, Argv: []string{test.binary, "--config", o.Config, "--log-level", "warn"},
				Ready: func(context.Context) error { _, err := ctr("version"); return err },
			})
			if err != nil {
				t.Fatal(err)
			}
			out, err := ctr("plugins", "ls")
			if err != nil {
				t.Fatal(err)
			}
			for _, plugin := range append(test.loaded, "io.containerd.snapshotter.v1 darter") {
				if !loaded(out, plugin) {
					t.Errorf("%s is not loaded:\n%s", plugin, out)
				}
			}
			if uses, err := dropin.InUse(t.Context(), socket); err != nil || len(uses) != 0 {
				// Nobody has asked for a snapshot: no namespace, or one without anything.
				t.Errorf("in use: %v, %v", uses, err)
			}
			process.Kill()

			removal, err := dropin.Remove(o.Kept, false)
			if err != nil {
				t.Fatal(err)
			}
			if err := removal.Apply(); err != nil {
				t.Fatal(err)
			}
			if after := everyFile(t, etc); after != before {
				t.Errorf("remove restores\n%s\nand there was\n%s", after, before)
			}
		})
	}
}

// debianContainerd is the machine's own, and not a tool of the tests.
const debianContainerd = "/usr/bin/containerd"

func skipUnlessOld(t *testing.T) {
	t.Helper()
	if version, err := dropin.Version(t.Context(), debianContainerd); err != nil || !strings.HasPrefix(version, "1.6.20") {
		t.Skipf("no containerd 1.6.20 at %s: %s %v", debianContainerd, version, err)
	}
}

// initOptions are those of a node whose configuration is below a directory.
func initOptions(etc, binary string) dropin.Options {
	o := dropin.Default()
	o.Config, o.Binary = filepath.Join(etc, "config.toml"), binary
	o.HostsDir, o.Kept = filepath.Join(etc, "certs.d"), filepath.Join(etc, "darter/containerd.before")
	return o
}

// apply runs init and returns the difference that it wrote.
func apply(t *testing.T, o dropin.Options) string {
	t.Helper()
	plan, err := dropin.Init(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if err := plan.Apply(o.Kept); err != nil {
		t.Fatal(err)
	}
	return plan.Diff()
}

func writeFile(t *testing.T, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o640); err != nil {
		t.Fatal(err)
	}
	return path
}

// everyFile is the bytes of all files below a directory.
func everyFile(t *testing.T, dir string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "find", dir, "-printf", "%p %M %U %T@ ", "(", "-type", "f", "-exec", "sha256sum", "{}", ";", "-o", "-printf", "\n", ")").CombinedOutput()
	if err != nil {
		t.Fatal(err, string(out))
	}
	var kept []string
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		if len(fields) > 3 && strings.HasPrefix(fields[1], "d") {
			fields[3] = "" // a directory's time is that of its last new name
		}
		kept = append(kept, strings.Join(fields, " "))
	}
	return strings.Join(kept, "\n")
}

// loaded reports whether ctr's list of plugins has one, by type and name, that is well.
func loaded(list, plugin string) bool {
	for line := range strings.Lines(list) {
		fields := strings.Fields(line)
		if len(fields) >= 3 && fields[0]+" "+fields[1] == plugin {
			return fields[len(fields)-1] == "ok"
		}
	}
	return false
}

// TestDumps sees that the merged configurations that plugin/dropin is tested with are
// what the real programs make of the files beside them.
func TestDumps(t *testing.T) {
	labtest.New(t, lab.Options{}, "containerd")
	current, err := lab.Tool("containerd")
	if err != nil {
		t.Fatal(err)
	}
	cases, err := filepath.Glob("../../plugin/dropin/testdata/cases/*/config.toml")
	if err != nil || len(cases) == 0 {
		t.Fatal("no cases", err)
	}
	for _, config := range cases {
		dir := filepath.Dir(config)
		if strings.HasSuffix(dir, "-1.7") || strings.HasSuffix(dir, "-2.0") {
			continue // recorded by 1.7.29 and 2.0.0 (config migrate), which the tests have not
		}
		t.Run(filepath.Base(dir), func(t *testing.T) {
			binary := current
			if strings.HasSuffix(dir, "1.6") {
				skipUnlessOld(t)
				binary = debianContainerd
			}
			cmd := exec.CommandContext(t.Context(), binary, "--config", "config.toml", "config", "dump")
			cmd.Dir = dir
			got, err := cmd.Output()
			if err != nil {
				t.Fatal(err)
			}
			want, err := os.ReadFile(filepath.Join(dir, "dump.toml"))
			if err != nil {
				t.Fatal(err)
			}
			if settings(got) != settings(want) {
				t.Errorf("%s now makes of it\n%s", binary, got)
			}
		})
	}
}

// settings leaves the imports out: 1.6 lists them in any order.
func settings(dump []byte) string {
	return strings.Join(slices.DeleteFunc(strings.Split(string(dump), "\n"), func(line string) bool {
		return strings.HasPrefix(line, "imports = ")
	}), "\n")
}
