package main

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

var names = []compared{{"plain", ""}, {"lazy", "plain"}, {"absent", "plain"}}

func TestCellTakesMediansOfRatios(t *testing.T) {
	runs := []run{
		{"plain": {Value: 10}, "lazy": {Value: 5, P99: 7}},
		{"plain": {Value: 20}, "lazy": {Value: 12, P99: 30}},
		{"plain": {Value: 100}, "lazy": {Value: 30, P99: 31}},
	}
	c := newCell("s", map[string]float64{"goal_s": 1}, names, runs)
	lazy := c.Figures[1]
	if c.Runs != 3 || lazy.Median != 12 || lazy.P99 != 30 || lazy.Ratio != 0.5 || len(lazy.Samples) != 3 {
		t.Errorf("%+v", c)
	}
	lines := strings.Join(c.table("start"), "\n")
	if !strings.Contains(lines, "0.50 plain") || !strings.Contains(lines, "goal_s") || strings.Contains(lines, "absent") {
		t.Error(lines)
	}
}

func TestCellsAreKept(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out", "report.json")
	for _, key := range []string{"a", "b", "a"} {
		if err := newCell("s", nil, names, []run{{"plain": {Value: 1}}}).write(path, key); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var all report
	if err := json.Unmarshal(text, &all); err != nil || len(all) != 2 || all["b"].Unit != "s" {
		t.Errorf("%v: %+v", err, all)
	}
	if err := os.WriteFile(path, []byte("["), 0o644); err != nil {
		t.Fatal(err)
	}
	if (cell{}).write(path, "a") == nil {
		t.Error("a report that cannot be read is overwritten")
	}
}

func TestPartsTakeTurns(t *testing.T) {
	var done []string
	part := func(name string) func() error {
		return func() error { done = append(done, name); return nil }
	}
	for number := range 2 {
		if err := inTurn(number, part("a"), part("b")); err != nil {
			t.Fatal(err)
		}
	}
	if !slices.Equal(done, []string{"a", "b", "b", "a"}) {
		t.Error(done)
	}
	broken := errors.New("broken")
	if err := inTurn(1, part("a"), func() error { return broken }); !errors.Is(err, broken) || len(done) != 4 {
		t.Errorf("%v, %v", err, done)
	}
}
