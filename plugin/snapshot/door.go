package snapshot

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/core/snapshots/storage"
	"github.com/containerd/containerd/v2/plugins/snapshots/overlay"
	"github.com/containerd/containerd/v2/plugins/snapshots/overlay/overlayutils"
	"github.com/containerd/errdefs"
)

// Door is a snapshots.Snapshotter and snapshots.Cleaner. Its methods may be called
// concurrently; Prepare of a layer may block for Config.PrepareTimeout, all others are
// those of containerd's overlay snapshotter.
type Door struct {
	snapshots.Snapshotter

	cfg  Config
	meta *storage.MetaStore
}

// New opens the snapshots under cfg.Root and removes what a crash left behind. One
// process at a time uses them. The caller calls Close.
func New(ctx context.Context, cfg Config) (*Door, error) {
	if err := os.MkdirAll(cfg.Root, 0o700); err != nil {
		return nil, fmt.Errorf("open snapshots: %w", err)
	}
	meta, err := openMeta(cfg.Root)
	if err != nil {
		return nil, fmt.Errorf("open snapshots: %w", err)
	}
	options := []overlay.Opt{overlay.WithMetaStore(meta), overlay.AsynchronousRemove}
	if ok, err := overlayutils.SupportsIDMappedMounts(); err == nil && ok {
		options = append(options, overlay.WithRemapIDs)
	}
	below, err := overlay.NewSnapshotter(cfg.Root, options...)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open snapshots in %s: %w", cfg.Root, err), meta.Close())
	}
	d := &Door{Snapshotter: below, cfg: cfg, meta: meta}
	if err := d.Cleanup(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("open snapshots in %s: %w", cfg.Root, err), below.Close())
	}
	return d, nil
}

// Prepare implements snapshots.Snapshotter.
func (d *Door) Prepare(ctx context.Context, key, parent string, opts ...snapshots.Opt) ([]mount.Mount, error) {
	return d.Snapshotter.Prepare(ctx, key, parent, opts...)
}

// Cleanup removes the directories that no snapshot uses any more.
func (d *Door) Cleanup(ctx context.Context) error {
	c, ok := d.Snapshotter.(snapshots.Cleaner)
	if !ok {
		return errdefs.ErrNotImplemented
	}
	if err := c.Cleanup(ctx); err != nil && !errdefs.IsNotFound(err) { // not found: no snapshot was ever made
		return err
	}
	return nil
}
