package credential

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// secret is what no error may hold.
const secret = "hunter2-5f1c"

// script writes an executable and returns its path.
func script(t *testing.T, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	// Written under another name: a program that is open for writing cannot be run, and
	// the file may still be open in a child that a parallel test just started.
	if err := os.WriteFile(path+".new", []byte("#!/bin/sh\n"+text+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
	return path
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// runs counts the lines that a script appended to a file.
func runs(t *testing.T, path string) int {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return strings.Count(string(b), "\n")
}

func isClean(t *testing.T, err error) {
	t.Helper()
	for _, text := range []string{fmt.Sprint(err), fmt.Sprintf("%+v", err), fmt.Sprintf("%#v", err)} {
		if strings.Contains(text, secret) {
			t.Errorf("a secret is in the error %s", text)
		}
	}
}

func TestRun(t *testing.T) {
	dir := t.TempDir()
	for name, tc := range map[string]struct {
		text    string
		timeout time.Duration
		out     string
		err     string
	}{
		"answers":           {"cat; echo $A", time.Minute, "question\nb", ""},
		"fails":             {"echo " + secret + "; echo " + secret + " >&2; exit 3", time.Minute, secret, "exit status 3"},
		"hangs":             {"echo " + secret + "; sleep 1000", 100 * time.Millisecond, secret, "no answer within 100ms"},
		"ignores the end":   {"trap '' TERM INT; sleep 1000", 100 * time.Millisecond, "", "no answer"},
		"never stops":       {"yes " + secret, time.Minute, "", "printed more than"},
		"closes its input":  {"exec <&-; echo ok", time.Minute, "ok", ""},
		"is no program":     {"", time.Minute, "", "no such file"},
		"kills itself":      {"kill -9 $$", time.Minute, "", "signal: killed"},
		"fills its stderr":  {"yes " + secret + " | head -c 10000000 >&2; echo ok", time.Minute, "ok", ""},
		"prints right much": {"head -c 262144 /dev/zero", time.Minute, strings.Repeat("\x00", maxOutput), ""},
	} {
		t.Run(name, func(t *testing.T) {
			p := program{path: filepath.Join(dir, "missing"), env: append(os.Environ(), "A=b"), stdin: []byte("question\n"), timeout: tc.timeout}
			if tc.text != "" {
				p.path = script(t, t.TempDir(), "p", tc.text)
			}
			out, err := run(t.Context(), p)
			isClean(t, err)
			if tc.err == "" && err != nil || tc.err != "" && (err == nil || !strings.Contains(err.Error(), tc.err) || !errdefs.IsUnavailable(err)) {
				t.Errorf("%v, want %q", err, tc.err)
			}
			if got := strings.TrimSpace(string(out)); tc.out != "" && got != strings.TrimSpace(tc.out) && string(out) != tc.out {
				t.Errorf("%d bytes: %.40q", len(out), out)
			}
			if len(out) > maxOutput {
				t.Errorf("%d bytes", len(out))
			}
		})
	}
}

// A program may leave a child that keeps standard output open; what it said counts.
func TestRunLeavesAChild(t *testing.T) {
	p := program{path: script(t, t.TempDir(), "p", "sleep 20 & echo $!"), env: os.Environ(), timeout: time.Minute}
	out, err := run(t.Context(), p)
	child, bad := strconv.Atoi(strings.TrimSpace(string(out)))
	if err != nil || bad != nil || child <= 1 {
		t.Fatalf("%q, %v", out, err)
	}
	if err := syscall.Kill(child, syscall.SIGKILL); err != nil {
		t.Errorf("the child is gone: %v", err)
	}
}

// The whole group of a program that hangs is killed, and its children with it.
func TestRunKillsChildren(t *testing.T) {
	dir := t.TempDir()
	pid := filepath.Join(dir, "pid")
	p := program{path: script(t, dir, "p", "sleep 1000 & echo $! > "+pid+"; wait"), env: os.Environ(), timeout: 300 * time.Millisecond}
	if _, err := run(t.Context(), p); err == nil {
		t.Fatal("no error")
	}
	b, err := os.ReadFile(pid)
	if err != nil {
		t.Fatal(err)
	}
	child, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		t.Fatal(err)
	}
	for range 100 { // a killed process is there until its new parent reaps it
		state, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", child))
		if err != nil || strings.Contains(string(state), ") Z ") {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	_ = syscall.Kill(child, syscall.SIGKILL)
	t.Error("the child of a killed program lives on")
}

func TestSafeName(t *testing.T) {
	for name, want := range map[string]bool{
		"ecr-login": true, "gcloud": true, "acr_env.2": true,
		"": false, ".": false, "..": false, "../x": false, "a/b": false, "a b": false, "a;b": false, "a\x00": false, strings.Repeat("x", 256): false,
	} {
		if safeName(name) != want {
			t.Errorf("%q: %v", name, !want)
		}
	}
}
