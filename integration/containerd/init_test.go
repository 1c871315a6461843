package containerd

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/darter-p2p/darter/integration/lab"
	"github.com/darter-p2p/darter/integration/lab/labtest"
	"github.com/darter-p2p/darter/plugin/dropin"
)

// TestInit has the program darter configure a real containerd 2.4 which has a stargz
// plugin already, starts it on the result, and takes everything away again.
func TestInit(t *testing.T) {
	l := labtest.New(t, lab.Options{}, "containerd", "ctr")
	h, err := l.AddHost(t.Context(), "node", lab.Link{})
	if err != nil {
		t.Fatal(err)
	}
	etc := filepath.Join(h.Dir, "etc")
	socket := filepath.Join(h.Dir, "c.sock")
	binary, err := lab.Tool("containerd")
	if err != nil {
		t.Fatal(err)
	}
	config := writeFile(t, etc, "config.toml", `version = 3
root = "`+filepath.Join(h.Data, "c")+`"
state = "`+filepath.Join(h.Dir, "c")+`"

[grpc]
  address = "`+socket+`"
[plugins."io.containerd.internal.v1.opt"]
  path = "`+filepath.Join(h.Data, "opt")+`"
[plugins."io.containerd.nri.v1.nri"]
  disable = true
[proxy_plugins.stargz]
  type = "snapshot"
  address = "/run/none.sock"
[[plugins."io.containerd.transfer.v1.local".unpack_config]]
  platform = "linux/amd64"
  snapshotter = "stargz"
[[plugins."io.containerd.transfer.v1.local".unpack_config]]
  platform = "linux/amd64"
  snapshotter = "overlayfs"
`)
	writeFile(t, etc, "certs.d/registry.example/hosts.toml", "server = \"https://registry.example\"\n")
	before := everyFile(t, etc)
	o := dropin.Default()
	o.Config, o.Binary, o.HostsDir, o.Kept = config, binary, filepath.Join(etc, "certs.d"), filepath.Join(h.Dir, "before")
	o.AllHosts = true
	if text := apply(t, o); text == "" {
		t.Fatal("init found nothing to do")
	}
	if text := apply(t, o); text != "" {
		t.Errorf("a second init is not without work:\n%s", text)
	}

	ctr := func(args ...string) (string, error) {
		tool, err := lab.Tool("ctr")
		if err != nil {
			return "", err
		}
		out, err := exec.CommandContext(t.Context(), tool, append([]string{"-a", socket}, args...)...).CombinedOutput()
		return string(out), err
	}
	process, err := h.Start(t.Context(), lab.Program{
		Name: "containerd", Argv: []string{binary, "--config", config, "--log-level", "warn"},
		Ready: func(context.Context) error { _, err := ctr("version"); return err },
	})
	if err != nil {
		t.Fatal(err)
	}
	out, err := ctr("plugins", "ls")
	if err != nil {
		t.Fatal(err, out)
	}
	for _, want := range [][]string{
		{"io.containerd.snapshotter.v1", "darter", "ok"},
		{"io.containerd.snapshotter.v1", "stargz", "ok"},
		{"io.containerd.transfer.v1", "local", "ok"},
	} {
		if !hasLine(out, want) {
			t.Errorf("ctr plugins ls has no line %v:\n%s", want, out)
		}
	}
	if uses, err := dropin.InUse(t.Context(), socket); err != nil || len(uses) != 0 {
		// Nobody has asked for a snapshot, and no namespace exists.
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
}

// TestInitOld does the same with the machine's own containerd 1.x, which is not started.
func TestInitOld(t *testing.T) {
	const binary = "/usr/bin/containerd" // Debian's, and not a tool of the tests
	version, err := dropin.Version(t.Context(), binary)
	if err != nil || !strings.HasPrefix(version, "1.") {
		t.Skipf("no containerd 1.x at %s: %s %v", binary, version, err)
	}
	etc := t.TempDir()
	config := writeFile(t, etc, "config.toml", `version = 2
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "registry.example/pause:3.9"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
`)
	before := everyFile(t, etc)
	o := dropin.Default()
	o.Config, o.Binary, o.HostsDir, o.Kept, o.CRI = config, binary, filepath.Join(etc, "certs.d"), filepath.Join(etc, "darter/before"), true
	apply(t, o)
	merged, err := dropin.Dump(t.Context(), binary, config)
	if err != nil {
		t.Fatal(err)
	}
	if p, _ := merged.ProxyPlugin("darter"); p.Address != o.Socket {
		t.Errorf("the plugin is %+v", p)
	}
	if merged.CRISnapshotter() != "darter" || !merged.CRIAnnotates() || len(merged.CRIHostsDirs()) != 1 {
		t.Errorf("CRI has snapshotter %s, annotations %t, certs.d %v", merged.CRISnapshotter(), merged.CRIAnnotates(), merged.CRIHostsDirs())
	}
	if text := apply(t, o); text != "" {
		t.Errorf("a second init is not without work:\n%s", text)
	}
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

// hasLine reports whether a line begins with these words, others between them allowed.
func hasLine(text string, words []string) bool {
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) >= 3 && fields[0] == words[0] && fields[1] == words[1] && fields[len(fields)-1] == words[2] {
			return true
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
		t.Run(filepath.Base(dir), func(t *testing.T) {
			binary := current
			if strings.HasSuffix(dir, "1.6") {
				binary = "/usr/bin/containerd"
				if version, err := dropin.Version(t.Context(), binary); err != nil || !strings.HasPrefix(version, "1.6.20") {
					t.Skipf("no containerd 1.6.20 at %s: %s %v", binary, version, err)
				}
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
