package doctor

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"testing"

	"github.com/darter-p2p/darter/plugin/rafs/client"
)

func TestLazy(t *testing.T) {
	f := &facts{}
	want(t, f.lazy(t.Context()), Skip, "off")
	f.Snapshots = true
	want(t, f.lazy(t.Context()), Skip, "refused")
	for _, test := range []struct {
		status client.Status
		err    error
		level  Level
		text   string
	}{
		{client.Status{Mode: client.FileBacked, Version: "1"}, nil, OK, "mounts files"},
		{client.Status{Mode: client.Loop, Reason: "Linux 5.15"}, nil, OK, "loop devices (Linux 5.15)"},
		{client.Status{Mode: client.Refused, Reason: "no EROFS"}, nil, Warn, "no EROFS"},
		{client.Status{}, fmt.Errorf("mount server: %w", syscall.ENOENT), Skip, "does not run"},
		{client.Status{}, errors.New("refused"), Warn, "does not answer"},
	} {
		f.Lazy = func(context.Context) (client.Status, error) { return test.status, test.err }
		want(t, f.lazy(t.Context()), test.level, test.text)
	}
}
