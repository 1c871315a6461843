package snapshot

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/containerd/log"
)

// Waits between tries to bring the mounts in order.
const (
	firstRecovery = 250 * time.Millisecond
	mostRecovery  = 30 * time.Second
)

// recover mounts again what containers use, after a reboot or when the mount server was
// away, and unmounts what none does. It tries until that is done or ctx ends.
func (z *lazy) recover(ctx context.Context) {
	if z.mounter == nil {
		return
	}
	for wait := firstRecovery; ; wait = min(2*wait, mostRecovery) {
		err := z.recoverOnce(ctx)
		if err == nil || ctx.Err() != nil {
			return
		}
		if wait == 8*firstRecovery { // it is not just starting, too
			log.G(ctx).WithError(err).Warn("Nydus images of containers are not mounted yet")
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return
		}
	}
}

func (z *lazy) recoverOnce(ctx context.Context) error {
	live, err := z.shelf.live(ctx)
	if err != nil {
		return err
	}
	listing, cancel := context.WithTimeout(ctx, mountWait)
	defer cancel()
	mounts, err := z.mounter.List(listing)
	if err != nil && len(live) == 0 {
		return nil // nobody needs the mount server
	}
	if err != nil {
		return err
	}
	var errs []error
	for _, m := range mounts {
		id, ours := strings.CutPrefix(m.ID, z.prefix)
		if ours && live[id] == nil {
			errs = append(errs, z.releaseID(ctx, id))
		}
	}
	for _, b := range live {
		if err := z.remount(ctx, b); err != nil {
			errs = append(errs, fmt.Errorf("mount the Nydus image %s: %w", b.note.Image, err))
		}
	}
	return errors.Join(errs...)
}

// remount mounts a bootstrap layer that still has containers.
func (z *lazy) remount(ctx context.Context, b *base) error {
	defer z.lock(b.id)()
	live, err := z.shelf.live(ctx)
	if err != nil || live[b.id] == nil {
		return err
	}
	return z.mount(ctx, b)
}

// releaseID unmounts what has no container.
func (z *lazy) releaseID(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeout(ctx, mountWait)
	defer cancel()
	defer z.lock(id)()
	live, err := z.shelf.live(ctx)
	if err != nil || live[id] != nil {
		return err
	}
	if err := z.mounter.Unmount(ctx, z.prefix+id); err != nil {
		return err
	}
	return z.removeMountpoint(id)
}
