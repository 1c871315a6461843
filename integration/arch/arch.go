// Package arch checks the shape of this module: which folder may import which,
// who may link containerd, what the pure packages must not touch, and that
// every package has a comment and a telling name.
//
// The rules are data (rules.go) and functions from a [Module] to a list of
// violations. The tests run them over the real import graph and, to show that
// each can fail, over made-up ones.
package arch

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// A Package is one node of the import graph, as `go list` describes it.
type Package struct {
	ImportPath   string
	Name         string
	Doc          string   // first sentence of the package comment, "" if there is none
	Dir          string   // where its files are
	GoFiles      []string // names in Dir, without tests
	TestGoFiles  []string
	XTestGoFiles []string
	Imports      []string
	TestImports  []string
	XTestImports []string
}

// A Module is a module's import graph with everything it depends on.
type Module struct {
	Path     string
	Packages map[string]*Package // by import path
}

// A Violation says which package breaks which rule, and how.
type Violation struct {
	Package string // relative to the module
	Problem string
}

func (v Violation) String() string { return v.Package + ": " + v.Problem }

// own lists the module's own packages by import path.
func (m *Module) own() []*Package {
	var list []*Package
	for _, path := range slices.Sorted(maps.Keys(m.Packages)) {
		if _, ok := m.rel(path); ok {
			list = append(list, m.Packages[path])
		}
	}
	return list
}

// rel returns an import path relative to the module, "." for its root, and
// whether the module contains it.
func (m *Module) rel(path string) (string, bool) {
	if path == m.Path {
		return ".", true
	}
	return strings.CutPrefix(path, m.Path+"/")
}

func (m *Module) violation(p *Package, format string, args ...any) Violation {
	rel, _ := m.rel(p.ImportPath)
	return Violation{Package: rel, Problem: fmt.Sprintf(format, args...)}
}

// CheckEdges holds every import of a package of ours, tests included, against
// the picture.
func (m *Module) CheckEdges() []Violation {
	var bad []Violation
	for _, p := range m.own() {
		from, _ := m.rel(p.ImportPath)
		if partOf(from) == "" {
			bad = append(bad, m.violation(p, "folder is not in the picture"))
			continue
		}
		imports := slices.Concat(p.Imports, p.TestImports, p.XTestImports)
		slices.Sort(imports)
		for _, path := range slices.Compact(imports) {
			to, ok := m.rel(path)
			if !ok || to == from || mayImport(from, to) {
				continue
			}
			bad = append(bad, m.violation(p, "must not import %s", to))
		}
	}
	return bad
}

// CheckContainerd finds packages that link containerd or nydus-snapshotter,
// directly or through others, and are not allowed to.
func (m *Module) CheckContainerd() []Violation {
	var bad []Violation
	for _, p := range m.own() {
		rel, _ := m.rel(p.ImportPath)
		search := m.chain
		switch {
		case mayLinkContainerd(rel):
			continue
		case throughPluginOnly(rel):
			search = direct
		}
		if chain := search(p, isContainerdCore); chain != nil {
			bad = append(bad, m.violation(p, "must not link %s", strings.Join(chain, " -> ")))
		}
	}
	return bad
}

// CheckPureImports finds pure packages that import, directly or through
// packages of ours, what only a shell may: sockets, disks, logs, goroutines.
func (m *Module) CheckPureImports() []Violation {
	var bad []Violation
	for _, p := range m.own() {
		rel, _ := m.rel(p.ImportPath)
		if !isPure(rel) {
			continue
		}
		if chain := m.ownChain(p, isImpureImport); chain != nil {
			bad = append(bad, m.violation(p, "is pure and must not import %s", strings.Join(chain, " -> ")))
		}
	}
	return bad
}

// CheckNames finds packages whose name says nothing.
func (m *Module) CheckNames() []Violation {
	var bad []Violation
	for _, p := range m.own() {
		rel, _ := m.rel(p.ImportPath)
		for _, word := range append(strings.Split(rel, "/"), p.Name) {
			if emptyNames[word] {
				bad = append(bad, m.violation(p, "%q says nothing: name a noun its user would say", word))
				break
			}
		}
	}
	return bad
}

// direct is a chain of one import for which match holds, nil if there is none.
func direct(p *Package, match func(path string) bool) []string {
	for _, path := range p.Imports {
		if match(path) {
			return []string{path}
		}
	}
	return nil
}

// chain finds a shortest chain of imports from p to a package for which match
// holds, nil if there is none. The chain leaves p itself out.
func (m *Module) chain(p *Package, match func(path string) bool) []string {
	return m.search(p, match, func(string) bool { return true })
}

// ownChain is chain, but it does not look behind packages of others.
func (m *Module) ownChain(p *Package, match func(path string) bool) []string {
	return m.search(p, match, func(path string) bool {
		_, ok := m.rel(path)
		return ok
	})
}

func (m *Module) search(start *Package, match, follow func(path string) bool) []string {
	parent := map[string]string{start.ImportPath: ""}
	queue := []string{start.ImportPath}
	for len(queue) > 0 {
		at := queue[0]
		queue = queue[1:]
		p := m.Packages[at]
		if p == nil {
			continue
		}
		for _, path := range p.Imports {
			if _, seen := parent[path]; seen {
				continue
			}
			parent[path] = at
			if match(path) {
				return walkBack(parent, path, start.ImportPath)
			}
			if follow(path) {
				queue = append(queue, path)
			}
		}
	}
	return nil
}

// walkBack lists the packages after start on the way to end.
func walkBack(parent map[string]string, end, start string) []string {
	var chain []string
	for path := end; path != start; path = parent[path] {
		chain = append(chain, path)
	}
	slices.Reverse(chain)
	return chain
}
