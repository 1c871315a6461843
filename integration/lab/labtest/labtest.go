// Package labtest makes labs for tests: skips where there can be none, shows the
// programs' logs of a test that failed, and fails a test that left something behind.
package labtest

import (
	"testing"

	"github.com/darter-p2p/darter/integration/lab"
)

// logLines is how much of each program's log a failed test shows.
const logLines = 60

// New returns a lab that is closed when the test ends. The test is skipped where
// the machine cannot run one, or lacks a tool (a program on PATH).
func New(t testing.TB, o lab.Options, tools ...string) *lab.Lab {
	t.Helper()
	if reason := lab.Unmet(tools...); reason != "" {
		t.Skip(reason)
	}
	l, err := lab.New(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(l.Logs(logLines))
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		for _, left := range l.Leftovers() {
			t.Errorf("left behind: %s", left)
		}
	})
	return l
}
