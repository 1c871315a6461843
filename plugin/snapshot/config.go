package snapshot

import (
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/darter-p2p/darter/internal/config"
)

// Config is the snapshot door.
type Config struct {
	Enable         bool            `toml:"enable" doc:"Serve containerd's proxy plugin darter. darter init containerd makes containerd use it."`
	Socket         string          `toml:"socket" doc:"Path of the Unix socket; the address of containerd's proxy plugin."`
	Root           string          `toml:"root" doc:"Directory of the snapshots. Images and containers that use them need it: drain the node before it changes."`
	PrepareTimeout config.Duration `toml:"prepare_timeout" doc:"Longest wait of containerd for one layer; then containerd fetches it itself. containerd's garbage collection may wait as long, and container starts behind it."`
	Parallel       int             `toml:"parallel" doc:"Layers fetched and unpacked ahead at a time, 1 to 64. 0 is one for each CPU, at least 2."`
	PreferNydus    []string        `toml:"prefer_nydus" doc:"Repositories (registry/path, or what they begin with; * is all) whose images are mounted lazily where their index has a Nydus image made of them (darter convert --beside). Its maker is believed that both have the same files: name only those whose tags nobody else can push."`
	KeepStaged     config.Duration `toml:"keep_staged" doc:"How long unpacked layers are kept for a pull that does not come back for them."`
}

// Default suits a node that runs containers.
func Default() Config {
	return Config{
		Socket:         "/run/darter/containerd.sock",
		Root:           "/var/lib/darter/snapshots",
		PrepareTimeout: config.Duration(time.Minute),
		PreferNydus:    []string{},
		KeepStaged:     config.Duration(2 * time.Minute),
	}
}

// Validate reports every setting that cannot work, by its key.
func (c Config) Validate() error {
	var errs []error
	for _, p := range []struct{ key, path string }{{"socket", c.Socket}, {"root", c.Root}} {
		if !filepath.IsAbs(p.path) {
			errs = append(errs, fmt.Errorf("%s: %q, want an absolute path", p.key, p.path))
		}
	}
	for _, d := range []struct {
		key string
		d   config.Duration
	}{{"prepare_timeout", c.PrepareTimeout}, {"keep_staged", c.KeepStaged}} {
		if d.d <= 0 || d.d > config.Duration(time.Hour) {
			errs = append(errs, fmt.Errorf("%s: %v, want more than 0 and at most 1h", d.key, d.d))
		}
	}
	for _, p := range c.PreferNydus {
		if p == "" || strings.Contains(p, "*") && p != "*" || strings.ContainsAny(p, "@ ") {
			errs = append(errs, fmt.Errorf("prefer_nydus: %q, want registry/repository, the beginning of one, or *", p))
		}
	}
	if c.Parallel < 0 || c.Parallel > 64 {
		errs = append(errs, fmt.Errorf("parallel: %d, want 0 to 64", c.Parallel))
	}
	return errors.Join(errs...)
}

// parallel returns how many layers are unpacked ahead at a time.
func (c Config) parallel() int {
	if c.Parallel > 0 {
		return c.Parallel
	}
	return max(2, runtime.GOMAXPROCS(0))
}
