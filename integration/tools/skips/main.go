// Command skips reads `go test -json` from its input. It prints what `go test`
// would print, and at the end the slowest tests and those that were skipped and
// why. It fails if a test failed, and if its input holds no test result at all.
package main

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

func main() {
	r := newReport(os.Stdout)
	if err := r.read(os.Stdin); err != nil {
		fmt.Fprintln(os.Stderr, "skips:", err)
		os.Exit(2)
	}
	if !r.finish() {
		os.Exit(1)
	}
}

// event is a line of `go test -json`, see `go doc test2json`.
type event struct {
	Action     string
	Package    string
	ImportPath string
	Test       string
	Output     string
	Elapsed    float64 // seconds
}

// shownSlow is how many of the slowest tests are listed.
const shownSlow = 20

// took is how long a test of its own, not a part of one, ran.
type took struct {
	test    test
	seconds float64
}

type test struct{ pkg, name string }

// report follows the events of one or several runs of `go test`.
type report struct {
	out     io.Writer
	pending map[test][]string // output of tests that have not ended
	skipped []string
	slow    []took
	passed  int
	failed  []string
}

func newReport(out io.Writer) *report {
	return &report{out: out, pending: map[test][]string{}}
}

func (r *report) read(in io.Reader) error {
	lines := bufio.NewReader(in)
	for {
		line, err := lines.ReadString('\n')
		if line != "" {
			var e event
			if json.Unmarshal([]byte(line), &e) == nil && e.Action != "" {
				r.event(e)
			} else {
				fmt.Fprint(r.out, line)
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (r *report) event(e event) {
	key := test{e.Package, e.Test}
	if e.Elapsed >= 1 && e.Test != "" && !strings.Contains(e.Test, "/") {
		r.slow = append(r.slow, took{key, e.Elapsed})
	}
	switch e.Action {
	case "build-output":
		fmt.Fprint(r.out, e.Output)
	case "output":
		if e.Test == "" {
			if e.Output != "PASS\n" && !strings.HasSuffix(e.Output, "[no test files]\n") {
				fmt.Fprint(r.out, e.Output)
			}
			return
		}
		r.pending[key] = append(r.pending[key], e.Output)
	case "pass":
		if e.Test != "" {
			r.passed++
		}
		delete(r.pending, key)
	case "skip":
		if e.Test != "" {
			r.skipped = append(r.skipped, fmt.Sprintf("%s %s: %s", e.Package, e.Test, reason(r.pending[key])))
		}
		delete(r.pending, key)
	case "fail":
		r.fail(key)
	}
}

// fail prints the output of a failed test; of a failed package, the output of
// every test in it that did not end.
func (r *report) fail(key test) {
	if key.name != "" {
		r.failed = append(r.failed, key.pkg+" "+key.name)
		r.flush(key)
		return
	}
	inTest := func(line string) bool { return strings.HasPrefix(line, key.pkg+" ") }
	if !slices.ContainsFunc(r.failed, inTest) {
		r.failed = append(r.failed, key.pkg) // it did not build, or ended outside a test
	}
	var open []test
	for k := range r.pending {
		if k.pkg == key.pkg {
			open = append(open, k)
		}
	}
	slices.SortFunc(open, func(a, b test) int { return strings.Compare(a.name, b.name) })
	for _, k := range open {
		r.flush(k)
	}
}

func (r *report) flush(key test) {
	for _, line := range r.pending[key] {
		fmt.Fprint(r.out, line)
	}
	delete(r.pending, key)
}

// reason joins what a skipped test said, without the lines of the framework.
func reason(output []string) string {
	var words []string
	for _, line := range output {
		line = strings.TrimSpace(line)
		if line != "" && !strings.HasPrefix(line, "=== ") && !strings.HasPrefix(line, "--- ") {
			words = append(words, line)
		}
	}
	if len(words) == 0 {
		return "no reason given"
	}
	return strings.Join(words, " ")
}

// finish prints the summary and reports whether all went well.
func (r *report) finish() bool {
	slices.SortStableFunc(r.slow, func(a, b took) int { return cmp.Compare(b.seconds, a.seconds) })
	for i, t := range r.slow[:min(len(r.slow), shownSlow)] {
		if i == 0 {
			fmt.Fprintln(r.out)
		}
		fmt.Fprintf(r.out, "SLOW %6.1fs %s %s\n", t.seconds, t.test.pkg, t.test.name)
	}
	fmt.Fprintf(r.out, "\n%d tests passed, %d failed, %d skipped\n", r.passed, len(r.failed), len(r.skipped))
	for _, list := range []struct {
		word  string
		lines []string
	}{{"FAIL", r.failed}, {"SKIP", r.skipped}} {
		slices.Sort(list.lines)
		for _, line := range list.lines {
			fmt.Fprintln(r.out, list.word, line)
		}
	}
	return len(r.failed) == 0 && r.passed > 0
}
