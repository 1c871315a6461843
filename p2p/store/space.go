package store

import (
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/containerd/errdefs"

	"github.com/darter-p2p/darter/p2p"
	"github.com/darter-p2p/darter/p2p/store/journal"
)

// Space returns how much of the disk the store may use now.
func (d *Disk) Space() Space {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.space
}

// SetSpace changes how much of the disk the store may use, or returns
// ErrInvalidArgument. It returns at once; what is too much then is given back by the
// store's own goroutine, as far as nobody uses it.
func (d *Disk) SetSpace(s Space) error {
	if err := s.Validate(); err != nil {
		return err
	}
	d.mu.Lock()
	changed := d.space != s
	d.space = s
	d.mu.Unlock()
	if changed {
		select {
		case d.resized <- struct{}{}:
		default:
		}
	}
	return nil
}

// makeRoom evicts tasks until size more bytes fit under the quota and above the
// floor. If they cannot, it evicts nothing and says so. Disk.naming is held; the
// caller closes what was evicted when it no longer holds it.
func (d *Disk) makeRoom(size int64) ([]*entry, error) {
	if quota := d.Space().Quota; quota > 0 && size > quota {
		return nil, fmt.Errorf("%d bytes are more than the quota of %d: %w", size, quota, errdefs.ErrResourceExhausted)
	}
	need, err := d.shortage(size)
	if err != nil {
		return nil, err
	}
	ids, ok := d.choose(need)
	if !ok {
		return nil, fmt.Errorf("%d bytes do not fit (over the quota by %d, below the floor by %d) and what is evictable is less: %w",
			size, max(need.quota, 0), max(need.floor, 0), errdefs.ErrResourceExhausted)
	}
	return d.drop(ids, "to make room"), nil
}

// shortage is how many bytes are too few, 0 or less where none are.
type shortage struct {
	quota int64 // reserved beyond the quota
	floor int64 // of the disk, below the floor
}

// shortage says what would be too little if size more bytes were reserved.
func (d *Disk) shortage(size int64) (shortage, error) {
	free, err := d.fs.Free(d.cfg.Root)
	if err != nil {
		return shortage{}, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	need := shortage{floor: d.space.Floor + d.promised() + size - free}
	if d.space.Quota > 0 {
		need.quota = d.reserved + size - d.space.Quota
	}
	return need, nil
}

// promised is what tasks have yet to take from a disk that could not reserve it. Disk.mu is held.
func (d *Disk) promised() (n int64) {
	if !d.sparse.Load() {
		return 0
	}
	for _, e := range d.entries {
		n += e.g.Size - e.bytes.Load()
	}
	return n
}

// choose says which tasks to give back; if they are too few, all that may be given
// back and false.
func (d *Disk) choose(need shortage) ([]p2p.TaskID, bool) {
	if need.quota <= 0 && need.floor <= 0 {
		return nil, true
	}
	candidates := d.candidates()
	if need.floor > 0 {
		// A file that a consumer has linked gives no space back.
		for i := range candidates {
			info, err := d.fs.Stat(namesOf(d.cfg.Root, candidates[i].id).final())
			if err == nil && info.Links > 1 && need.quota <= 0 {
				candidates[i].size = 0
			}
		}
	}
	return victims(candidates, max(need.quota, need.floor))
}

// candidates are the tasks that may be evicted now.
func (d *Disk) candidates() []candidate {
	now := time.Now()
	d.mu.Lock()
	defer d.mu.Unlock()
	var all []candidate
	for _, e := range d.entries {
		if e.evictable(now) {
			all = append(all, candidate{e.id, e.g.Size, e.used})
		}
	}
	return all
}

// drop removes tasks that are still evictable. The removal becomes durable with
// the next thing made in the directory. Disk.naming is held.
func (d *Disk) drop(ids []p2p.TaskID, why string) []*entry {
	var dropped []*entry
	for _, id := range ids {
		d.mu.Lock()
		e := d.entries[id]
		gone := e != nil && e.evictable(time.Now())
		if gone {
			d.forgetLocked(e)
		}
		d.mu.Unlock()
		if !gone {
			continue // somebody opened or pinned it meanwhile
		}
		dropped = append(dropped, e)
		entry := d.log.WithField("task", id.String()).WithField("bytes", e.g.Size)
		if err := d.removeFiles(e.names); err != nil {
			entry.WithError(err).Warn("evicted task leaves files behind")
			continue
		}
		entry.Infof("evicted task %s", why)
	}
	return dropped
}

// forget takes a task out of the books.
func (d *Disk) forget(e *entry) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.forgetLocked(e)
}

func (d *Disk) forgetLocked(e *entry) {
	if e.gone.Swap(true) {
		return
	}
	delete(d.entries, e.id)
	d.reserved -= e.g.Size
}

// removeFiles removes the files of a task, the journal first: data without a
// journal is nothing. Disk.naming is held.
func (d *Disk) removeFiles(n names) error {
	var failed error
	for _, name := range []string{n.journal(), n.fresh(), n.part(), n.final()} {
		err := d.fs.Remove(name)
		switch {
		case err == nil:
			d.unsynced[n.dir] = true
		case !errors.Is(err, fs.ErrNotExist):
			failed = errors.Join(failed, err)
		}
	}
	return failed
}

// syncNames makes a directory's names durable if it was noted that they are not. Disk.naming is held.
func (d *Disk) syncNames(dir string) error {
	if !d.unsynced[dir] {
		return nil
	}
	if err := d.fs.SyncDir(dir); err != nil {
		return err
	}
	delete(d.unsynced, dir)
	return nil
}

// make makes a task's files and books it, with one handle. Names that were removed
// are durably gone before: a journal that came back after a power cut would vouch
// for data that is not its own. Disk.naming is held.
func (d *Disk) make(id p2p.TaskID, g p2p.Geometry) (*task, error) {
	if err := d.check(); err != nil {
		return nil, err
	}
	n := namesOf(d.cfg.Root, id)
	if err := d.mkdir(n.dir); err != nil {
		return nil, err
	}
	if err := errors.Join(d.removeFiles(n), d.syncNames(n.dir)); err != nil {
		return nil, err
	}
	now := time.Now()
	e := &entry{id: id, g: g, names: n, handles: 1, refs: 1, used: now, pins: pins{}}
	t := newTask(d, e)
	if err := d.makeFiles(t); err != nil {
		t.close()
		return nil, errors.Join(err, d.removeFiles(n))
	}
	e.task = t
	d.mu.Lock()
	defer d.mu.Unlock()
	d.entries[id] = e
	d.reserved += g.Size
	return t, nil
}

func (d *Disk) makeFiles(t *task) (err error) {
	header, end := journal.Begin(nil, t.e.id, t.e.g)
	if t.journal, err = d.fs.Create(t.e.names.journal()); err != nil {
		return err
	}
	if _, err = t.journal.WriteAt(header, 0); err != nil {
		return err
	}
	t.end = end
	if t.file, err = d.fs.Create(t.e.names.part()); err != nil {
		return err
	}
	reserved, err := t.file.Allocate(t.e.g.Size)
	if err == nil && !reserved {
		d.sparse.Store(true)
	}
	return err
}
