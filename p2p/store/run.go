package store

import (
	"errors"
	"slices"
	"time"
)

// run syncs what was written and gives space back until the store is closed.
func (d *Disk) run() {
	defer close(d.stopped)
	ticker := time.NewTicker(d.cfg.SyncInterval)
	defer ticker.Stop()
	for {
		select {
		case <-d.stop:
			return
		case <-d.wake:
			d.logError("sync", d.syncTasks(d.cfg.SyncBytes))
		case <-d.resized:
			d.logError("give space back", d.maintain())
		case <-ticker.C:
			d.logError("sync", d.syncTasks(0))
			d.logError("give space back", d.maintain())
		}
	}
}

func (d *Disk) logError(op string, err error) {
	if err != nil && !errors.Is(err, ErrGone) {
		d.log.WithError(err).Warnf("cannot %s", op)
	}
}

// Sync makes everything durable that was committed before it was called.
func (d *Disk) Sync() error {
	if err := d.check(); err != nil {
		return err
	}
	return d.syncTasks(0)
}

// syncTasks syncs the tasks that have at least so many bytes to sync; with 0, every
// task with anything to sync.
func (d *Disk) syncTasks(least int64) error {
	var failed error
	for _, t := range d.useDirty(least) {
		failed = errors.Join(failed, t.wrap("sync", t.sync()))
		d.release(t.e, false)
	}
	return failed
}

// useDirty takes a use of every open task that has so many bytes to sync.
func (d *Disk) useDirty(least int64) []*task {
	d.mu.Lock()
	var open []*task
	for _, e := range d.entries {
		if e.task != nil {
			e.refs++
			open = append(open, e.task)
		}
	}
	d.mu.Unlock()
	slices.SortFunc(open, func(a, b *task) int { return compareIDs(a.e.id, b.e.id) })
	dirty := open[:0]
	for _, t := range open {
		if t.dirty() && t.bytesToSync() >= least {
			dirty = append(dirty, t)
		} else {
			d.release(t.e, false)
		}
	}
	return dirty
}

func (t *task) bytesToSync() int64 {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.unsyncedBytes
}

// maintain removes what nobody used for Space.TTL, and what it takes to be under
// the quota and above the floor again.
func (d *Disk) maintain() error {
	d.naming.Lock()
	dropped := d.drop(victimsByAge(d.candidates(), d.Space().TTL, time.Now()), "unused for too long")
	need, err := d.shortage(0)
	if err == nil {
		ids, _ := d.choose(need)
		dropped = append(dropped, d.drop(ids, "to be within quota and floor")...)
	}
	d.naming.Unlock()
	for _, e := range dropped {
		d.closeIdle(e)
	}
	return err
}

// Close implements Store. Handles that are still open fail with ErrUnavailable from then on.
func (d *Disk) Close() error {
	d.naming.Lock() // what is being made is finished, and nothing is made later
	again := d.closed.Swap(true)
	d.naming.Unlock()
	if again {
		<-d.stopped
		return nil
	}
	close(d.stop)
	<-d.stopped
	err := d.syncTasks(0)
	d.mu.Lock()
	var all []*entry
	for _, e := range d.entries {
		all = append(all, e)
	}
	d.mu.Unlock()
	for _, e := range all {
		d.closeNow(e)
		d.touch(e, 0)
	}
	return errors.Join(err, d.lock.Close())
}

// closeNow closes a task's files whoever uses them.
func (d *Disk) closeNow(e *entry) {
	e.loading.Lock()
	defer e.loading.Unlock()
	if t := e.task; t != nil {
		d.setTask(e, nil)
		t.syncing.Lock() // a Complete may be under way
		defer t.syncing.Unlock()
		t.close()
	}
}
