package dropin

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/pelletier/go-toml/v2"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fake merges files as containerd 2.4 does, over the defaults of a real one, or as
// 2.0, whose dump does not migrate.
type fake struct {
	defaults string // a dump
	old      bool
}

func (f *fake) run(_ context.Context, args ...string) ([]byte, error) {
	tree, err := decode([]byte(f.defaults))
	if err != nil {
		return nil, err
	}
	if len(args) == 4 && args[0] == "--config" {
		all, err := view{}.sources(args[1])
		if err != nil {
			return nil, err
		}
		for _, s := range all {
			mergeInto(tree, s.tree)
		}
	}
	if !f.old {
		tree["version"] = int64(4)
		return toml.Marshal(tree)
	}
	if args[len(args)-1] == "migrate" && versionOf(tree) == 2 {
		path, _ := get[string](tree, "plugins", criPlugin2, "registry", "config_path")
		put(tree, path, "plugins", criPlugin3, "registry", "config_path")
		if old, _ := get[map[string]any](tree, "plugins", criPlugin2, "containerd"); old["runtimes"] != nil && old["snapshotter"] != nil {
			put(tree, old["snapshotter"], "plugins", criPlugin3, "snapshotter")
		}
		put(tree, map[string]any{}, "plugins", criPlugin2)
	}
	tree["version"] = int64(3)
	return toml.Marshal(tree)
}

func mergeInto(to, from map[string]any) {
	for k, v := range from {
		old, ok := to[k].(map[string]any)
		if t, is := v.(map[string]any); is && ok {
			mergeInto(old, t)
			continue
		}
		to[k] = v
	}
}

// node is a node's /etc in a directory of the test.
type node struct {
	dir        string
	o          Options
	containerd *fake
}

// newNode makes one of files by path below /etc.
func newNode(t *testing.T, files map[string]string) *node {
	t.Helper()
	defaults, err := os.ReadFile("testdata/cases/plain-4/dump.toml")
	if err != nil {
		t.Fatal(err)
	}
	n := &node{dir: t.TempDir(), o: Default(), containerd: &fake{defaults: string(defaults)}}
	n.o.program = n.containerd.run
	n.o.Config = filepath.Join(n.dir, "containerd/config.toml")
	n.o.HostsDir = filepath.Join(n.dir, "containerd/certs.d")
	n.o.Kept = filepath.Join(n.dir, "darter/containerd.before")
	for path, text := range files {
		n.write(t, path, text)
	}
	return n
}

func (n *node) write(t *testing.T, path, text string) {
	t.Helper()
	path = filepath.Join(n.dir, path)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(strings.ReplaceAll(text, "ETC", n.dir)), 0o640); err != nil {
		t.Fatal(err)
	}
	old := time.Now().Add(-time.Hour)
	if err := os.Chtimes(path, old, old); err != nil {
		t.Fatal(err)
	}
}

func (n *node) init(t *testing.T) *Plan {
	t.Helper()
	p, err := Init(t.Context(), n.o)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func (n *node) apply(t *testing.T) {
	t.Helper()
	if err := n.init(t).Apply(n.o.Kept); err != nil {
		t.Fatal(err)
	}
	if again := n.init(t); len(again.Changes) > 0 {
		t.Errorf("a second init is not without work:\n%s", again.Diff())
	}
}

func (n *node) remove(t *testing.T) {
	t.Helper()
	r, err := Remove(n.o.Kept, false)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Apply(); err != nil {
		t.Fatal(err)
	}
}

// tree describes every file and directory: mode, time and bytes.
func (n *node) tree(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(n.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil || path == n.dir {
			return err
		}
		fmt.Fprintf(&b, "%s %v", path, info.Mode())
		if d.Type().IsRegular() {
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			fmt.Fprintf(&b, " %v %q", info.ModTime(), text)
		}
		b.WriteByte('\n')
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func (n *node) read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(n.dir, path))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

const stargz = `version = 4
imports = ["conf.d/*.toml"]
[proxy_plugins.stargz]
  type = "snapshot"
  address = "/run/stargz.sock"
[[plugins."io.containerd.transfer.v1.local".unpack_config]]
  platform = "linux/amd64"
  snapshotter = "stargz"
`

func TestInitAndRemove(t *testing.T) {
	for _, test := range []struct {
		name  string
		files map[string]string
		cri   bool
		all   bool
		hosts []string
		want  map[string][]string // path → texts that it holds after init
	}{
		{name: "empty node", want: map[string][]string{
			"containerd/config.toml":                 {"version = 4\nimports = [\"ETC/containerd/conf.d/*.toml\"]\n"},
			"containerd/conf.d/zz-darter.toml":       {"[proxy_plugins.darter]", "snapshotter = 'overlayfs'", "snapshotter = 'erofs'", "snapshotter = 'darter'", "config_path = 'ETC/containerd/certs.d'"},
			"containerd/certs.d/_default/hosts.toml": {"127.0.0.1:65001"},
		}},
		{name: "stargz", files: map[string]string{"containerd/config.toml": stargz, "containerd/conf.d/a.toml": "version = 4\n"}, want: map[string][]string{
			"containerd/conf.d/zz-darter.toml": {"snapshotter = 'stargz'", "snapshotter = 'darter'"},
		}},
		{name: "no imports, files unread so far", files: map[string]string{"containerd/config.toml": "version = 3\n", "containerd/conf.d/old.toml": "version = 3\noom_score = 7\n"}, want: map[string][]string{
			"containerd/config.toml": {"imports = [\"ETC/containerd/conf.d/zz-darter*.toml\"]"},
		}},
		{name: "cri", cri: true, files: map[string]string{"containerd/config.toml": "version = 3\n[plugins.'io.containerd.cri.v1.images']\nmax_concurrent_downloads = 9\n"}, want: map[string][]string{
			"containerd/conf.d/zz-darter.toml": {"snapshotter = 'darter'", "disable_snapshot_annotations = false"},
		}},
		{name: "registries of their own", hosts: []string{"r.example:5000"}, files: map[string]string{
			"containerd/config.toml":       "version = 4\n[plugins.'io.containerd.cri.v1.images'.registry]\nconfig_path = 'ETC/x:ETC/y'\n",
			"x/r.example_5000_/hosts.toml": "server = 'https://r.example:5000'",
			"x/other.example/hosts.toml":   "server = 'https://other.example'\n",
		}, want: map[string][]string{
			"x/_default/hosts.toml":        {"127.0.0.1:65001"},
			"x/r.example_5000_/hosts.toml": {"server = 'https://r.example:5000'\n\n[host."},
			"x/other.example/hosts.toml":   {"server = 'https://other.example'\n"},
		}},
		{name: "later directories are not hidden", all: true, files: map[string]string{
			"containerd/config.toml": "version = 4\n[plugins.'io.containerd.cri.v1.images'.registry]\nconfig_path = 'ETC/x:ETC/y'\n",
			"y/r.example/hosts.toml": "[host.'https://c.example']\n",
		}, want: map[string][]string{
			"y/_default/hosts.toml":  {"127.0.0.1:65001"},
			"y/r.example/hosts.toml": {"[host.\"http://127.0.0.1:65001\"]", "[host.'https://c.example']"},
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			n := newNode(t, test.files)
			n.o.CRI, n.o.AllHosts, n.o.Hosts = test.cri, test.all, test.hosts
			before := n.tree(t)
			n.apply(t)
			for path, texts := range test.want {
				got := n.read(t, path)
				for _, want := range texts {
					if !strings.Contains(got, strings.ReplaceAll(want, "ETC", n.dir)) {
						t.Errorf("%s does not hold %q:\n%s", path, want, got)
					}
				}
			}
			n.remove(t)
			if after := n.tree(t); after != before {
				t.Errorf("remove does not restore everything:\n%s", diff("tree", []byte(before), []byte(after)))
			}
			r, err := Remove(n.o.Kept, false)
			if err != nil || !r.Empty() {
				t.Errorf("a second remove: %v", err)
			}
		})
	}
}

// TestInitAgain changes the options of a node that has darter already.
func TestInitAgain(t *testing.T) {
	n := newNode(t, map[string]string{"containerd/config.toml": stargz})
	before := n.tree(t)
	n.apply(t)
	n.o.CRI, n.o.Socket = true, "/run/other.sock"
	n.apply(t)
	if got := n.read(t, "containerd/conf.d/zz-darter.toml"); !strings.Contains(got, "/run/other.sock") || !strings.Contains(got, "config_path") {
		t.Errorf("the second drop-in is\n%s", got)
	}
	n.o.CRI = false
	n.apply(t)
	n.remove(t)
	if after := n.tree(t); after != before {
		t.Errorf("remove does not restore everything:\n%s", diff("tree", []byte(before), []byte(after)))
	}
}

// TestInitMigrates has a main file of version 2 under containerd 2.0, which merges
// first and migrates then: a drop-in of version 3 would keep it from that.
func TestInitMigrates(t *testing.T) {
	n := newNode(t, map[string]string{"containerd/config.toml": "version = 2\n"})
	n.containerd.old, n.o.CRI = true, true
	n.apply(t)
	if got := n.read(t, "containerd/conf.d/zz-darter.toml"); !strings.Contains(got, "version = 2\n") || !strings.Contains(got, criPlugin2) {
		t.Errorf("the drop-in is\n%s", got)
	}
}

func TestInitRefuses(t *testing.T) {
	for _, test := range []struct {
		name  string
		files map[string]string
		is    func(error) bool
		want  string
	}{
		{"a file that is read later", map[string]string{
			"containerd/config.toml": "version = 4\nimports = ['conf.d/*.toml', 'last.toml']\n",
			"containerd/last.toml":   "version = 4\n[[plugins.'io.containerd.transfer.v1.local'.unpack_config]]\nplatform = 'linux/amd64'\nsnapshotter = 'overlayfs'\n",
		}, errdefs.IsFailedPrecondition, `unpack_config has no "darter"`},
		{"inline hosts", map[string]string{"containerd/certs.d/_default/hosts.toml": "host = {}\n"}, errdefs.IsFailedPrecondition, "by hand"},
		{"no TOML", map[string]string{"containerd/config.toml": "version = = 2\n"}, errdefs.IsInvalidArgument, "config.toml"},
		{"an import that is missing", map[string]string{"containerd/config.toml": "version = 4\nimports = ['gone.toml']\n"}, errdefs.IsNotFound, "gone.toml"},
	} {
		t.Run(test.name, func(t *testing.T) {
			n := newNode(t, test.files)
			before := n.tree(t)
			_, err := Init(t.Context(), n.o)
			if err == nil || !test.is(err) || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want %q", err, test.want)
			}
			if after := n.tree(t); after != before {
				t.Error("something was written")
			}
		})
	}
	n := newNode(t, nil)
	n.o.Binary, n.o.program = filepath.Join(n.dir, "none"), nil
	if _, err := Init(context.Background(), n.o); !errdefs.IsNotFound(err) {
		t.Errorf("no containerd: %v", err)
	}
}

func TestRemoveRefusesWhatChanged(t *testing.T) {
	n := newNode(t, map[string]string{"containerd/config.toml": "version = 4\n"})
	before := n.tree(t)
	n.apply(t)
	changed := n.read(t, "containerd/config.toml") + "oom_score = 1\n"
	n.write(t, "containerd/config.toml", changed)
	if _, err := Remove(n.o.Kept, false); !errdefs.IsFailedPrecondition(err) || !strings.Contains(err.Error(), "config.toml was changed") {
		t.Fatalf("error %v", err)
	}
	if got := n.read(t, "containerd/config.toml"); got != changed {
		t.Error("the refusal wrote something")
	}
	r, err := Remove(n.o.Kept, true)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Apply(); err != nil {
		t.Fatal(err)
	}
	if after := n.tree(t); after != before {
		t.Errorf("force does not restore everything:\n%s", diff("tree", []byte(before), []byte(after)))
	}
}

// TestApplyFails cannot write the last of its files, and takes the others back.
func TestApplyFails(t *testing.T) {
	n := newNode(t, map[string]string{"containerd/config.toml": "version = 4\n"})
	p := n.init(t)
	old := n.read(t, "containerd/config.toml")
	p.Changes = append(p.Changes, Change{Path: "/proc/darter.toml", After: []byte("x")})
	if err := p.Apply(n.o.Kept); err == nil {
		t.Fatal("no error")
	}
	if got := n.read(t, "containerd/config.toml"); got != old {
		t.Errorf("config.toml is %q", got)
	}
	if _, err := os.Stat(filepath.Join(n.dir, "containerd/conf.d", FileName)); err == nil {
		t.Error("the drop-in is there")
	}
}

// TestApplySeesOthers notices that a file is not any more what was shown.
func TestApplySeesOthers(t *testing.T) {
	n := newNode(t, map[string]string{"containerd/config.toml": "version = 4\n"})
	p := n.init(t)
	n.write(t, "containerd/config.toml", "version = 4\noom_score = 1\n")
	if err := p.Apply(n.o.Kept); !errdefs.IsAborted(err) {
		t.Errorf("error %v", err)
	}
}

func FuzzRecord(f *testing.F) {
	f.Add([]byte(`{"version":1,"files":[{"path":"/a","existed":true,"copy":"0001","after":""}],"directories":["/b"]}`))
	f.Add([]byte(`{"version":1,"files":[null]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		r := &record{dir: "/kept"}
		if r.parse(text) != nil {
			return
		}
		for _, k := range r.Files {
			if !filepath.IsAbs(k.Path) || bytes.ContainsRune([]byte(k.Copy), '/') {
				t.Fatalf("accepted %+v", *k)
			}
		}
	})
}
