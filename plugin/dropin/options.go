package dropin

import (
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"

	"github.com/containerd/containerd/v2/plugins/snapshots/overlay/overlayutils"
	"github.com/containerd/errdefs"
)

// Snapshotter is the name under which containerd and its clients know darter.
const Snapshotter = "darter"

// FileName is the name of the drop-in. Files are merged in the order of their
// names and the last one wins, so it sorts behind the others.
const FileName = "zz-darter.toml"

// Options say what a node's containerd should be made to do.
type Options struct {
	Config   string // containerd's main file
	Binary   string // the containerd program, which is asked for its merged configuration
	Socket   string // of darterd's snapshots service, absolute
	Root     string // of darterd's snapshots; CRI reports it as the image file system
	Mirror   string // URL of darterd's registry mirror
	HostsDir string // certs.d directory for those who name none themselves
	Kept     string // directory of what was there before

	// RemapIDs declares that darter's snapshots may be id-mapped by the kernel; see RemapsIDs.
	RemapIDs bool
	// CRI makes darter the snapshotter of CRI. Images must then be pulled again.
	CRI bool
	// Hosts are registries with a hosts.toml of their own that get the mirror too.
	Hosts []string
	// AllHosts is Hosts with every registry that has one.
	AllHosts bool

	program program // a test's in the place of Binary
}

// Default is a node with everything at its usual place.
func Default() Options {
	return Options{
		Config:   "/etc/containerd/config.toml",
		Binary:   "containerd",
		Socket:   "/run/darter/containerd.sock",
		Root:     "/var/lib/darter/snapshots",
		Mirror:   "http://127.0.0.1:65001",
		HostsDir: "/etc/containerd/certs.d",
		Kept:     "/etc/darter/containerd.before",
	}
}

// RemapsIDs reports whether this kernel has id-mapped mounts of overlay file systems,
// which darterd's snapshots then use as containerd's own do. It needs root; without,
// the answer is no.
func RemapsIDs() bool {
	ok, err := overlayutils.SupportsIDMappedMounts()
	return err == nil && ok
}

// Validate reports all options that cannot work. Its errors are ErrInvalidArgument.
func (o Options) Validate() error {
	var errs []error
	for _, p := range []struct{ name, path string }{
		{"config", o.Config}, {"socket", o.Socket}, {"root", o.Root}, {"hosts directory", o.HostsDir}, {"directory of what was there before", o.Kept},
	} {
		if !filepath.IsAbs(p.path) {
			errs = append(errs, fmt.Errorf("%s: %q is not an absolute path: %w", p.name, p.path, errdefs.ErrInvalidArgument))
		}
	}
	if o.Binary == "" {
		errs = append(errs, fmt.Errorf("no containerd program: %w", errdefs.ErrInvalidArgument))
	}
	if u, err := url.Parse(o.Mirror); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || strings.ContainsAny(o.Mirror, "\"\\\n") {
		errs = append(errs, fmt.Errorf("mirror: %q is not an http URL: %w", o.Mirror, errdefs.ErrInvalidArgument))
	}
	for _, h := range o.Hosts {
		if h == "" || h == "." || h == ".." || strings.ContainsAny(h, "/\x00") {
			errs = append(errs, fmt.Errorf("mirror host: %q is not a registry's host: %w", h, errdefs.ErrInvalidArgument))
		}
	}
	return errors.Join(errs...)
}
