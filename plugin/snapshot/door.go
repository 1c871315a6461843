package snapshot

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/plugins/snapshots/overlay"
	"github.com/containerd/containerd/v2/plugins/snapshots/overlay/overlayutils"
	"github.com/containerd/errdefs"
	"github.com/prometheus/client_golang/prometheus"
)

// Door is a snapshots.Snapshotter and snapshots.Cleaner. Its methods may be called
// concurrently; Prepare of a layer may block for Config.PrepareTimeout, and Prepare, View
// and Mounts of a container of a Nydus image until that is mounted. All else is as with
// containerd's overlay snapshotter.
type Door struct {
	snapshots.Snapshotter

	cfg      Config
	shelf    *shelf
	unpacker Unpacker
	stager   *stager
	lazy     *lazy
	metrics  *metrics
	filling  sync.Mutex // of hollow layers
}

// Options are what a Door works with.
type Options struct {
	Fetcher     Opener
	Credentials Credentials           // nil = none
	Resolver    Resolver              // for Config.PreferNydus; nil = what is pulled by tag has no Nydus image
	Unpacker    Unpacker              // nil = package layer
	Mounter     Mounter               // of Nydus images; nil = they are refused
	Metrics     prometheus.Registerer // nil = not counted
}

// New opens the snapshots under cfg.Root and removes what a crash left behind. One
// process at a time uses them. The caller calls Close.
func New(ctx context.Context, cfg Config, o Options) (*Door, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("snapshots: %w", err)
	}
	if o.Unpacker == nil {
		o.Unpacker = layers{}
	}
	d := &Door{cfg: cfg, unpacker: o.Unpacker}
	var err error
	if d.metrics, err = newMetrics(o.Metrics); err != nil {
		return nil, fmt.Errorf("snapshots: %w", err)
	}
	if err := d.open(ctx); err != nil {
		return nil, fmt.Errorf("open snapshots in %s: %w", cfg.Root, err)
	}
	d.lazy = newLazy(o.Mounter, d.shelf)
	d.stager = newStager(&library{opener: o.Fetcher, credentials: o.Credentials, resolver: o.Resolver}, o.Unpacker, d.shelf, d.lazy, cfg)
	return d, nil
}

// open opens metadata and overlay snapshotter, and brings the disk in order.
func (d *Door) open(ctx context.Context) (err error) {
	if err := os.MkdirAll(d.cfg.Root, 0o700); err != nil {
		return err
	}
	if d.shelf, err = openShelf(d.cfg.Root); err != nil {
		return err
	}
	// As containerd's overlayfs plugin does by default.
	options := []overlay.Opt{overlay.WithMetaStore(d.shelf.meta), overlay.AsynchronousRemove}
	if ok, err := overlayutils.SupportsIDMappedMounts(); err == nil && ok {
		options = append(options, overlay.WithRemapIDs)
	}
	if d.Snapshotter, err = overlay.NewSnapshotter(d.cfg.Root, options...); err != nil {
		return errors.Join(err, d.shelf.meta.Close())
	}
	if err := errors.Join(d.Cleanup(ctx), d.shelf.wipe()); err != nil {
		return errors.Join(err, d.Snapshotter.Close())
	}
	return nil
}

// Close ends what is being staged, waits for it and closes the snapshots. It may be
// called twice.
func (d *Door) Close() error {
	d.stager.close()
	return errors.Join(d.shelf.wipe(), d.Snapshotter.Close())
}

// Cleanup removes the directories that no snapshot uses any more.
func (d *Door) Cleanup(ctx context.Context) error {
	c, ok := d.Snapshotter.(snapshots.Cleaner)
	if !ok {
		return errdefs.ErrNotImplemented
	}
	return c.Cleanup(ctx)
}
