package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/darter-p2p/darter/internal/config"
)

// The printed defaults are a file that reads back as the defaults.
func TestPrintedDefaultsReadBack(t *testing.T) {
	var printed bytes.Buffer
	if err := printDefaults(&printed); err != nil {
		t.Fatal(err)
	}
	cfg := defaultConfig()
	cfg.Mirror.Listen, cfg.Store.Quota, cfg.Seed.Enable = "x:1", 1, true
	if err := config.Parse("printed", printed.Bytes(), &cfg); err != nil {
		t.Fatal(err)
	}
	var again bytes.Buffer
	if err := config.Print(&again, printHeader, &cfg); err != nil {
		t.Fatal(err)
	}
	if again.String() != printed.String() {
		t.Error("the printed defaults do not read back as the defaults")
	}
}

func TestConfigurationFaults(t *testing.T) {
	for file, want := range map[string]string{
		"[store]\nqouta = \"1GiB\"":                             "did you mean store.quota",
		"[log]\nlevel = \"loud\"":                               "log.level",
		"[scheduler]\naddresses = []":                           "scheduler.addresses",
		"[scheduler]\naddresses = [\"here\"]":                   "scheduler.addresses",
		"[peer]\nupload_slots = -1":                             "upload slots",
		"[limits]\nupload = \"1KiB/s\"":                         "limits: upload",
		"[store]\nroot = \"pieces\"":                            "absolute",
		"[auth]\ngrace = \"400h\"":                              "auth: grace",
		"[fetch]\nfirst_byte = \"20s\"":                         "fetch.first_byte",
		"[fetch]\nurgent = \"4s\"":                              "fetch.urgent",
		"[[registry]]\nhost = \"docker.io\"\nurl = \"ftp://x\"": "registry",
		"[credentials]\ndocker_config = [\"x\"]":                "credentials: docker_config",
		"[credentials]\nprovider_bin = \"/x\"":                  "go together",
		"[mirror]\nlisten = \"nowhere\"":                        "mirror.listen",
		"[mirror.answer]\ndefault_registry = \"not a host\"":    "default_registry",
		"[mirror.answer]\nlazy_timeout = \"0s\"":                "mirror.answer: lazy_timeout",
		"[[mirror.upstream]]\nregistry = \"ghcr.io\"":           "mirror.upstream: listen",
		"[proxy]\nrules = [\"(\"]":                              "proxy: rules",
	} {
		path := filepath.Join(t.TempDir(), "darterd.toml")
		if err := os.WriteFile(path, []byte(file), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := load(path, true)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want something of %q", file, err, want)
		}
	}
	if _, err := load(filepath.Join(t.TempDir(), "none.toml"), true); err == nil {
		t.Error("a file that was named and is missing is no error")
	}
	if _, err := load(filepath.Join(t.TempDir(), "none.toml"), false); err != nil {
		t.Errorf("without a file: %v", err)
	}
}
