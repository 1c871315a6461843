package server

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/darter-p2p/darter/internal/config"
	"github.com/darter-p2p/darter/plugin/rafs/device"
	"github.com/darter-p2p/darter/plugin/rafs/mount"
)

// Config is the mount server.
type Config struct {
	Socket  string        `toml:"socket" doc:"Path of the Unix socket that the snapshotter plugin mounts by; rafs.socket of darterd.toml."`
	Root    string        `toml:"root" doc:"Directory of the mounts' state and of the chunks. Drain the node before it changes."`
	Darterd string        `toml:"darterd" doc:"Path of darterd's socket; control.socket of darterd.toml."`
	Cache   CacheConfig   `toml:"cache" doc:"Where chunks are kept."`
	Fill    FillConfig    `toml:"fill" doc:"How the rest of mounted images is fetched."`
	Fetch   device.Config `toml:"fetch" doc:"How chunks are fetched."`
	Mount   MountConfig   `toml:"mount" doc:"How images are mounted."`
	// Keep bounds how long readers hang when nobody comes back.
	Keep config.Duration `toml:"keep" doc:"How long reads of live mounts wait for a mount server that has died; then they fail."`
}

// CacheConfig bounds the chunks' space.
type CacheConfig struct {
	Quota config.Bytes `toml:"quota" doc:"Space that the blobs of images may take, uncompressed. Blobs of live mounts stay; an image that does not fit beside them is refused. 0 is as much as the floor leaves."`
	Floor config.Bytes `toml:"floor" doc:"Space of the file system that is left to others. Keep it above the kubelet's eviction threshold."`
}

// MountConfig is how images are mounted.
type MountConfig struct {
	Mode string `toml:"mode" doc:"auto tries what this kernel can. file-backed and loop try that alone; off mounts nothing: Nydus images are refused, or pulled as ordinary ones."`
}

// Modes of MountConfig beside those of package mount.
const (
	modeAuto = "auto"
	modeOff  = "off"
)

// FillConfig is how the rest of mounted images is fetched.
type FillConfig struct {
	Enable   bool            `toml:"enable" doc:"Fetch what mounted images have and nobody has read yet, so that they come to need nobody."`
	Delay    config.Duration `toml:"delay" doc:"How long after its mount an image is left alone."`
	Quiet    config.Duration `toml:"quiet" doc:"How long nobody must have waited for a chunk before the next request."`
	Parallel int             `toml:"parallel" doc:"Requests at a time, 1 to 16."`
	Rate     config.Rate     `toml:"rate" doc:"Most compressed bytes of it per second. 0 is unlimited."`
}

// Default suits a node that runs containers.
func Default() Config {
	return Config{
		Socket:  "/run/darter/rafs.sock",
		Root:    "/var/lib/darter/rafs",
		Darterd: "/run/darter/darterd.sock",
		Cache:   CacheConfig{Floor: 10 << 30},
		Fill:    FillConfig{Enable: true, Delay: config.Duration(5 * time.Second), Quiet: config.Duration(100 * time.Millisecond), Parallel: 2},
		Fetch:   device.Default(),
		Mount:   MountConfig{Mode: modeAuto},
		Keep:    config.Duration(5 * time.Minute),
	}
}

// Validate reports every setting that cannot work, by its key.
func (c Config) Validate() error {
	var errs []error
	bad := func(key, text string, args ...any) { errs = append(errs, fmt.Errorf(key+": "+text, args...)) }
	for _, p := range []struct{ key, path string }{{"socket", c.Socket}, {"root", c.Root}, {"darterd", c.Darterd}} {
		if !filepath.IsAbs(p.path) || filepath.Clean(p.path) != p.path {
			bad(p.key, "%q, want an absolute, clean path", p.path)
		}
	}
	if c.Cache.Quota < 0 || c.Cache.Floor < 0 {
		bad("cache", "quota %v and floor %v, want neither below 0", c.Cache.Quota, c.Cache.Floor)
	}
	for _, d := range []struct {
		key string
		d   config.Duration
	}{{"fill.delay", c.Fill.Delay}, {"fill.quiet", c.Fill.Quiet}, {"keep", c.Keep}} {
		if d.d < 0 || d.d > config.Duration(time.Hour) {
			bad(d.key, "%v, want 0 to 1h", d.d)
		}
	}
	if c.Fill.Parallel < 1 || c.Fill.Parallel > 16 {
		bad("fill.parallel", "%d, want 1 to 16", c.Fill.Parallel)
	}
	if !slices.Contains([]string{modeAuto, string(mount.FileBacked), string(mount.Loop), modeOff}, c.Mount.Mode) {
		bad("mount.mode", "%q, want auto, file-backed, loop or off", c.Mount.Mode)
	}
	if err := c.Fetch.Validate(); err != nil {
		errs = append(errs, fmt.Errorf("fetch: %w", err))
	}
	return errors.Join(errs...)
}
