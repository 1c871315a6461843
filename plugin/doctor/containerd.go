package doctor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	introspection "github.com/containerd/containerd/api/services/introspection/v1"
	snapshots "github.com/containerd/containerd/api/services/snapshots/v1"
	"github.com/containerd/containerd/v2/core/remotes/docker/config"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"google.golang.org/grpc/metadata"

	"github.com/darter-p2p/darter/plugin/dropin"
)

const runInit = "darter init containerd"

// errNoSnapshots says that nobody speaks the snapshots API at a socket.
var errNoSnapshots = errors.New("no snapshots API")

func (f *facts) containerd(context.Context) Finding {
	if f.versErr != nil {
		return fail("install containerd, or name it with --containerd", "%v", f.versErr)
	}
	if _, err := os.Stat(f.Address); err != nil {
		return fail("systemctl start containerd, or name its socket with --address", "version %s, and it does not run: %v", f.version, err)
	}
	major, rest, _ := strings.Cut(f.version, ".")
	minor, _, _ := strings.Cut(rest, ".")
	a, errA := strconv.Atoi(major)
	b, errB := strconv.Atoi(minor)
	switch {
	case errA != nil || errB != nil:
		return warn("use containerd 1.6 or later", "its version %q tells nothing", f.version)
	case a < 1 || a == 1 && b < 6:
		return fail("use containerd 1.6 or later", "version %s is too old", f.version)
	case a == 1:
		return warn("use containerd 2.0 or later to catch the layers of ctr and nerdctl too; until then they go through the mirror", "version %s tells a snapshotter nothing of images but for CRI's", f.version)
	}
	return ok("version %s", f.version)
}

func (f *facts) pluginConfigured(context.Context) Finding {
	if f.mergedErr != nil {
		return fail("repair "+f.Containerd.Config, "%v", f.mergedErr)
	}
	p, there := f.merged.ProxyPlugin(dropin.Snapshotter)
	old := f.merged.Version() == 2 // whose dump does not show exports
	switch {
	case !there:
		return fail(runInit, "containerd's configuration has no proxy_plugins.darter")
	case p.Type != "snapshot" || p.Address != f.Containerd.Socket:
		return fail(runInit, "proxy_plugins.darter is a %s plugin at %s, and darterd's socket is %s", p.Type, p.Address, f.Containerd.Socket)
	case slices.Contains(p.Capabilities, "rebase"):
		return fail("take it away: images get snapshots without parents and do not run", "proxy_plugins.darter declares the capability rebase")
	case !old && p.Exports["enable_remote_snapshot_annotations"] != "true":
		return fail(runInit, "proxy_plugins.darter does not export enable_remote_snapshot_annotations = \"true\": containerd tells darter nothing of the layers")
	case !old && p.Exports["root"] != f.Containerd.Root:
		return warn(runInit, "proxy_plugins.darter exports root = %q, and darterd's snapshots are in %s: CRI reports the wrong file system", p.Exports["root"], f.Containerd.Root)
	}
	return ok("proxy_plugins.darter at %s", p.Address)
}

func (f *facts) pluginLoaded(ctx context.Context) Finding {
	conn, err := f.dial(f.Address)
	if err != nil {
		return skip("containerd does not run")
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	list, err := introspection.NewIntrospectionClient(conn).Plugins(ctx, &introspection.PluginsRequest{})
	if err != nil {
		return fail("systemctl status containerd; try as root", "containerd does not answer at %s: %v", f.Address, errgrpc.ToNative(err))
	}
	loaded := false
	for _, p := range list.Plugins {
		trouble := p.InitErr != nil && p.InitErr.Code != 0
		switch {
		case p.ID == dropin.Snapshotter && strings.HasPrefix(p.Type, "io.containerd.snapshotter."):
			if trouble {
				return fail("journalctl -u containerd", "containerd could not load it: %s", p.InitErr.Message)
			}
			loaded = true
		case p.Type+"."+p.ID == "io.containerd.transfer.v1.local" && trouble:
			return fail(runInit+"; systemctl restart containerd", "containerd's transfer service, through which all pulls go, is not loaded: %s", p.InitErr.Message)
		}
	}
	if !loaded {
		return fail("after "+runInit+": systemctl restart containerd", "the containerd that runs has not loaded darter's plugin")
	}
	return ok("containerd has it")
}

func (f *facts) pluginAnswers(ctx context.Context) Finding {
	if !f.Snapshots {
		return warn("set enable = true in [snapshot] of "+f.Config+" and restart darterd, or leave it: the mirror works without", "darterd does not serve the snapshotter")
	}
	err := f.listSnapshots(ctx)
	if err != nil {
		return fail("systemctl restart darterd; journalctl -u darterd", "%s: %v", f.Containerd.Socket, err)
	}
	return ok("%s speaks the snapshots API", f.Containerd.Socket)
}

func (f *facts) listSnapshots(ctx context.Context) error {
	conn, err := f.dial(f.Containerd.Socket)
	if err != nil {
		return err
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	ctx = metadata.AppendToOutgoingContext(ctx, "containerd-namespace", "default")
	_, err = snapshots.NewSnapshotsClient(conn).Stat(ctx, &snapshots.StatSnapshotRequest{Key: "darter-doctor", Snapshotter: dropin.Snapshotter})
	if err = errgrpc.ToNative(err); err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("%w: %w", errNoSnapshots, err)
	}
	return nil
}

func (f *facts) unpackConfig(context.Context) Finding {
	switch {
	case f.mergedErr != nil:
		return skip("containerd's configuration cannot be read")
	case !f.merged.HasTransfer():
		return skip("this containerd has no transfer service")
	case !slices.Contains(f.merged.Unpacks(), dropin.Snapshotter):
		return fail(runInit, "the transfer service does not unpack into darter: pulls with --snapshotter darter fail")
	}
	return ok("the transfer service unpacks into %s", strings.Join(f.merged.Unpacks(), ", "))
}

func (f *facts) cri(context.Context) Finding {
	if f.mergedErr != nil || !f.merged.HasCRI() {
		return skip("no CRI here")
	}
	if s := f.merged.CRISnapshotter(); s != dropin.Snapshotter {
		return ok("uses the snapshotter %s: the kubelet's pulls come through the mirror (%s --cri makes it darter)", s, runInit)
	}
	reason, local := f.merged.CRILocalPull()
	switch {
	case local && !f.merged.CRIAnnotates():
		return fail(runInit, "CRI pulls by itself (%s) and tells darter nothing of the layers", reason)
	case local && f.version != "" && !strings.HasPrefix(f.version, "1."):
		return warn("nothing must be done; layers are caught", "CRI pulls by itself and not by the transfer service: %s", reason)
	}
	return ok("uses the snapshotter darter")
}

// mirror looks which directory containerd asks for registries, and whether the mirror is in it.
func (f *facts) mirror(context.Context) Finding {
	if f.mergedErr != nil {
		return skip("containerd's configuration cannot be read")
	}
	dirs := f.merged.CRIHostsDirs()
	if f.merged.HasCRI() && len(dirs) == 0 {
		if old := f.merged.CRIOldRegistry(); old != "" {
			return fail("write hosts.toml files for it, take it out, and run "+runInit, "CRI reads no certs.d directory, for it has %s", old)
		}
		return fail(runInit, "CRI reads no certs.d directory: registry.config_path is empty")
	}
	if len(dirs) == 0 {
		dirs = f.merged.TransferHostsDirs()
	}
	if len(dirs) == 0 {
		dirs = []string{f.Containerd.HostsDir}
	}
	past, err := f.past(dirs)
	list := strings.Join(dirs, ":")
	switch {
	case err != nil:
		return fail("repair it", "%v", err)
	case slices.Contains(past, "registry.invalid"): // one without a directory of its own
		return fail(runInit, "%s/_default/hosts.toml does not name the mirror %s", dirs[0], f.Containerd.Mirror)
	case len(past) > 0:
		return warn(runInit+" --mirror-host HOST, or --all", "these have hosts.toml files of their own without the mirror: %s", strings.Join(past, ", "))
	}
	note := ""
	if !slices.Contains(dirs, "/etc/containerd/certs.d") {
		note = "; nerdctl needs --hosts-dir " + dirs[0]
	}
	return ok("containerd asks %s for every registry by %s; ctr needs --hosts-dir %s%s", f.Containerd.Mirror, list, dirs[0], note)
}

// past returns the registries that go past the mirror: those with directories, and
// one without.
func (f *facts) past(dirs []string) ([]string, error) {
	names := []string{"registry.invalid"}
	for _, dir := range dirs {
		entries, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, err
		}
		for _, e := range entries {
			if e.Name() != "_default" && !slices.Contains(names, e.Name()) {
				names = append(names, e.Name())
			}
		}
	}
	var past []string
	for _, name := range names {
		for _, dir := range dirs {
			found, err := config.HostDirFromRoot(dir)(name)
			if errdefs.IsNotFound(err) {
				if dir == dirs[len(dirs)-1] {
					past = append(past, name)
				}
				continue
			}
			if err != nil {
				return nil, err
			}
			text, err := os.ReadFile(filepath.Join(found, "hosts.toml"))
			if err != nil && !errors.Is(err, os.ErrNotExist) {
				return nil, err
			}
			if !dropin.UsesMirror(text, f.Containerd.Mirror) {
				past = append(past, name)
			}
			break
		}
	}
	return past, nil
}

// dropIn asks whether init would write something else today.
func (f *facts) dropIn(ctx context.Context) Finding {
	if f.mergedErr != nil {
		return skip("containerd's configuration cannot be read")
	}
	o := f.Containerd
	o.CRI = f.merged.CRISnapshotter() == dropin.Snapshotter
	plan, err := dropin.Init(ctx, o)
	switch {
	case err != nil:
		return fail("do what it says", "%v", err)
	case len(plan.Changes) > 0:
		var paths []string
		for _, c := range plan.Changes {
			paths = append(paths, c.Path)
		}
		return warn(runInit+" shows the difference", "not as init would write it today: %s", strings.Join(paths, ", "))
	}
	return ok("as init writes it")
}
