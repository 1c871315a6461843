package lab

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"text/template"
)

// containerdConfig is the configuration of a node's containerd; facts/containerd.md 1.
//
//go:embed containerd.toml
var containerdConfig string

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
}

// StartContainerd starts a containerd 2 on the host, with empty storage.
func (h *Host) StartContainerd(ctx context.Context) (*Containerd, error) {
	binary, err := Tool("containerd")
	if err != nil {
		return nil, err
	}
	c := &Containerd{
		Host: h, Socket: filepath.Join(h.Dir, "c.sock"), HostsDir: filepath.Join(h.Dir, "certs.d"),
		Root: filepath.Join(h.Data, "containerd"),
	}
	parsed, err := template.New("containerd.toml").Parse(containerdConfig)
	if err != nil {
		return nil, fmt.Errorf("containerd: config: %w", err)
	}
	var config strings.Builder
	err = parsed.Execute(&config, map[string]string{
		"Root": c.Root, "State": filepath.Join(h.Dir, "c"), "Socket": c.Socket, "HostsDir": c.HostsDir, "Dir": h.Dir,
	})
	path := filepath.Join(h.Dir, "containerd.toml")
	err = errors.Join(err, os.MkdirAll(c.HostsDir, 0o755), os.WriteFile(path, []byte(config.String()), 0o644))
	if err != nil {
		return nil, fmt.Errorf("containerd: config: %w", err)
	}
	c.Process, err = h.Start(ctx, Program{
		Name: "containerd", Argv: []string{binary, "--config", path, "--log-level", "warn"},
		Ready: func(ctx context.Context) error {
			_, err := c.Ctr(ctx, "version")
			return err
		},
	})
	return c, err
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
