package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/darter-p2p/darter/integration/lab/rootfs"
)

// Rootfs reads the root file system of an image that a client has pulled into a
// snapshotter, as a container would see it.
func (c *Containerd) Rootfs(ctx context.Context, client Client, snapshotter, ref string) (tree rootfs.Tree, err error) {
	err = c.WithRootfs(ctx, client, snapshotter, ref, func(at string) (err error) {
		tree, err = rootfs.Read(at)
		return err
	})
	return tree, err
}

// WithRootfs calls use while the root file system of an image is mounted, as a container
// would see it.
func (c *Containerd) WithRootfs(ctx context.Context, client Client, snapshotter, ref string, use func(at string) error) error {
	at, err := os.MkdirTemp(c.Host.Data, "rootfs-")
	if err != nil {
		return fmt.Errorf("rootfs: %w", err)
	}
	defer os.Remove(at)
	// Not c.Ctr: that of containerd 1.6 mounts from overlayfs whatever it is told.
	images := []string{"ctr", "-a", c.Socket, "-n", client.namespace(), "images"}
	if _, err := c.Host.Output(ctx, append(images, "mount", "--snapshotter", snapshotter, ref, at)...); err != nil {
		return err
	}
	err = use(at)
	_, unmounted := c.Host.Output(context.WithoutCancel(ctx), append(images, "unmount", "--snapshotter", snapshotter, "--rm", at)...)
	return errors.Join(err, unmounted)
}

// Snapshots lists the keys of the snapshots that a snapshotter has for a client.
func (c *Containerd) Snapshots(ctx context.Context, client Client, snapshotter string) ([]string, error) {
	out, err := c.Ctr(ctx, "-n", client.namespace(), "snapshots", "--snapshotter", snapshotter, "ls")
	if err != nil {
		return nil, err
	}
	return firstColumn(out), nil
}

// DoorFolders lists the folders in which the host's door keeps snapshots, and those
// in which it unpacks. After every image and container is gone both shall be empty.
func (h *Host) DoorFolders() ([]string, error) {
	var all []string
	for _, pattern := range []string{"snapshots/*", "staged/*"} {
		found, err := filepath.Glob(filepath.Join(h.doorRoot(), pattern))
		if err != nil {
			return nil, err
		}
		all = append(all, found...)
	}
	return all, nil
}
