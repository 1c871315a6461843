package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// debianPath is where Debian's docker finds its own containerd and runc, which
// are of another age than those of the tests.
const debianPath = "PATH=/usr/sbin:/usr/bin:/sbin:/bin"

const (
	dockerd = "/usr/sbin/dockerd"
	docker  = "/usr/bin/docker"
)

// Docker is a real dockerd (Debian's docker.io) on a host, with sockets and storage of its own.
type Docker struct {
	*Process
	Host *Host

	socket string
}

// NoDocker says in words why there can be no dockerd; "" if there can.
func NoDocker() string {
	for _, path := range []string{dockerd, docker} {
		if _, err := os.Stat(path); err != nil {
			return "no " + path + ": install the Debian package docker.io"
		}
	}
	return ""
}

// StartDocker starts a dockerd on the host, with empty storage and no networks.
// What has no registry in its name it pulls from the mirrors (http://host:port),
// in their order.
func (h *Host) StartDocker(ctx context.Context, mirrors ...string) (*Docker, error) {
	if reason := NoDocker(); reason != "" {
		return nil, errors.New(reason)
	}
	if err := h.lab.run.removeIfNew("/run/docker/plugins", "/run/docker", "/opt/containerd/bin", "/opt/containerd/lib", "/opt/containerd"); err != nil {
		return nil, fmt.Errorf("dockerd: %w", err)
	}
	d := &Docker{Host: h, socket: filepath.Join(h.Dir, "docker.sock")}
	config := filepath.Join(h.Dir, "docker.json") // else /etc/docker/daemon.json
	if err := os.WriteFile(config, []byte("{}\n"), 0o644); err != nil {
		return nil, fmt.Errorf("dockerd: %w", err)
	}
	argv := []string{
		dockerd, "--config-file", config, "--host", "unix://" + d.socket,
		"--data-root", filepath.Join(h.Data, "docker"), "--exec-root", filepath.Join(h.Dir, "d"),
		"--pidfile", filepath.Join(h.Dir, "docker.pid"), "--storage-driver", "overlay2",
		"--iptables=false", "--ip6tables=false", "--bridge=none", "--insecure-registry", subnet.String(),
	}
	for _, mirror := range mirrors {
		argv = append(argv, "--registry-mirror", mirror)
	}
	var err error
	d.Process, err = h.Start(ctx, Program{
		Name: "dockerd", Argv: argv, Env: []string{debianPath},
		Ready: func(ctx context.Context) error {
			_, err := d.Docker(ctx, "version")
			return err
		},
	})
	return d, err
}

// Docker runs docker against the daemon and returns what it printed.
func (d *Docker) Docker(ctx context.Context, args ...string) (string, error) {
	home := "DOCKER_CONFIG=" + filepath.Join(d.Host.Dir, "docker-config")
	argv := []string{"env", home, debianPath, docker, "--host", "unix://" + d.socket}
	return d.Host.Output(ctx, append(argv, args...)...)
}

// Verify compares the image that docker has with the one in the registry: its
// identity is the config's digest. docker checked the layers by their diffIDs.
func (d *Docker) Verify(ctx context.Context, name string, i Image) error {
	out, err := d.Docker(ctx, "image", "inspect", "--format", "{{.Id}} {{len .RootFS.Layers}}", name)
	if err != nil {
		return err
	}
	want := ""
	for _, blob := range i.Blobs {
		if blob.Kind == "config" {
			want = fmt.Sprintf("%s %d", blob.Digest, i.Layers)
		}
	}
	if got := strings.TrimSpace(out); got != want {
		return fmt.Errorf("docker has %s for %s, want %s", got, name, want)
	}
	return nil
}
