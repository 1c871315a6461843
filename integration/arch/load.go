package arch

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"go/parser"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Load asks `go list` for the packages of the module that dir is in and for all
// they depend on. It is one run of the command, a second or two.
func Load(dir string) (*Module, error) {
	gomod, err := goCommand(dir, "env", "GOMOD")
	if err != nil {
		return nil, err
	}
	root := filepath.Dir(strings.TrimSpace(string(gomod)))
	path, err := goCommand(root, "list", "-m")
	if err != nil {
		return nil, err
	}
	list, err := goCommand(root, "list", "-deps",
		"-json=ImportPath,Name,Doc,Dir,GoFiles,TestGoFiles,XTestGoFiles,Imports,TestImports,XTestImports", "./...")
	if err != nil {
		return nil, err
	}
	m := &Module{Path: strings.TrimSpace(string(path)), Packages: map[string]*Package{}}
	for decoder := json.NewDecoder(bytes.NewReader(list)); ; {
		p := new(Package)
		if err := decoder.Decode(p); errors.Is(err, io.EOF) {
			return m, nil
		} else if err != nil {
			return nil, fmt.Errorf("go list: %w", err)
		}
		m.Packages[p.ImportPath] = p
	}
}

// goCommand runs the go command without cgo, as darter is built, and returns its output.
func goCommand(dir string, args ...string) ([]byte, error) {
	command := exec.Command("go", args...)
	command.Dir = dir
	command.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off")
	var problems bytes.Buffer
	command.Stderr = &problems
	out, err := command.Output()
	if err != nil {
		return nil, fmt.Errorf("go %s: %w: %s", args[0], err, problems.String())
	}
	return out, nil
}

// CheckComments finds packages without a package comment. A package of tests
// alone has its comment in one of them.
func (m *Module) CheckComments() ([]Violation, error) {
	var bad []Violation
	for _, p := range m.own() {
		has := p.Doc != ""
		if len(p.GoFiles) == 0 {
			for _, name := range append(p.TestGoFiles, p.XTestGoFiles...) {
				file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(p.Dir, name), nil,
					parser.PackageClauseOnly|parser.ParseComments)
				if err != nil {
					return nil, err
				}
				has = has || file.Doc != nil
			}
		}
		if !has {
			bad = append(bad, m.violation(p, "has no package comment"))
		}
	}
	return bad, nil
}
