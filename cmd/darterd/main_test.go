package main

import (
	"testing"

	"github.com/darter-p2p/darter/cmd/internal/program/programtest"
)

func TestCommandLine(t *testing.T) {
	programtest.Suite(t, command(), map[string]string{
		"[store]\nqouta = \"1GiB\"":                             "did you mean store.quota",
		"[log]\nlevel = \"loud\"":                               "log.level",
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
	})
}
