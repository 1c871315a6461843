package device

import (
	"context"
	"iter"
	"slices"
)

// Fill fetches the missing chunks in front of the device, as much as fits one request,
// for nobody who waits. It returns how many compressed bytes it asked for; 0 says that
// all that is missing is on its way. A reader who comes meanwhile does not wait for it.
func (d *Device) Fill(ctx context.Context) (int64, error) {
	return d.bring(ctx, func(yield func(int) bool) {
		for i := d.have.missing(0); i < d.have.n; i = d.have.missing(i + 1) {
			if !yield(i) {
				return
			}
		}
	})
}

// Bring does what Fill does for the first of these chunks that are missing.
func (d *Device) Bring(ctx context.Context, chunks []int) (int64, error) {
	return d.bring(ctx, slices.Values(chunks))
}

func (d *Device) bring(ctx context.Context, chunks iter.Seq[int]) (int64, error) {
	var run []int
	var size int64
	var waits []*pending
	d.mu.Lock()
	if d.closed {
		d.mu.Unlock()
		return 0, errClosed
	}
	for i := range chunks {
		if d.have.has(i) || d.pending[i] != nil {
			continue
		}
		c := d.layout.Chunk(i)
		if len(run) > 0 && size+int64(c.BlobSize) > int64(d.cfg.MaxRequest) {
			break
		}
		run = append(run, i)
		size += int64(c.BlobSize)
		waits = append(waits, d.pendLocked(i, Background))
	}
	d.startLocked(Background, run)
	d.mu.Unlock()
	return size, d.await(ctx, waits, Background)
}
