package snapshot

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/core/snapshots/storage"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// A hollow layer is one of an ordinary image that a Nydus image stands for: a committed
// snapshot without its files. The image's own containers do not need them. Whoever puts
// anything else on it does: then its files are brought first.

// hollowNote says where a hollow layer's files are.
type hollowNote struct {
	note

	Chain digest.Digest `json:"chain"`
}

// hollowName is its file, beside the files of the layer that are not there.
const hollowName = "hollow.json"

func (n hollowNote) write(dir string) error { return writeNote(dir, hollowName, n) }

// name returns the image that the layer was pulled for.
func (n hollowNote) name() *imageName {
	return &imageName{ref: n.Image, registry: n.Registry, repository: n.Repository, manifest: n.Manifest}
}

// hollow is a hollow layer's snapshot.
type hollow struct {
	id    string
	note  hollowNote
	below []string // the directories of files below it, the nearest first
}

// ground is what a snapshot is put on.
type ground struct {
	dirs   []string // of files, the nearest first, down to base
	chain  digest.Digest
	hollow []hollow // the lowest first; none below base
	base   *base    // the nearest that a RAFS mount stands for; nil = none
}

// ground returns what lies at and below parent; nothing for "".
func (s *shelf) ground(ctx context.Context, parent string) (g ground, err error) {
	if parent == "" {
		return g, nil
	}
	var ids []string
	err = s.meta.WithTransaction(ctx, false, func(ctx context.Context) error {
		for name := parent; name != ""; {
			id, info, _, err := storage.GetInfo(ctx, name)
			if err != nil {
				return fmt.Errorf("parent %q: %w", name, err)
			}
			if name == parent {
				if g.chain, err = chainOf(info); err != nil {
					return fmt.Errorf("parent %q: %w", name, err)
				}
			}
			ids = append(ids, id)
			g.dirs = append(g.dirs, files(s.snapshot(id)))
			if info.Kind == snapshots.KindCommitted && g.base == nil {
				n, ok, err := readNote(s.snapshot(id))
				if err != nil {
					return err
				}
				if ok {
					g.base = &base{id: id, note: n}
					return nil
				}
			}
			name = info.Parent
		}
		return nil
	})
	if err != nil {
		return g, err
	}
	for i, id := range slices.Backward(ids) {
		var n hollowNote
		found, err := readNoteAs(s.snapshot(id), hollowName, &n)
		if err != nil {
			return g, err
		}
		if found {
			g.hollow = append(g.hollow, hollow{id: id, note: n, below: g.dirs[i+1:]})
		}
	}
	return g, nil
}

// hollowBelow returns the hollow layers that something put on parent would see, the lowest first.
func (s *shelf) hollowBelow(ctx context.Context, parent string) ([]hollow, error) {
	g, err := s.ground(ctx, parent)
	if errdefs.IsInvalidArgument(err) || errdefs.IsNotFound(err) {
		return nil, nil // no layer; what is wrong with it the snapshotter says
	}
	return g.hollow, err
}

// fill brings the files of the hollow layers that something is about to be put on.
// asked is the image that it is for, nil where that is not known: its repository is
// tried, too.
func (d *Door) fill(ctx context.Context, asked *imageName, layers []hollow) error {
	if len(layers) == 0 {
		return nil
	}
	d.filling.Lock() // one at a time: it is rare, and others may want the same
	defer d.filling.Unlock()
	ctx, cancel := context.WithTimeoutCause(ctx, d.cfg.PrepareTimeout.Duration(), errTooLate)
	defer cancel()
	all := make([]*staged, len(layers))
	defer func() {
		for _, s := range all {
			if s != nil {
				d.stager.removeNow(s.dir)
			}
		}
	}()
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(d.cfg.parallel())
	for i, h := range layers {
		g.Go(func() (err error) {
			if still, err := readNoteAs(d.shelf.snapshot(h.id), hollowName, new(hollowNote)); err != nil || !still {
				return err // somebody was faster
			}
			all[i], err = d.stager.stageHollow(gctx, h, asked)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return fmt.Errorf("bring the files below, for which a Nydus image stood: %w", err)
	}
	for i, h := range layers {
		if all[i] == nil {
			continue
		}
		if err := d.settleHollow(ctx, h, all[i]); err != nil {
			return fmt.Errorf("put the files in their place, for which a Nydus image stood: %w", err)
		}
	}
	return nil
}

// settleHollow puts the files of a layer in the place of their absence, at once.
func (d *Door) settleHollow(ctx context.Context, h hollow, got *staged) error {
	if len(got.implicit) > 0 {
		if err := d.unpacker.Settle(ctx, files(got.dir), got.implicit, h.below); err != nil {
			return err
		}
	}
	if len(h.below) > 0 {
		if err := sameOwner(files(got.dir), h.below[0]); err != nil {
			return err
		}
	}
	return unix.Renameat2(unix.AT_FDCWD, got.dir, unix.AT_FDCWD, d.shelf.snapshot(h.id), unix.RENAME_EXCHANGE)
}

// stageHollow stages the ordinary files of a hollow layer.
func (g *stager) stageHollow(ctx context.Context, h hollow, asked *imageName) (*staged, error) {
	var errs []error
	for _, n := range []*imageName{asked, h.note.name()} {
		if n == nil {
			continue
		}
		m, err := g.lib.image(ctx, n)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if !slices.ContainsFunc(m.layers, func(l imageLayer) bool { return l.chain == h.note.Chain && l.role == ordinary && l.supported() }) {
			continue // of another image that shares the layers below this one
		}
		got, err := g.stage(ctx, m, h.note.Chain)
		if err == nil {
			return got, nil
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(append(errs, fmt.Errorf("layer %s of %s: %w", h.note.Chain, h.note.Image, errdefs.ErrUnavailable))...)
}
