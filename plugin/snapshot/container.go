package snapshot

import (
	"context"
	"errors"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
)

// View implements snapshots.Snapshotter.
func (d *Door) View(ctx context.Context, key, parent string, opts ...snapshots.Opt) ([]mount.Mount, error) {
	return d.begin(ctx, nil, key, parent, func() ([]mount.Mount, error) { return d.Snapshotter.View(ctx, key, parent, opts...) })
}

// begin makes a snapshot that others than the door write to or read: of a container, or
// of a layer that containerd unpacks, for the image asked (nil = not known). One whose
// image cannot be mounted, or below which files are missing, is not made.
func (d *Door) begin(ctx context.Context, asked *imageName, key, parent string, create func() ([]mount.Mount, error)) ([]mount.Mount, error) {
	layers, err := d.shelf.hollowBelow(ctx, parent)
	if err == nil {
		err = d.fill(ctx, asked, layers)
	}
	if err != nil {
		return nil, err
	}
	mounts, err := create()
	if err != nil {
		return nil, err
	}
	if mounts, err = d.lazy.over(ctx, key, mounts); err != nil {
		return nil, errors.Join(err, d.Remove(context.WithoutCancel(ctx), key))
	}
	return mounts, nil
}

// Mounts implements snapshots.Snapshotter. It returns what Prepare or View returned, and
// sees that the image is mounted.
func (d *Door) Mounts(ctx context.Context, key string) ([]mount.Mount, error) {
	mounts, err := d.Snapshotter.Mounts(ctx, key)
	if err != nil {
		return nil, err
	}
	return d.lazy.over(ctx, key, mounts)
}

// Commit implements snapshots.Snapshotter.
func (d *Door) Commit(ctx context.Context, name, key string, opts ...snapshots.Opt) error {
	b, _ := d.shelf.usedBy(ctx, key) // what is wrong with key Commit says
	if err := d.Snapshotter.Commit(ctx, name, key, opts...); err != nil {
		return err
	}
	d.lazy.release(ctx, b)
	return nil
}

// Remove implements snapshots.Snapshotter. With the last container of a Nydus image its
// mount goes.
func (d *Door) Remove(ctx context.Context, key string) error {
	b, _ := d.shelf.usedBy(ctx, key) // what is wrong with key Remove says
	if err := d.Snapshotter.Remove(ctx, key); err != nil {
		return err
	}
	d.lazy.release(ctx, b)
	return nil
}
