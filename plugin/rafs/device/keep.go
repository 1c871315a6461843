package device

import (
	"fmt"
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
		d.broken = d.journal.add(uint32(i))
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
	if !d.unsynced || d.broken != nil {
		d.keep.Unlock()
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
		d.broken = fmt.Errorf("sync chunks: %w", err)
		if d.events.SyncFailed != nil {
			d.events.SyncFailed(d.broken)
		}
		return
	}
	if full && !d.completed.Swap(true) && d.events.Completed != nil {
		d.events.Completed()
	}
}
