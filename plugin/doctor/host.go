package doctor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"github.com/containerd/containerd/v2/plugins/snapshots/overlay/overlayutils"
	"google.golang.org/grpc"

	"github.com/darter-p2p/darter/plugin/dropin"
)

// dial connects to a socket, if there is one.
func (f *facts) dial(socket string) (*grpc.ClientConn, error) {
	if _, err := os.Stat(socket); err != nil {
		return nil, err
	}
	return dropin.Dial(socket)
}

func (f *facts) overlay(context.Context) Finding {
	root := f.Containerd.Root
	if os.Geteuid() != 0 {
		return skip("only root can try it")
	}
	if _, err := os.Stat(root); errors.Is(err, os.ErrNotExist) {
		return skip("%s does not exist yet; darterd makes it", root)
	}
	if err := overlayutils.Supported(root); err != nil {
		return fail("put snapshot.root of "+f.Config+" on a file system that can (ext4; xfs with ftype=1)", "%s: %v", root, err)
	}
	return ok("works on %s", root)
}

// systemd looks whether darterd is there before containerd needs it.
func (f *facts) systemd(ctx context.Context) Finding {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	out, err := exec.CommandContext(ctx, "systemctl", "show", "darterd.service", "--property=LoadState,UnitFileState,Before").Output()
	if err != nil {
		return skip("systemctl does not answer: %v", err)
	}
	return units(string(out))
}

// units judges what systemctl shows of darterd.
func units(shown string) Finding {
	set := map[string]string{}
	for line := range strings.Lines(shown) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		set[key] = value
	}
	const install = "copy contrib/systemd/darterd.service to /etc/systemd/system; systemctl daemon-reload"
	switch {
	case set["LoadState"] == "not-found":
		return warn(install+"; systemctl enable --now darterd", "there is no unit darterd.service")
	case !strings.Contains(" "+set["Before"]+" ", " containerd.service "):
		return warn(install, "darterd.service is not ordered before containerd.service")
	case !strings.HasPrefix(set["UnitFileState"], "enabled"):
		return warn("systemctl enable darterd", "darterd.service is %s: it is not there after a reboot", or(set["UnitFileState"], "not enabled"))
	}
	return ok("darterd.service is enabled, and ordered before containerd.service")
}

func or(s, instead string) string {
	if s == "" {
		return instead
	}
	return s
}

// String is a finding as one line.
func (f Finding) String() string { return fmt.Sprintf("%s: %s: %s", f.Level, f.Check, f.Found) }
