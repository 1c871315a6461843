package lab

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"text/template"
)

// containerdConfig is the configuration of a node's containerd; facts/containerd.md 1.
//
//go:embed containerd.toml
var containerdConfig string

// oldContainerdConfig is the same for containerd 1.6, the door included.
//
//go:embed containerd16.toml
var oldContainerdConfig string

// doorConfig is the drop-in that makes containerd 2.4 use the snapshot door.
//
//go:embed door.toml
var doorConfig string

// Door is the name of darter's snapshotter in containerd.
const Door = "darter"

// Containerd is a real containerd on a host, with sockets and storage of its own.
type Containerd struct {
	*Process
	Host *Host
	// Socket is the path of its API socket.
	Socket string
	// HostsDir is its certs.d folder, for all clients.
	HostsDir string
	// Root is its storage.
	Root string
	// Snapshotter is what ctr and nerdctl are told to use; "" is their default,
	// overlayfs. CRI has its own by the options.
	Snapshotter string

	ctr string // the program
}

// ContainerdOptions say how a containerd is set up. The zero value is a plain one.
type ContainerdOptions struct {
	// Door configures the host's snapshot door beside overlayfs. It need not be up.
	Door bool
	// CRI is the snapshotter of CRI; "" is overlayfs.
	CRI string
	// LocalPull makes CRI pull by itself instead of by the transfer service.
	LocalPull bool
	// Sandbox is the image of pods' sandboxes, for those who run pods.
	Sandbox string
	// Debian takes Debian's containerd 1.6 and its ctr.
	Debian bool
	// Env is beside the environment of this process.
	Env []string
}

// StartContainerd starts a plain containerd 2 on the host, with empty storage.
func (h *Host) StartContainerd(ctx context.Context) (*Containerd, error) {
	return h.StartContainerdWith(ctx, ContainerdOptions{})
}

// StartContainerdWith starts a containerd on the host, with empty storage.
func (h *Host) StartContainerdWith(ctx context.Context, o ContainerdOptions) (*Containerd, error) {
	c := &Containerd{
		Host: h, Socket: filepath.Join(h.Dir, "c.sock"), HostsDir: filepath.Join(h.Dir, "certs.d"),
		Root: filepath.Join(h.Data, "containerd"), ctr: "ctr",
	}
	config, env := containerdConfig, o.Env
	if o.CRI == "" {
		o.CRI = "overlayfs"
	}
	var binary string
	var err error
	if o.Debian {
		if reason := NoDocker(); reason != "" { // its package brings containerd
			return nil, errors.New(reason)
		}
		binary, c.ctr, config, env = "/usr/bin/containerd", "/usr/bin/ctr", oldContainerdConfig, append(env, debianPath)
	} else if binary, err = Tool("containerd"); err != nil {
		return nil, err
	}
	values := map[string]any{
		"Root": c.Root, "State": filepath.Join(h.Dir, "c"), "Socket": c.Socket, "HostsDir": c.HostsDir, "Dir": h.Dir,
		"Options": o, "DoorSocket": h.doorSocket(), "DoorRoot": h.doorRoot(), "Arch": runtime.GOARCH,
	}
	path, dropins := filepath.Join(h.Dir, "containerd.toml"), filepath.Join(h.Dir, "conf.d")
	err = errors.Join(os.MkdirAll(c.HostsDir, 0o755), os.MkdirAll(dropins, 0o755), writeConfig(path, config, values))
	if o.Door && !o.Debian {
		err = errors.Join(err, writeConfig(filepath.Join(dropins, "darter.toml"), doorConfig, values))
	}
	if err != nil {
		return nil, fmt.Errorf("containerd: config: %w", err)
	}
	c.Process, err = h.Start(ctx, Program{
		Name: "containerd", Argv: []string{binary, "--config", path, "--log-level", "warn"}, Env: env,
		Ready: func(ctx context.Context) error {
			_, err := c.Ctr(ctx, "version")
			return err
		},
	})
	return c, err
}

// doorSocket and doorRoot are where the host's darterd has its snapshot door.
func (h *Host) doorSocket() string { return filepath.Join(h.Dir, "door.sock") }
func (h *Host) doorRoot() string   { return filepath.Join(h.Data, "darter", "snapshots") }

// writeConfig writes a configuration file from its template.
func writeConfig(path, text string, values any) error {
	parsed, err := template.New(filepath.Base(path)).Parse(text)
	if err != nil {
		return err
	}
	var config strings.Builder
	if err := parsed.Execute(&config, values); err != nil {
		return err
	}
	return os.WriteFile(path, []byte(config.String()), 0o644)
}

// UseMirror makes the node's clients ask a mirror first for what is in a registry,
// and the registry itself when the mirror fails; "" takes the mirror away. It
// holds from the next pull on, for containerd reads the file each time.
func (c *Containerd) UseMirror(registry, mirror string) error {
	// As containerd writes a host and port: 10.77.0.1_5000_.
	dir := filepath.Join(c.HostsDir, strings.Replace(registry, ":", "_", 1)+"_")
	text := fmt.Sprintf("server = %q\n", "http://"+registry)
	if mirror != "" {
		text += fmt.Sprintf("\n[host.%q]\n  capabilities = [\"pull\", \"resolve\"]\n", mirror)
	}
	err := errors.Join(os.MkdirAll(dir, 0o755), os.WriteFile(filepath.Join(dir, "hosts.toml"), []byte(text), 0o644))
	if err != nil {
		return fmt.Errorf("containerd of %s: mirror: %w", c.Host.Name, err)
	}
	return nil
}
