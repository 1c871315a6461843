package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"go.uber.org/goleak"

	"github.com/darter-p2p/darter/internal/config"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestDefaultConfigIsPrintedAndRead(t *testing.T) {
	var out bytes.Buffer
	if err := command(t.Context(), &out, &out, []string{"--print-default-config"}); err != nil {
		t.Fatal(err)
	}
	var cfg Config
	if err := config.Parse("printed", out.Bytes(), &cfg); err != nil {
		t.Fatal(err)
	}
	if cfg != Default() {
		t.Errorf("read back %+v, want %+v", cfg, Default())
	}
}

func TestUsage(t *testing.T) {
	bad := filepath.Join(t.TempDir(), "bad.toml")
	if err := os.WriteFile(bad, []byte("[rafs.fill]\nmany = 3\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	worse := filepath.Join(t.TempDir(), "worse.toml")
	if err := os.WriteFile(worse, []byte("[rafs.fill]\nparallel = 99\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"--nonsense"}, "nonsense"},
		{[]string{"extra"}, `"extra"`},
		{[]string{"--config", "/nonexistent"}, "--print-default-config"},
		{[]string{"--config", bad}, "rafs.fill.many"},
		{[]string{"--config", worse}, "fill.parallel: 99"},
	} {
		var out bytes.Buffer
		err := command(t.Context(), &out, &out, tt.args)
		if !errdefs.IsInvalidArgument(err) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%q: error %v, want one of usage with %q", tt.args, err, tt.want)
		}
	}
	var out bytes.Buffer
	if err := command(t.Context(), &out, &out, []string{"--version"}); err != nil || !strings.HasPrefix(out.String(), "darter-rafs ") {
		t.Errorf("--version: %q, %v", out.String(), err)
	}
}

func TestKeeperWithoutAPatience(t *testing.T) {
	if err := keeper("soon"); !errdefs.IsInvalidArgument(err) {
		t.Error(err)
	}
}
