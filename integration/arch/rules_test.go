package arch

import (
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// module makes a graph: each line is a package and its imports. Names that
// start with "./" are ours.
func module(lines ...string) *Module {
	m := &Module{Path: "example.org/darter", Packages: map[string]*Package{}}
	full := func(path string) string {
		if rel, ok := strings.CutPrefix(path, "./"); ok {
			return m.Path + "/" + rel
		}
		return path
	}
	for _, line := range lines {
		words := strings.Fields(line)
		p := &Package{ImportPath: full(words[0]), Name: filepath.Base(words[0])}
		for _, path := range words[1:] {
			p.Imports = append(p.Imports, full(path))
		}
		m.Packages[p.ImportPath] = p
	}
	return m
}

// expect compares violations, one per line, with a wanted text.
func expect(t *testing.T, got []Violation, want string) {
	t.Helper()
	var lines []string
	for _, v := range got {
		lines = append(lines, v.String())
	}
	if got := strings.Join(lines, "\n"); got != want {
		t.Errorf("violations:\n%s\nwant:\n%s", got, want)
	}
}

func TestEdgesOnMadeUpGraphs(t *testing.T) {
	good := []string{
		"./cmd/darterd ./plugin/mirror ./scheduler ./manager ./internal/version",
		"./plugin/mirror ./plugin/hosts ./fetcher ./p2p/store ./p2p ./p2p/picker",
		"./fetcher/registry ./fetcher ./p2p/node ./api/scheduler/v1",
		"./p2p/node ./p2p/store ./p2p/picker ./p2p ./api/scheduler/v1 ./internal/version",
		"./p2p/download ./p2p/picker ./p2p",
		"./scheduler/rpc ./scheduler/swarm ./p2p ./api/scheduler/v1",
		"./scheduler/swarm ./scheduler/rank ./p2p",
		"./manager/rest ./manager/db ./api/manager/v1",
		"./integration/demo ./cmd/darterd ./plugin ./integration/tools ./scheduler/swarm",
		"./p2p fmt example.net/other",
	}
	for _, line := range good {
		if bad := module(line).CheckEdges(); bad != nil {
			t.Errorf("%q: %v", line, bad)
		}
	}
	bad := []string{
		"./plugin/mirror ./scheduler",
		"./plugin/mirror ./manager/db",
		"./plugin/mirror ./cmd/darterd",
		"./scheduler/rpc ./plugin/mirror",
		"./scheduler/rpc ./manager",
		"./scheduler/rpc ./fetcher",
		"./scheduler/rpc ./p2p/store",
		"./scheduler/rpc ./p2p/picker",
		"./scheduler/swarm ./scheduler/rpc",
		"./scheduler/swarm ./p2p/picker",
		"./manager/rest ./scheduler/swarm",
		"./manager/rest ./plugin",
		"./manager/rest ./fetcher",
		"./fetcher ./plugin/mirror",
		"./fetcher ./scheduler",
		"./p2p/node ./fetcher",
		"./p2p/node ./plugin",
		"./p2p/tracker ./scheduler/swarm",
		"./p2p/picker ./p2p/store",
		"./p2p ./p2p/picker",
		"./p2p ./api/scheduler/v1",
		"./p2p ./internal/version",
		"./api/scheduler/v1 ./p2p",
		"./api/scheduler/v1 ./internal/version",
		"./internal/version ./p2p",
		"./internal/version ./internal/config",
		"./cmd/darter ./integration/demo",
		"./plugin/mirror ./integration/arch",
	}
	for _, line := range bad {
		words := strings.Fields(line)
		want := words[0][2:] + ": must not import " + words[1][2:]
		t.Run(line, func(t *testing.T) { expect(t, module(line).CheckEdges(), want) })
	}
	expect(t, module("./extra/thing").CheckEdges(), "extra/thing: folder is not in the picture")
}

func TestEdgesOfTests(t *testing.T) {
	m := module("./fetcher", "./p2p/store")
	m.Packages["example.org/darter/fetcher"].TestImports = []string{"example.org/darter/plugin"}
	m.Packages["example.org/darter/p2p/store"].XTestImports = []string{
		"example.org/darter/p2p/store", "example.org/darter/integration/swarmsim",
	}
	expect(t, m.CheckEdges(), "fetcher: must not import plugin\np2p/store: must not import integration/swarmsim")
}

func TestContainerdOnMadeUpGraphs(t *testing.T) {
	const core = "github.com/containerd/containerd/v2/core/content"
	for _, c := range []struct {
		name  string
		graph []string
		want  string
	}{
		{"in plugin and integration", []string{"./plugin/snapshot " + core, "./integration/containerd " + core}, ""},
		{"leaf modules anywhere", []string{"./p2p/node github.com/containerd/log github.com/containerd/errdefs github.com/containerd/platforms"}, ""},
		{"darterd through plugin", []string{"./cmd/darterd ./plugin/snapshot", "./plugin/snapshot " + core}, ""},
		{"darterd by itself", []string{"./cmd/darterd " + core}, "cmd/darterd: must not link " + core},
		{"fetcher", []string{"./fetcher " + core}, "fetcher: must not link " + core},
		{
			"scheduler through another's module",
			[]string{"./scheduler/rpc example.net/lib", "example.net/lib " + core},
			"scheduler/rpc: must not link example.net/lib -> " + core,
		},
		{
			"the scheduler's binary",
			[]string{"./cmd/darter-scheduler ./plugin/hosts", "./plugin/hosts " + core},
			"cmd/darter-scheduler: must not link example.org/darter/plugin/hosts -> " + core,
		},
		{
			"the manager's binary",
			[]string{"./cmd/darter-manager example.net/lib", "example.net/lib " + core},
			"cmd/darter-manager: must not link example.net/lib -> " + core,
		},
		{
			"containerd's API",
			[]string{"./p2p/node github.com/containerd/containerd/api/types"},
			"p2p/node: must not link github.com/containerd/containerd/api/types",
		},
		{
			"nydus-snapshotter",
			[]string{"./fetcher github.com/containerd/nydus-snapshotter/pkg/label"},
			"fetcher: must not link github.com/containerd/nydus-snapshotter/pkg/label",
		},
	} {
		t.Run(c.name, func(t *testing.T) { expect(t, module(c.graph...).CheckContainerd(), c.want) })
	}
}

func TestPureImportsOnMadeUpGraphs(t *testing.T) {
	const pure = "./p2p/picker"
	expect(t, module(pure+" fmt time math/rand/v2 net/netip net/url ./p2p", "./p2p errors").CheckPureImports(), "")
	expect(t, module("./p2p/store net os sync log").CheckPureImports(), "")
	for _, path := range []string{
		"net", "net/http", "os", "os/exec", "log", "log/slog", "sync", "sync/atomic", "golang.org/x/sync/errgroup",
		"google.golang.org/grpc", "google.golang.org/grpc/codes", "github.com/containerd/log", "crypto/rand",
	} {
		expect(t, module(pure+" "+path).CheckPureImports(), "p2p/picker: is pure and must not import "+path)
	}
	expect(t, module("./scheduler/swarm ./internal/clock", "./internal/clock os").CheckPureImports(),
		"scheduler/swarm: is pure and must not import example.org/darter/internal/clock -> os")
	expect(t, module("./scheduler/swarm example.net/hash", "example.net/hash os").CheckPureImports(), "")
}

func TestNamesOnMadeUpGraphs(t *testing.T) {
	expect(t, module("./p2p/piece", "./internal/ratelimit").CheckNames(), "")
	for _, name := range []string{"util", "utils", "common", "base", "helper", "helpers", "types"} {
		expect(t, module("./internal/"+name).CheckNames(), "internal/"+name+": \""+name+"\" says nothing: name a noun its user would say")
	}
	m := module("./internal/bytes")
	m.Packages["example.org/darter/internal/bytes"].Name = "util"
	expect(t, m.CheckNames(), "internal/bytes: \"util\" says nothing: name a noun its user would say")
}

func TestImpureCode(t *testing.T) {
	for _, c := range []struct{ name, imports, body, want string }{
		{"clean", `"time"; "math/rand/v2"`, `var _ = time.Second; var r = rand.New(rand.NewPCG(1, 2)); var _ = r.IntN(3); var _ time.Time`, ""},
		{"now", `"time"`, `var _ = time.Now()`, "time.Now (x.go:3)"},
		{"now as a value", `"time"`, `var now = time.Now`, "time.Now (x.go:3)"},
		{"sleep", `"time"`, `func f() { time.Sleep(1) }`, "time.Sleep (x.go:3)"},
		{"after", `"time"`, `func f() { <-time.After(1) }`, "time.After (x.go:3)"},
		{"renamed", `t "time"`, `var _ = t.Since(t.Time{})`, "time.Since (x.go:3)"},
		{"dot", `. "time"`, `var _ = Now()`, "a dot import of time (x.go:2)"},
		{"go", ``, `func f() { go f() }`, "a go statement (x.go:3)"},
		{"global rand", `"math/rand"`, `var _ = rand.Intn(3)`, "math/rand.Intn (x.go:3)"},
		{"global rand v2", `r "math/rand/v2"`, `var _ = r.N(3)`, "math/rand/v2.N (x.go:3)"},
		{"other package of that name", `rand "example.net/rand"`, `var _ = rand.Intn(3)`, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			set := token.NewFileSet()
			src := "package x\nimport (" + c.imports + ")\n" + c.body + "\n"
			file, err := parser.ParseFile(set, "x.go", src, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(impureCode(set, file), "\n"); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestPureCodeOnMadeUpPackage(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "a.go", "package picker\nfunc f() { go f() }\n")
	m := module("./p2p/picker", "./p2p/node")
	for _, p := range m.Packages {
		p.Dir, p.GoFiles = dir, []string{"a.go"}
	}
	bad, err := m.CheckPureCode()
	if err != nil {
		t.Fatal(err)
	}
	expect(t, bad, "p2p/picker: is pure and must not use a go statement (a.go:2)")
}

func TestCommentsOnMadeUpPackages(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "with_test.go", "// Package a is tests alone.\npackage a\n")
	write(t, dir, "without_test.go", "package a\n")
	m := module("./p2p/a", "./p2p/b", "./p2p/c", "./p2p/d")
	set := func(name string, p Package) {
		p.ImportPath = m.Path + "/p2p/" + name
		p.Dir = dir
		m.Packages[p.ImportPath] = &p
	}
	set("a", Package{GoFiles: []string{"a.go"}, Doc: "Package a has a comment."})
	set("b", Package{GoFiles: []string{"a.go"}, TestGoFiles: []string{"with_test.go"}})
	set("c", Package{XTestGoFiles: []string{"without_test.go", "with_test.go"}})
	set("d", Package{TestGoFiles: []string{"without_test.go"}})
	bad, err := m.CheckComments()
	if err != nil {
		t.Fatal(err)
	}
	expect(t, bad, "p2p/b: has no package comment\np2p/d: has no package comment")
}

func write(t *testing.T, dir, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
