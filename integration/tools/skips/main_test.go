package main

import (
	"strings"
	"testing"
)

const stream = `{"Action":"start","Package":"m/a"}
{"Action":"run","Package":"m/a","Test":"TestOne"}
{"Action":"output","Package":"m/a","Test":"TestOne","Output":"=== RUN   TestOne\n"}
{"Action":"output","Package":"m/a","Test":"TestOne","Output":"    a_test.go:5: chatter\n"}
{"Action":"pass","Package":"m/a","Test":"TestOne","Elapsed":2.5}
{"Action":"output","Package":"m/a","Test":"TestTwo","Output":"=== RUN   TestTwo\n"}
{"Action":"output","Package":"m/a","Test":"TestTwo","Output":"    a_test.go:9: no ctr in PATH\n"}
{"Action":"output","Package":"m/a","Test":"TestTwo","Output":"--- SKIP: TestTwo (0.00s)\n"}
{"Action":"skip","Package":"m/a","Test":"TestTwo","Elapsed":0}
{"Action":"output","Package":"m/a","Output":"PASS\n"}
{"Action":"output","Package":"m/a","Output":"ok  \tm/a\t0.01s\n"}
{"Action":"pass","Package":"m/a","Elapsed":0.01}
{"Action":"output","Package":"m/notests","Output":"?   \tm/notests\t[no test files]\n"}
{"Action":"skip","Package":"m/notests","Elapsed":0}
`

func run(t *testing.T, in string) (out string, ok bool) {
	t.Helper()
	var b strings.Builder
	r := newReport(&b)
	if err := r.read(strings.NewReader(in)); err != nil {
		t.Fatal(err)
	}
	ok = r.finish()
	return b.String(), ok
}

func TestSkips(t *testing.T) {
	out, ok := run(t, stream)
	want := "ok  \tm/a\t0.01s\n\nSLOW    2.5s m/a TestOne\n\n1 tests passed, 0 failed, 1 skipped\nSKIP m/a TestTwo: a_test.go:9: no ctr in PATH\n"
	if !ok || out != want {
		t.Errorf("ok %v, output:\n%s\nwant:\n%s", ok, out, want)
	}
}

func TestFailures(t *testing.T) {
	out, ok := run(t, stream+`{"ImportPath":"m/c","Action":"build-output","Output":"c.go:1: broken\n"}
{"Action":"output","Package":"m/b","Test":"TestBad","Output":"    b_test.go:3: wrong\n"}
{"Action":"fail","Package":"m/b","Test":"TestBad"}
{"Action":"output","Package":"m/b","Test":"TestHung","Output":"panic: test timed out\n"}
{"Action":"fail","Package":"m/b"}
{"Action":"fail","Package":"m/c"}
plain words
`)
	if ok {
		t.Error("a failed run is called good")
	}
	for _, want := range []string{
		"c.go:1: broken\n", "b_test.go:3: wrong\n", "panic: test timed out\n", "plain words\n",
		"1 tests passed, 2 failed, 1 skipped\nFAIL m/b TestBad\nFAIL m/c\nSKIP m/a TestTwo",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("output lacks %q:\n%s", want, out)
		}
	}
	if strings.Contains(out, "chatter") {
		t.Error("output of a passed test was printed")
	}
}

func TestEmptyInputFails(t *testing.T) {
	if _, ok := run(t, ""); ok {
		t.Error("a run without tests is called good")
	}
}
