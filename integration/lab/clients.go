package lab

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
)

// Client is a program that pulls images into a containerd.
type Client string

const (
	Ctr     Client = "ctr"
	Nerdctl Client = "nerdctl"
	Crictl  Client = "crictl" // through CRI, as kubelet does
)

// Clients are all of them.
var Clients = []Client{Ctr, Nerdctl, Crictl}

// namespace is where a client's images are in containerd.
func (c Client) namespace() string {
	if c == Crictl {
		return "k8s.io"
	}
	return "default"
}

// Ctr runs ctr on the node and returns what it printed.
func (c *Containerd) Ctr(ctx context.Context, args ...string) (string, error) {
	return c.Run(ctx, Ctr, args...)
}

// Run runs a client on the node and returns what it printed. args come behind the
// flags that say where the node's containerd is.
func (c *Containerd) Run(ctx context.Context, client Client, args ...string) (string, error) {
	return c.Host.Output(ctx, append(c.argv(client), args...)...)
}

// argv begins the command line of a client.
func (c *Containerd) argv(client Client) []string {
	switch client {
	case Nerdctl:
		argv := []string{
			"nerdctl", "--address", c.Socket, "--data-root", filepath.Join(c.Host.Data, "nerdctl"), "--hosts-dir", c.HostsDir,
			"--cni-path", "/usr/lib/cni", "--cni-netconfpath", filepath.Join(c.Host.Dir, "cni-nerdctl"),
		}
		if c.Snapshotter != "" {
			argv = append(argv, "--snapshotter", c.Snapshotter)
		}
		return argv
	case Crictl:
		endpoint := "unix://" + c.Socket
		return []string{"crictl", "--config", "/dev/null", "-r", endpoint, "-i", endpoint, "--timeout", "10m"}
	}
	return []string{c.ctr, "-a", c.Socket}
}

// Pull pulls an image with a client. More flags may be given.
func (c *Containerd) Pull(ctx context.Context, client Client, ref string, flags ...string) error {
	args := []string{"pull"}
	if client == Ctr {
		args = []string{"images", "pull", "--hosts-dir", c.HostsDir} // ctr reads no other setting
		if c.Snapshotter != "" {
			args = append(args, "--snapshotter", c.Snapshotter)
		}
	}
	_, err := c.Run(ctx, client, append(append(args, flags...), ref)...)
	return err
}

// Remove removes an image and waits until its content is gone.
func (c *Containerd) Remove(ctx context.Context, client Client, ref string) error {
	remove := []string{"rmi", ref}
	if client == Ctr {
		remove = []string{"images", "rm", ref}
	}
	if _, err := c.Run(ctx, client, remove...); err != nil {
		return err
	}
	return c.Collect(ctx)
}

// Collect makes containerd remove what no image and no lease names, of all
// namespaces, and waits for it.
func (c *Containerd) Collect(ctx context.Context) error {
	_, err := c.Ctr(ctx, "content", "prune", "references")
	return err
}

// Verify reads every blob of the image out of the node's containerd and compares
// its sha256. The error names each that is absent or wrong.
func (c *Containerd) Verify(ctx context.Context, client Client, i Image) error {
	var errs []error
	for _, blob := range i.Blobs {
		sum := sha256.New()
		var complaint strings.Builder
		cmd := c.Host.Command(ctx, c.ctr, "-a", c.Socket, "-n", client.namespace(), "content", "get", blob.Digest.String())
		cmd.Stdout, cmd.Stderr = sum, &complaint
		if err := cmd.Run(); err != nil {
			errs = append(errs, fmt.Errorf("%s: %s %s: %w: %s", c.Host.Name, blob.Kind, blob.Digest, err, strings.TrimSpace(complaint.String())))
		} else if got := hex.EncodeToString(sum.Sum(nil)); got != blob.Digest.Encoded() {
			errs = append(errs, fmt.Errorf("%s: %s %s: content is %s", c.Host.Name, blob.Kind, blob.Digest, got))
		}
	}
	return errors.Join(errs...)
}

// firstColumn returns the first word of every line of a table but its head.
func firstColumn(table string) []string {
	var all []string
	for line := range strings.Lines(table) {
		if fields := strings.Fields(line); len(fields) > 0 {
			all = append(all, fields[0])
		}
	}
	return all[min(1, len(all)):]
}
