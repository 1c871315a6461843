package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"

	"github.com/darter-p2p/darter/p2p"
	"github.com/darter-p2p/darter/p2p/store/journal"
	"github.com/darter-p2p/darter/p2p/store/vfs"
)

// errBroken says that what is on the disk is no task: no valid journal, or none
// that fits the data.
var errBroken = errors.New("broken task")

// scan reads the books from the disk.
func (d *Disk) scan(ctx context.Context) error {
	d.naming.Lock()
	defer d.naming.Unlock()
	top, err := d.fs.List(d.cfg.Root)
	if err != nil {
		return err
	}
	for _, e := range top {
		if e.Name != lockName && (!e.Dir || !slices.Contains(kinds[:], e.Name)) {
			d.foreign(filepath.Join(d.cfg.Root, e.Name))
		}
	}
	for _, kind := range kinds {
		dir := filepath.Join(d.cfg.Root, kind)
		shards, err := d.fs.List(dir)
		if err != nil {
			return err
		}
		for _, shard := range shards {
			if err := ctx.Err(); err != nil {
				return err
			}
			if !shard.Dir || !isShard(shard.Name) {
				d.foreign(filepath.Join(dir, shard.Name))
				continue
			}
			if err := d.scanShard(kind, dir, shard.Name); err != nil {
				return err
			}
		}
	}
	return nil
}

func (d *Disk) foreign(name string) {
	d.log.WithField("file", name).Warn("leaving alone a file that is not the store's")
}

func (d *Disk) scanShard(kind, dir, shard string) error {
	files, err := d.fs.List(filepath.Join(dir, shard))
	if err != nil {
		return err
	}
	tasks := map[string]*found{}
	for _, f := range files {
		if f.Dir || !note(tasks, shard, f.Name) {
			d.foreign(filepath.Join(dir, shard, f.Name))
		}
	}
	for _, sum := range slices.Sorted(maps.Keys(tasks)) {
		id, err := p2p.ParseTaskID(kind + ":" + sum)
		if err != nil {
			return err // note has checked it
		}
		if err := d.scanTask(id, tasks[sum]); err != nil {
			return err
		}
	}
	return nil
}

// scanTask books one task, or removes what is left of one.
func (d *Disk) scanTask(id p2p.TaskID, f *found) error {
	n := namesOf(d.cfg.Root, id)
	e, err := d.readEntry(id, n, f)
	if errors.Is(err, errBroken) {
		d.log.WithField("task", id.String()).WithError(err).Warn("removing what is left of a task")
		return d.removeFiles(n)
	}
	if err != nil {
		d.log.WithField("task", id.String()).WithError(err).Warn("leaving out a task that cannot be read")
		return nil
	}
	for _, name := range f.strays(n, e.completed.Load()) {
		if err := d.fs.Remove(name); err != nil {
			return err
		}
		d.unsynced[n.dir] = true
	}
	d.entries[id] = e
	d.reserved += e.g.Size
	return nil
}

func (d *Disk) readEntry(id p2p.TaskID, n names, f *found) (*entry, error) {
	if !f.journal {
		return nil, fmt.Errorf("%w: data without a journal", errBroken)
	}
	file, err := d.fs.Open(n.journal(), false)
	if err != nil {
		return nil, err
	}
	s, err := readJournal(file, id)
	if err = errors.Join(err, file.Close()); err != nil {
		return nil, err
	}
	if !f.part && !(f.final && s.Completed) {
		return nil, fmt.Errorf("%w: a journal without its data", errBroken)
	}
	data := n.part()
	if f.final && s.Completed {
		data = n.final()
	}
	if info, err := d.fs.Stat(data); err != nil {
		return nil, err
	} else if info.Size != s.Geometry.Size {
		return nil, fmt.Errorf("%w: %d bytes of data, want %d", errBroken, info.Size, s.Geometry.Size)
	}
	info, err := d.fs.Stat(n.journal())
	if err != nil {
		return nil, err
	}
	e := &entry{id: id, g: s.Geometry, names: n, used: info.ModTime, touched: info.ModTime, pins: s.Pins}
	e.completed.Store(s.Completed)
	e.countSet(s.Synced)
	return e, nil
}

// readJournal reads the journal of a task. What is no such journal is errBroken.
func readJournal(f vfs.File, id p2p.TaskID) (*journal.State, error) {
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	b := make([]byte, min(size, journal.MaxLen))
	n, err := f.ReadAt(b, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	b = b[:n]
	s, err := journal.Decode(b)
	switch {
	case err != nil:
		return nil, fmt.Errorf("%w: %w", errBroken, err)
	case s.Task != id:
		return nil, fmt.Errorf("%w: the journal is of %s", errBroken, s.Task)
	}
	s.Torn += int(size) - len(b)
	return s, nil
}

// recover opens a task's files. Pieces that the journal says are durable are
// trusted; those recorded later are read and verified.
func (d *Disk) recover(e *entry) (_ *task, err error) {
	t := newTask(d, e)
	defer func() {
		if err != nil {
			t.close()
		}
	}()
	if t.journal, err = d.fs.Open(e.names.journal(), true); err != nil {
		return nil, brokenIfMissing(err)
	}
	s, err := readJournal(t.journal, e.id)
	if err != nil {
		return nil, err
	}
	if s.Geometry != e.g {
		return nil, fmt.Errorf("%w: another geometry than before", errBroken)
	}
	if err := t.openData(s.Completed); err != nil {
		return nil, err
	}
	t.take(s)
	if t.needsRewrite {
		d.log.WithField("task", e.id.String()).WithField("torn_bytes", s.Torn).
			WithField("pieces_lost", s.Recorded.Count()-t.have.Count()).
			Info("recovered a task from an unclean stop")
	}
	e.countSet(t.have)
	e.completed.Store(s.Completed)
	return t, nil
}

func brokenIfMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %w", errBroken, err)
	}
	return err
}

// openData opens the data file. Of a completed task it first gives it its final
// name, if the power failed before that was durable.
func (t *task) openData(completed bool) (err error) {
	fsys, n := t.d.fs, t.e.names
	if !completed {
		t.file, err = fsys.Open(n.part(), true)
	} else if t.file, err = fsys.Open(n.final(), false); errors.Is(err, fs.ErrNotExist) {
		if err = t.moveToFinal(); err == nil {
			t.file, err = fsys.Open(n.final(), false)
		}
		if err == nil {
			err = fsys.SyncDir(n.dir)
		}
	}
	t.renamed = completed
	if err != nil {
		return brokenIfMissing(err)
	}
	size, err := t.file.Size()
	if err == nil && size != t.e.g.Size {
		err = fmt.Errorf("%w: %d bytes of data, want %d", errBroken, size, t.e.g.Size)
	}
	return err
}
