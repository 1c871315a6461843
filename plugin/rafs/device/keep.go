package device

import (
	"fmt"
	"path/filepath"
	"slices"
	"time"
)

func sortByBlob(l Layout, chunks []int) {
	slices.SortFunc(chunks, func(a, b int) int {
		x, y := l.Chunk(a), l.Chunk(b)
		switch {
		case x.BlobOffset < y.BlobOffset:
			return -1
		case x.BlobOffset > y.BlobOffset:
			return 1
		}
		return a - b
	})
}

// note writes chunk i, whose data is written, to the journal.
func (d *Device) note(i int) {
	d.keep.Lock()
	if d.broken == nil {
		if err := d.journal.add(uint32(i)); err != nil {
			d.breakLocked(err)
		}
	}
	d.unsynced = true
	d.keep.Unlock()
	if d.have.full() {
		select {
		case d.wake <- struct{}{}:
		default:
		}
	}
}

// syncer makes chunks sure against a power cut, from time to time and at the end.
func (d *Device) syncer() {
	defer d.work.Done()
	tick := time.NewTicker(d.cfg.SyncEvery.Duration())
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-d.wake:
		case <-d.life.Done():
			return
		}
		d.sync()
		if d.Complete() {
			return
		}
	}
}

// sync makes what is in the journal sure. The data goes first, and only what was
// written before counts.
func (d *Device) sync() {
	d.keep.Lock()
	if !d.unsynced {
		d.keep.Unlock()
		return
	}
	if d.broken != nil {
		defer d.keep.Unlock()
		d.mendLocked()
		return
	}
	d.unsynced = false
	upTo := d.journal.records
	d.keep.Unlock()

	full := d.have.full()
	err := d.data.Sync()

	d.keep.Lock()
	defer d.keep.Unlock()
	if err == nil {
		err = d.journal.add(synced, uint32(upTo))
	}
	if err == nil {
		err = d.journal.f.Sync()
	}
	if err != nil {
		d.unsynced = true
		d.breakLocked(fmt.Errorf("sync chunks: %w", err))
		return
	}
	if full {
		d.complete()
	}
}

func (d *Device) complete() {
	if !d.completed.Swap(true) && d.events.Completed != nil {
		d.events.Completed()
	}
}

// breakLocked notes that the journal does not tell the truth any more.
func (d *Device) breakLocked(err error) {
	if d.broken == nil && d.events.SyncFailed != nil {
		d.events.SyncFailed(err)
	}
	d.broken = err
}

// mendLocked writes the journal anew, as when there is room on the disk again. Chunks
// that come meanwhile wait.
func (d *Device) mendLocked() {
	have := d.have.clone()
	err := d.data.Sync()
	var anew *journal
	if err == nil {
		anew, err = writeJournal(filepath.Join(d.dir, journalFile), d.boot, d.print, have)
	}
	if err != nil {
		d.breakLocked(fmt.Errorf("write journal anew: %w", err))
		return
	}
	_ = d.journal.close() // it says less
	d.journal, d.broken, d.unsynced = anew, nil, false
	if have.full() {
		d.complete()
	}
}
