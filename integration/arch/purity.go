package arch

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strconv"
)

// clockNames are what package time offers beside values: clocks and timers.
var clockNames = map[string]bool{
	"Now": true, "Since": true, "Until": true, "Sleep": true, "After": true, "AfterFunc": true,
	"Tick": true, "NewTimer": true, "NewTicker": true,
}

// seededNames are what math/rand offers beside its global, unseeded generator.
var seededNames = map[string]bool{
	"New": true, "NewSource": true, "NewPCG": true, "NewChaCha8": true, "NewZipf": true,
	"Rand": true, "Source": true, "Source64": true, "PCG": true, "ChaCha8": true, "Zipf": true,
}

// CheckPureCode parses the pure packages and finds clocks, timers, go
// statements and the global random generator. Tests are left out.
func (m *Module) CheckPureCode() ([]Violation, error) {
	var bad []Violation
	for _, p := range m.own() {
		rel, _ := m.rel(p.ImportPath)
		if !isPure(rel) {
			continue
		}
		for _, name := range p.GoFiles {
			set := token.NewFileSet()
			file, err := parser.ParseFile(set, filepath.Join(p.Dir, name), nil, parser.SkipObjectResolution)
			if err != nil {
				return nil, err
			}
			for _, problem := range impureCode(set, file) {
				bad = append(bad, m.violation(p, "is pure and must not use %s", problem))
			}
		}
	}
	return bad, nil
}

// impureCode lists what a pure package must not do, each with file and line.
func impureCode(set *token.FileSet, file *ast.File) []string {
	var found []string
	report := func(n ast.Node, what string) {
		at := set.Position(n.Pos())
		found = append(found, fmt.Sprintf("%s (%s:%d)", what, filepath.Base(at.Filename), at.Line))
	}
	imports := map[string]string{} // local name → path, of packages that matter
	for _, spec := range file.Imports {
		path, _ := strconv.Unquote(spec.Path.Value)
		var name string
		switch path {
		case "time":
			name = "time"
		case "math/rand", "math/rand/v2":
			name = "rand"
		default:
			continue
		}
		if spec.Name != nil {
			name = spec.Name.Name
		}
		if name == "." {
			report(spec, "a dot import of "+path)
			continue
		}
		imports[name] = path
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			report(n, "a go statement")
		case *ast.SelectorExpr:
			if x, ok := n.X.(*ast.Ident); ok && impureName(imports[x.Name], n.Sel.Name) {
				report(n, imports[x.Name]+"."+n.Sel.Name)
			}
		}
		return true
	})
	return found
}

func impureName(path, name string) bool {
	switch path {
	case "time":
		return clockNames[name]
	case "math/rand", "math/rand/v2":
		return !seededNames[name]
	}
	return false
}
