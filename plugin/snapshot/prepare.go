package snapshot

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"syscall"
	"time"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/pkg/snapshotters"
	"github.com/containerd/errdefs"
	"github.com/containerd/log"
)

// Prepare implements snapshots.Snapshotter. A layer of an image that the door can
// serve is committed, and the error is ErrAlreadyExists, which tells containerd to use
// what is there. Anything else gets the mounts of the overlay snapshotter, in the case
// of a layer after PrepareTimeout at the latest; but for the layers of a Nydus image, with
// which containerd can do nothing, there is an error that says what is wrong.
func (d *Door) Prepare(ctx context.Context, key, parent string, opts ...snapshots.Opt) ([]mount.Mount, error) {
	var info snapshots.Info
	for _, o := range opts {
		if err := o(&info); err != nil {
			return nil, fmt.Errorf("prepare %s: %w", key, err)
		}
	}
	r, err := parseRequest(key, info.Labels)
	if errors.Is(err, errNotLayer) {
		return d.begin(ctx, nil, key, parent, func() ([]mount.Mount, error) { return d.Snapshotter.Prepare(ctx, key, parent, opts...) })
	}
	began := time.Now()
	outcome := served
	if err != nil {
		err = because(badLabels, err)
	} else {
		outcome, err = d.serve(ctx, r, key, parent, info.Labels)
	}
	if err != nil {
		outcome = reasonOf(err)
	}
	d.metrics.prepared(outcome, time.Since(began))
	d.tell(ctx, r, outcome, time.Since(began), err)
	switch {
	case err == nil:
		return nil, fmt.Errorf("layer %s is here: %w", r.chain, errdefs.ErrAlreadyExists)
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case isLazy(info.Labels):
		// containerd would fetch it whole and find that it cannot unpack it.
		return nil, fmt.Errorf("layer %s: %w", info.Labels[snapshotters.TargetLayerDigestLabel], err)
	}
	var asked *imageName
	if r != nil {
		asked = r.image
	}
	return d.begin(ctx, asked, key, parent, func() ([]mount.Mount, error) { return d.Snapshotter.Prepare(ctx, key, parent, opts...) })
}

// serve makes the layer a committed snapshot above parent, unless there is one.
func (d *Door) serve(ctx context.Context, r *request, key, parent string, labels map[string]string) (outcome string, err error) {
	if there, err := d.shelf.has(ctx, r.chain, parent); err != nil || there {
		return shared, err
	}
	if r.image == nil {
		return "", because(noImage, errors.New("the client does not say which image it is"))
	}
	below, err := d.shelf.ground(ctx, parent)
	if err == nil && r.parent == "" {
		r.parent = below.chain // containerd 1.6 does not say
	} else if err == nil && r.parent != below.chain {
		err = fmt.Errorf("parent %q is the layer %q, not %q: %w", parent, below.chain, r.parent, errdefs.ErrInvalidArgument)
	}
	if err != nil {
		return "", because(badLabels, err)
	}
	fallen := d.stager.enter(r)
	defer func() { d.stager.leave(r, err == nil) }()
	if fallen {
		got, err := d.stager.takeReady(r)
		if got == nil {
			return "", because(fellBelow, cmp.Or(err, errFallen))
		}
		return served, d.place(ctx, r, got, key, parent, below, labels)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, d.cfg.PrepareTimeout.Duration(), errTooLate)
	defer cancel()
	for {
		got, err := d.stager.take(ctx, r)
		switch {
		case err == nil:
			return served, d.place(ctx, r, got, key, parent, below, labels)
		case errors.Is(err, errTooLate):
			return "", because(tooLate, fmt.Errorf("not here after %v; its download goes on", d.cfg.PrepareTimeout))
		case !errors.Is(err, errTaken):
			return "", err
		}
		if there, err := d.shelf.has(ctx, r.chain, parent); err != nil || there {
			return shared, err
		}
	}
}

var (
	errTooLate = errors.New("prepare_timeout has passed")
	errFallen  = errors.New("a lower layer was not served, so that containerd fetches this one, too")
)

// place makes a layer that was taken a committed snapshot.
func (d *Door) place(ctx context.Context, r *request, got *staged, key, parent string, below ground, labels map[string]string) (err error) {
	defer func() { d.stager.placed(r.chain, got, err == nil) }()
	if !got.stood {
		if err := d.fill(ctx, r.image, below.hollow); err != nil {
			return because(notPlaced, err)
		}
		if err := d.settle(ctx, got, below); err != nil {
			return because(notPlaced, fmt.Errorf("commit layer: %w", err))
		}
	}
	if err := d.shelf.place(ctx, got.dir, key, parent, r.chain, got.usage, labels); err != nil {
		return because(notPlaced, err)
	}
	d.metrics.served(got)
	return nil
}

// settle gives a layer what it takes from those below.
func (d *Door) settle(ctx context.Context, got *staged, below ground) error {
	dirs := below.dirs
	if b := below.base; b != nil && b.note.Beside { // its files are where it is mounted
		defer d.lazy.release(ctx, b)
		defer d.lazy.lock(b.id)()
		if err := d.lazy.mount(ctx, b); err != nil {
			return fmt.Errorf("mount the Nydus image %s: %w", b.note.Image, err)
		}
		dirs = append(slices.Clone(dirs[:len(dirs)-1]), d.lazy.mountpoint(b.id))
	}
	if len(got.implicit) > 0 {
		if err := d.unpacker.Settle(ctx, files(got.dir), got.implicit, dirs); err != nil {
			return err
		}
	}
	if len(dirs) > 0 {
		return sameOwner(files(got.dir), dirs[0])
	}
	return nil
}

// sameOwner gives a layer's root the owner of the one below, as the overlay snapshotter does.
func sameOwner(dir, below string) error {
	fi, err := os.Lstat(below)
	if err != nil {
		return err
	}
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok {
		return fmt.Errorf("owner of %s: %w", below, errdefs.ErrNotImplemented)
	}
	return os.Lchown(dir, int(st.Uid), int(st.Gid))
}

// tell logs how a layer's Prepare ended.
func (d *Door) tell(ctx context.Context, r *request, outcome string, took time.Duration, err error) {
	fields := log.Fields{"outcome": outcome, "took": took.Round(time.Millisecond).String()}
	if r != nil {
		fields["chain"] = r.chain.String()
		if r.image != nil {
			fields["image"], fields["layer"] = r.image.ref, r.layer.String()
		}
	}
	l := log.G(ctx).WithFields(fields)
	switch outcome {
	case served:
		l.Info("layer is served")
	case shared:
		l.Debug("layer is here already")
	case fellBelow, noImage, gone:
		l.WithError(err).Debug("layer is left to containerd")
	default:
		l.WithError(err).Warn("layer is left to containerd")
	}
}
