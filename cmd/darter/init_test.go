package main

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/spf13/cobra"

	"github.com/darter-p2p/darter/plugin/doctor"
	"github.com/darter-p2p/darter/plugin/dropin"
)

// TestInitAsks shows a plan in all the ways in which it is applied, and not.
func TestInitAsks(t *testing.T) {
	plan := &dropin.Plan{Changes: []dropin.Change{{Path: "/etc/x.toml", After: []byte("a = 1\n")}}, Notes: []string{"mind\x1b[2J"}, Restart: true}
	for _, test := range []struct {
		name          string
		i             containerdInit
		yes, terminal bool
		wants         bool // it applied
		says          string
	}{
		{name: "no terminal", says: "say --yes"},
		{name: "no", terminal: true, says: "nothing was written"},
		{name: "yes", terminal: true, yes: true, wants: true, says: "systemctl restart containerd"},
		{name: "--yes", i: containerdInit{yes: true}, wants: true, says: "done"},
		{name: "--dry-run", i: containerdInit{yes: true, dry: true}, says: "+a = 1"},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.i.terminalAnswer = func(*cobra.Command) (bool, bool) { return test.yes, test.terminal }
			var out bytes.Buffer
			c := &cobra.Command{}
			c.SetOut(&out)
			applied := false
			if err := test.i.do(c, plan, func() error { applied = true; return nil }); err != nil {
				t.Fatal(err)
			}
			if applied != test.wants || !strings.Contains(out.String(), test.says) || !strings.Contains(out.String(), "+++ b/etc/x.toml") {
				t.Errorf("applied: %t; it says\n%s", applied, out.String())
			}
			if strings.Contains(out.String(), "\x1b") {
				t.Error("a note reaches the terminal raw")
			}
		})
	}
	failed := errors.New("no space")
	i := containerdInit{yes: true, restart: true}
	if err := i.do(&cobra.Command{}, plan, func() error { return failed }); !errors.Is(err, failed) {
		t.Errorf("error %v, want that of the write", err) // and no restart
	}
}

// TestRemoveRefuses has snapshots on disk and no containerd to ask.
func TestRemoveRefuses(t *testing.T) {
	dir := t.TempDir()
	c := &cobra.Command{}
	c.SetContext(t.Context())
	i := containerdInit{address: filepath.Join(dir, "none.sock"), options: dropin.Options{Root: dir}}
	if err := i.drained(c); err != nil {
		t.Errorf("nothing is there: %v", err)
	}
	if err := os.MkdirAll(filepath.Join(dir, "snapshots/7"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := i.drained(c); !errdefs.IsFailedPrecondition(err) || !strings.Contains(err.Error(), "1 snapshots") {
		t.Errorf("error %v", err)
	}
	i.force = true
	if err := i.drained(c); err != nil {
		t.Errorf("--force: %v", err)
	}
}

func TestInitUsage(t *testing.T) {
	dir := t.TempDir()
	none := filepath.Join(dir, "none")
	wrong := filepath.Join(dir, "darterd.toml")
	if err := os.WriteFile(wrong, []byte("[mirror]\nlisten = \"nowhere\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		args string
		code int
		says string
	}{
		{"init", 2, "say containerd"},
		{"init containerd now", 2, "--help"},
		{"init containerd --darterd-config " + wrong, 2, "nowhere"},
		{"init containerd --config " + none + " --containerd " + none, 4, "--containerd"},
		{"init containerd --config relative.toml", 2, "absolute"},
		{"init containerd --mirror-host a/b --config " + none, 2, "a/b"},
		{"doctor --format xml", 2, "table or json"},
	} {
		t.Run(test.args, func(t *testing.T) {
			var out bytes.Buffer
			err := command(&out, &out, strings.Fields(test.args)).ExecuteContext(t.Context())
			if code := exitCode(err); code != test.code || !strings.Contains(err.Error(), test.says) {
				t.Errorf("exit code %d, %v; want %d and %q", code, err, test.code, test.says)
			}
		})
	}
	var out bytes.Buffer
	args := []string{"init", "containerd", "--remove", "--kept", none, "--darterd-config", none}
	if err := command(&out, &out, args).ExecuteContext(t.Context()); err != nil || !strings.Contains(out.String(), "nothing to do") {
		t.Errorf("remove of nothing: %v\n%s", err, out.String())
	}
}

func TestPrintFindings(t *testing.T) {
	all := []doctor.Finding{
		{Check: "a", Level: doctor.OK, Found: "well"},
		{Check: "b", Level: doctor.Warn, Found: "so so", Do: "this"},
	}
	var out bytes.Buffer
	c := &cobra.Command{}
	c.SetOut(&out)
	if err := printFindings(c, "table", all); err != nil || !strings.Contains(out.String(), "→ this") {
		t.Errorf("a warning: %v\n%s", err, out.String())
	}
	out.Reset()
	err := printFindings(c, "json", append(all, doctor.Finding{Check: "c", Level: doctor.Fail, Found: "bad", Do: "that"}))
	if exitCode(err) != 1 || !strings.Contains(out.String(), `{"check":"c","level":"fail","found":"bad","do":"that"}`) {
		t.Errorf("a failure: %v\n%s", err, out.String())
	}
}

// TestMirrorURL is where clients of this node find the mirror, wherever it listens.
func TestMirrorURL(t *testing.T) {
	for listen, want := range map[string]string{
		"127.0.0.1:65001": "http://127.0.0.1:65001",
		":65001":          "http://127.0.0.1:65001",
		"0.0.0.0:1":       "http://127.0.0.1:1",
		"[::1]:1":         "http://[::1]:1",
		"[::]:1":          "http://127.0.0.1:1",
	} {
		var s nodeSettings
		s.Mirror.Listen = listen
		if got := s.mirrorURL(); got != want {
			t.Errorf("%s: %s, want %s", listen, got, want)
		}
	}
}
