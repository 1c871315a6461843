// Package programtest tests a daemon's command line.
package programtest

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/errdefs"

	"github.com/darter-p2p/darter/cmd/internal/program"
)

// Suite tests the arguments and the configuration of p, whose Run is not called. faults
// are configurations that it must refuse, each with a part of what it must say.
func Suite[C any](t *testing.T, p program.Daemon[C], faults map[string]string) {
	var read C
	p.Run = func(_ context.Context, _ io.Writer, cfg C) error {
		read = cfg
		return nil
	}
	call := func(args ...string) (string, error) {
		var out bytes.Buffer
		err := p.Command(t.Context(), &out, &out, args)
		return out.String(), err
	}
	write := func(text string) string {
		path := filepath.Join(t.TempDir(), "config.toml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	refused := func(want string, args ...string) {
		t.Helper()
		if _, err := call(args...); !errdefs.IsInvalidArgument(err) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want one of usage with %q", args, err, want)
		}
	}
	printed, err := call("--print-default-config")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := call("--config", write(printed)); err != nil {
		t.Fatalf("the printed defaults: %v", err)
	}
	p.Default = func() C { return read }
	if again, err := call("--print-default-config"); err != nil || again != printed {
		t.Errorf("the printed defaults read back as others: %v\n%s", err, again)
	}
	if out, err := call("--version"); err != nil || !strings.HasPrefix(out, p.Name+" ") {
		t.Errorf("--version: %q, %v", out, err)
	}
	none := filepath.Join(t.TempDir(), "none.toml")
	refused("nonsense", "--nonsense")
	refused(`"extra"`, "extra")
	refused("--print-default-config", "--config", none)
	p.File = none
	if _, err := call(); err != nil {
		t.Errorf("without a file: %v", err)
	}
	for text, want := range faults {
		refused(want, "--config", write(text))
	}
}
