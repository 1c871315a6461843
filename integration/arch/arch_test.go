package arch

import (
	"sync"
	"testing"
)

var load = sync.OnceValues(func() (*Module, error) { return Load(".") })

// ours is the module this test stands in.
func ours(t *testing.T) *Module {
	t.Helper()
	m, err := load()
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func report(t *testing.T, bad []Violation) {
	t.Helper()
	for _, v := range bad {
		t.Error(v)
	}
}

func TestEdges(t *testing.T)       { report(t, ours(t).CheckEdges()) }
func TestContainerd(t *testing.T)  { report(t, ours(t).CheckContainerd()) }
func TestPureImports(t *testing.T) { report(t, ours(t).CheckPureImports()) }
func TestNames(t *testing.T)       { report(t, ours(t).CheckNames()) }

func TestPureCode(t *testing.T) {
	bad, err := ours(t).CheckPureCode()
	if err != nil {
		t.Fatal(err)
	}
	report(t, bad)
}

func TestComments(t *testing.T) {
	bad, err := ours(t).CheckComments()
	if err != nil {
		t.Fatal(err)
	}
	report(t, bad)
}

// A pure package that was renamed would no longer be looked at.
func TestPurePackagesExist(t *testing.T) {
	m := ours(t)
	for _, rel := range pure {
		t.Run(rel, func(t *testing.T) {
			if m.Packages[m.Path+"/"+rel] == nil {
				t.Skipf("%s is not written yet, or was renamed and must be renamed in rules.go", rel)
			}
		})
	}
}
