package main

import (
	"testing"

	"github.com/containerd/errdefs"
	"go.uber.org/goleak"

	"github.com/darter-p2p/darter/cmd/internal/program/programtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestCommandLine(t *testing.T) {
	programtest.Suite(t, command(), map[string]string{
		"[rafs.fill]\nmany = 3\n":      "rafs.fill.many",
		"[rafs.fill]\nparallel = 99\n": "fill.parallel: 99",
	})
}

func TestKeeperWithoutAPatience(t *testing.T) {
	if err := keeper("soon"); !errdefs.IsInvalidArgument(err) {
		t.Error(err)
	}
}
