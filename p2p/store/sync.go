package store

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"time"

	"github.com/containerd/errdefs"

	"github.com/darter-p2p/darter/p2p"
	"github.com/darter-p2p/darter/p2p/store/journal"
)

// sync makes durable what was verified and recorded before it began: first the
// data, then a marker in the journal that says so, then the journal.
func (t *task) sync() error {
	t.syncing.Lock()
	defer t.syncing.Unlock()
	return t.syncHeld()
}

func (t *task) syncHeld() error {
	if err := t.rewriteIfNeeded(); err != nil {
		return err
	}
	pieces, stale, before := t.takeUnsynced()
	if len(pieces) == 0 && !stale {
		return nil
	}
	if err := t.establish(); err != nil {
		t.putBack(pieces, stale)
		return err
	}
	if len(pieces) > 0 || !t.sized {
		if err := t.file.Datasync(); err != nil {
			t.putBack(nil, stale)
			return t.forgetPieces(pieces, err)
		}
		t.sized = true
	}
	if len(pieces) > 0 {
		if err := t.appendMarker(before); err != nil {
			t.putBack(pieces, stale)
			return err
		}
	}
	if err := t.journal.Datasync(); err != nil {
		t.setNeedsRewrite()
		t.d.log.WithField("task", t.e.id.String()).WithError(err).Warn("rewriting a journal that did not sync")
		return t.rewriteIfNeeded()
	}
	return nil
}

// takeUnsynced takes what a sync is about to make durable, and the offset of the
// journal that ends it.
func (t *task) takeUnsynced() (pieces []p2p.Piece, stale bool, before int64) {
	t.appending.Lock()
	defer t.appending.Unlock()
	t.mu.Lock()
	defer t.mu.Unlock()
	pieces, stale = t.unsynced, t.stale
	t.unsynced, t.unsyncedBytes, t.stale = nil, 0, false
	return pieces, stale, t.end.Offset()
}

// putBack undoes takeUnsynced.
func (t *task) putBack(pieces []p2p.Piece, stale bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.unsynced = append(pieces, t.unsynced...)
	for _, p := range pieces {
		t.unsyncedBytes += t.e.g.Length(p)
	}
	t.stale = t.stale || stale
}

// establish makes the names of the task's files durable. It comes before the first
// marker, so that a journal with a marker is never found beside another file's data.
func (t *task) establish() error {
	if t.established || t.e.gone.Load() {
		return nil
	}
	if err := t.d.fs.SyncDir(t.e.names.dir); err != nil {
		return err
	}
	t.established = true
	return nil
}

func (t *task) appendMarker(before int64) error {
	t.appending.Lock()
	defer t.appending.Unlock()
	return t.append(t.end.Synced(t.record[:0], before))
}

func (t *task) setNeedsRewrite() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.needsRewrite = true
}

// forgetPieces gives up every piece that is not durable after a sync of the data
// failed: the kernel may have dropped their pages, and a later sync that succeeds
// would say nothing about them. They have to be fetched again. What is being
// written now is refused at its Commit.
func (t *task) forgetPieces(pieces []p2p.Piece, cause error) error {
	t.appending.Lock()
	t.mu.Lock()
	lost := slices.Concat(pieces, t.unsynced)
	for _, p := range lost {
		t.have.Remove(p)
		t.digests[p] = p2p.PieceDigest{}
	}
	t.unsynced, t.unsyncedBytes = nil, 0
	t.needsRewrite = true
	t.epoch++
	t.e.countSet(t.have)
	t.mu.Unlock()
	t.appending.Unlock()
	return errors.Join(fmt.Errorf("%d pieces lost: %w", len(lost), cause), t.rewriteIfNeeded())
}

// rewriteIfNeeded replaces the journal by one that says what the task knows, if
// its end cannot be trusted or too much of it is without use. syncing is held.
func (t *task) rewriteIfNeeded() error {
	t.mu.RLock()
	needed := t.needsRewrite || t.dropped > rewriteAbove
	t.mu.RUnlock()
	if !needed {
		return nil
	}
	t.appending.Lock()
	defer t.appending.Unlock()
	t.d.naming.Lock()
	defer t.d.naming.Unlock()
	if t.e.gone.Load() {
		return ErrGone
	}
	b, end := t.compact()
	if err := t.replaceJournal(b); err != nil {
		return fmt.Errorf("rewrite journal: %w", err)
	}
	t.end = end
	t.mu.Lock()
	t.needsRewrite, t.dropped = false, 0
	t.mu.Unlock()
	t.established = false
	return t.establish()
}

// compact returns a journal of what the task knows: durable pieces, a marker, the
// other pieces, proofs, pins.
func (t *task) compact() ([]byte, journal.End) {
	t.d.mu.Lock()
	kept := t.e.pins.active(time.Now())
	t.d.mu.Unlock()
	t.mu.RLock()
	defer t.mu.RUnlock()
	b, end := journal.Begin(nil, t.e.id, t.e.g)
	later := p2p.NewPieceSet(t.have.Len())
	for _, p := range t.unsynced {
		later.Add(p)
	}
	for p, ok := t.have.Next(0); ok; p, ok = t.have.Next(p + 1) {
		if !later.Has(p) {
			b, end = end.Piece(b, p, t.digests[p])
		}
	}
	b, end = end.Synced(b, end.Offset())
	for _, p := range t.unsynced {
		b, end = end.Piece(b, p, t.digests[p])
	}
	for _, proof := range t.proofs {
		b, end = end.Proof(b, proof, false)
	}
	for _, reason := range slices.Sorted(maps.Keys(kept)) {
		b, end = end.Pin(b, reason, kept[reason])
	}
	if t.sealed {
		b, end = end.Complete(b)
	}
	return b, end
}

// replaceJournal puts a new, synced file in the journal's place.
func (t *task) replaceJournal(b []byte) error {
	fsys, n := t.d.fs, t.e.names
	if err := fsys.Remove(n.fresh()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := fsys.Create(n.fresh())
	if err != nil {
		return err
	}
	if _, err = f.WriteAt(b, 0); err == nil {
		err = f.Datasync()
	}
	if err == nil {
		err = fsys.Rename(n.fresh(), n.journal())
	}
	if err != nil {
		return errors.Join(err, f.Close(), fsys.Remove(n.fresh()))
	}
	old := t.journal
	t.journal = f
	return old.Close()
}

// complete gives a whole task its final name. What it has done is kept when it
// fails, so that it can be tried again.
func (t *task) complete() error {
	t.syncing.Lock()
	defer t.syncing.Unlock()
	if t.e.completed.Load() {
		return t.syncHeld() // proofs may have come since
	}
	t.mu.RLock()
	have, n := t.have.Count(), t.have.Len()
	t.mu.RUnlock()
	if have < n {
		return fmt.Errorf("%d of %d pieces: %w", have, n, errdefs.ErrFailedPrecondition)
	}
	if err := errors.Join(t.syncHeld(), t.establish()); err != nil {
		return err
	}
	if err := t.seal(); err != nil {
		return err
	}
	if err := t.moveToFinal(); err != nil {
		return err
	}
	if err := t.d.fs.SyncDir(t.e.names.dir); err != nil {
		return err
	}
	t.e.completed.Store(true)
	return nil
}

// seal records durably that the task is complete.
func (t *task) seal() error {
	if t.sealed {
		return nil
	}
	t.appending.Lock()
	err := t.append(t.end.Complete(t.record[:0]))
	t.appending.Unlock()
	if err != nil {
		return err
	}
	if err := t.journal.Datasync(); err != nil {
		t.setNeedsRewrite()
		return err
	}
	t.sealed = true
	return nil
}

// moveToFinal renames the data file, once. Nobody may open it for writing from then on.
func (t *task) moveToFinal() error {
	t.d.naming.Lock()
	defer t.d.naming.Unlock()
	if err := t.check(); err != nil || t.renamed {
		return err
	}
	if err := t.d.fs.ReadOnly(t.e.names.part()); err != nil {
		return err
	}
	if err := t.d.fs.Rename(t.e.names.part(), t.e.names.final()); err != nil {
		return err
	}
	t.renamed = true
	return nil
}
