package device

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/containerd/errdefs"
)

// pending is a chunk that is on its way.
type pending struct {
	chunk   int
	done    chan struct{} // closed when the chunk is there, or err is set
	err     error
	plain   []byte // the chunk, where err is ErrNotKept and somebody waited for it
	need    Need   // the most urgent fetch that brings it
	fetches int    // that may still bring it
}

// fetch is one request: chunks that lie beside each other in the blob.
type fetch struct {
	need   Need
	chunks []int // in the order of the blob
}

// gap is how many compressed bytes that nobody wants may lie between two chunks of one
// request.
const gap = 4 << 10

// patienceAhead is how long a reader waits for a chunk that is fetched ahead of him
// before he asks for it himself.
const patienceAhead = 250 * time.Millisecond

// fetchesAhead is how many requests run ahead of the readers of a device.
const fetchesAhead = 2

// faultLocked sees to it that somebody fetches the missing chunks of [first, end) soon,
// and returns what to wait for.
func (d *Device) faultLocked(first, end int) []*pending {
	var waits []*pending
	var mine []int
	for i := d.have.missing(first); i < end; i = d.have.missing(i + 1) {
		p := d.pending[i]
		if p == nil || p.need == Background { // what nobody waits for may take its time
			p = d.pendLocked(i, Urgent)
			mine = append(mine, i)
		}
		waits = append(waits, p)
	}
	d.startLocked(Urgent, mine)
	return waits
}

// hurry asks for what is late of waits again, as somebody who waits.
func (d *Device) hurry(waits []*pending) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var mine []int
	for _, p := range waits {
		if d.pending[p.chunk] == p && p.need < Urgent && !d.closed {
			d.pendLocked(p.chunk, Urgent)
			mine = append(mine, p.chunk)
		}
	}
	d.startLocked(Urgent, mine)
}

// aheadLocked fetches up to far bytes from off on for a sequential reader. It does
// nothing while enough is on its way.
func (d *Device) aheadLocked(off, far int64) {
	first, end := d.span(off, far)
	i := d.have.missing(first)
	for d.ahead < fetchesAhead && i < end {
		var chunks []int
		var size int64
		for ; i < end && size < int64(d.cfg.MaxRequest); i = d.have.missing(i + 1) {
			if d.pending[i] == nil {
				d.pendLocked(i, Window)
				chunks = append(chunks, i)
				size += int64(d.layout.Chunk(i).BlobSize)
			}
		}
		d.startLocked(Window, chunks)
	}
}

// pendLocked notes that one more fetch brings chunk i.
func (d *Device) pendLocked(i int, n Need) *pending {
	p := d.pending[i]
	if p == nil {
		p = &pending{chunk: i, done: make(chan struct{})}
		d.pending[i] = p
	}
	p.need = max(p.need, n)
	p.fetches++
	return p
}

// startLocked starts the requests that bring chunks, which are pending.
func (d *Device) startLocked(n Need, chunks []int) {
	if len(chunks) == 0 {
		return
	}
	for _, run := range split(d.layout, chunks, int64(d.cfg.MaxRequest)) {
		d.work.Add(1)
		if n == Window {
			d.ahead++
		}
		go func() {
			defer d.work.Done()
			d.run(fetch{n, run})
			if n == Window {
				d.mu.Lock()
				d.ahead--
				d.mu.Unlock()
			}
		}()
	}
}

// split sorts chunks by their place in the blob and cuts them into runs of neighbours,
// each at most most bytes long unless it is one chunk.
func split(l Layout, chunks []int, most int64) [][]int {
	sorted := append([]int(nil), chunks...)
	sortByBlob(l, sorted)
	var runs [][]int
	for k, i := range sorted {
		c := l.Chunk(i)
		if k > 0 {
			run := runs[len(runs)-1]
			begin, last := l.Chunk(run[0]), l.Chunk(run[len(run)-1])
			between := c.BlobOffset - (last.BlobOffset + int64(last.BlobSize))
			if between >= 0 && between <= gap && c.BlobOffset+int64(c.BlobSize)-begin.BlobOffset <= most {
				runs[len(runs)-1] = append(run, i)
				continue
			}
		}
		runs = append(runs, []int{i})
	}
	return runs
}

// run brings the chunks of a fetch, and tells those who wait.
func (d *Device) run(f fetch) {
	d.traffic.begin(f.need)
	defer d.traffic.end(f.need)
	var err error
	var patience time.Time // end of the wait for a source that is gone
	failed := 0
	var wrong *doubt // of what came last
	for left := f.chunks; len(left) > 0; left = slices.DeleteFunc(left, d.have.has) {
		ask := Ask{Need: f.need, Verified: failed > 0 || wrong != nil}
		ask.Origin = f.need > Background && failed > 0 && failed == d.cfg.Attempts-1
		was := wrong
		left, wrong, err = d.attempt(ask, left)
		if was != nil && !ask.Origin && d.have.has(was.chunk) {
			d.accuse(was)
		}
		if err == nil {
			continue
		}
		if wrong != nil { // it is no failure of those who verify
			if d.events.Retried != nil {
				d.events.Retried(d.layout.Chunk(left[0]), err)
			}
			continue
		}
		if d.life.Err() != nil {
			err = errClosed
		} else if errors.Is(err, ErrGone) && f.need > Background {
			if patience.IsZero() {
				patience = time.Now().Add(d.cfg.Patience.Duration())
			}
			if time.Now().Before(patience) && d.pause(100*time.Millisecond) {
				continue
			}
		} else if errors.Is(err, ErrNotKept) { // and nobody waits for it
		} else if failed++; failed < d.cfg.Attempts {
			if d.events.Retried != nil {
				d.events.Retried(d.layout.Chunk(left[0]), err)
			}
			if d.pause(time.Duration(failed) * 50 * time.Millisecond) {
				continue
			}
		}
		for _, i := range left {
			d.fail(i, f.need, err)
		}
		return
	}
}

// pause waits, and reports whether the device is still open.
func (d *Device) pause(t time.Duration) bool {
	timer := time.NewTimer(t)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-d.life.Done():
		return false
	}
}

// doubt is a chunk that came wrong from somebody who does not verify.
type doubt struct {
	chunk int
	from  Unverified
}

// accuse says who sent wrong bytes.
func (d *Device) accuse(w *doubt) {
	ctx, cancel := context.WithTimeout(d.life, d.cfg.Timeout.Duration())
	defer cancel()
	w.from.Accuse(ctx)
}

// attempt asks the source once for chunks, which complete ask, and returns those that did
// not come.
func (d *Device) attempt(ask Ask, chunks []int) (left []int, _ *doubt, err error) {
	ctx, cancel := context.WithTimeout(d.life, d.cfg.Timeout.Duration())
	defer cancel()
	first, last := d.layout.Chunk(chunks[0]), d.layout.Chunk(chunks[len(chunks)-1])
	ask.Offset, ask.Length = first.BlobOffset, last.BlobOffset+int64(last.BlobSize)-first.BlobOffset
	body, err := d.source.Open(ctx, ask)
	if err != nil {
		return chunks, nil, err
	}
	defer body.Close()
	var wrong *doubt
	at := ask.Offset
	for k, i := range chunks {
		c := d.layout.Chunk(i)
		if _, err := io.CopyN(io.Discard, body, c.BlobOffset-at); err != nil {
			return chunks[k:], nil, fmt.Errorf("read blob: %w", noEOF(err))
		}
		compressed := buffer(c.BlobSize)
		_, err := io.ReadFull(body, *compressed)
		at = c.BlobOffset + int64(c.BlobSize)
		if err == nil {
			err = d.store(i, c, *compressed, ask.Need)
			if from, ok := body.(Unverified); ok && errdefs.IsDataLoss(err) {
				wrong = &doubt{i, from}
			}
		} else {
			err = fmt.Errorf("read blob: %w", noEOF(err))
		}
		buffers.Put(compressed)
		if err != nil {
			return chunks[k:], wrong, err
		}
		if d.events.Fetched != nil {
			d.events.Fetched(ask.Need, int64(c.BlobSize))
		}
	}
	return nil, nil, nil
}

// noEOF is an error for a body that ended too soon.
func noEOF(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: %w", io.ErrUnexpectedEOF, errdefs.ErrUnavailable)
	}
	return err
}

// buffers are for compressed and for plain chunks.
var buffers sync.Pool

// buffer returns n bytes that somebody used before.
func buffer(n int) *[]byte {
	if b, _ := buffers.Get().(*[]byte); b != nil && cap(*b) >= n {
		*b = (*b)[:n]
		return b
	}
	b := make([]byte, n, max(n, 128<<10))
	return &b
}

// store verifies a chunk, writes it, and lets its readers go. One that the disk has no
// room for is given to readers who wait, and is ErrNotKept where nobody does.
func (d *Device) store(i int, c Chunk, compressed []byte, n Need) error {
	var full error
	var plain *[]byte
	if !d.have.has(i) { // else another fetch was faster
		plain = buffer(c.Size)
		if err := d.layout.Decode(i, *plain, compressed); err != nil {
			buffers.Put(plain)
			return err
		}
		_, err := d.data.WriteAt(*plain, c.Offset)
		switch {
		case isFull(err):
			full = fmt.Errorf("%w: %w", ErrNotKept, err)
			d.tellFull(full)
		case err != nil:
			buffers.Put(plain)
			return fmt.Errorf("keep chunk: %w", err)
		case d.have.add(i):
			d.note(i)
		}
		if full == nil || n < Urgent {
			defer buffers.Put(plain)
		}
	}
	if full != nil && n < Urgent {
		return full
	}
	d.mu.Lock()
	p := d.pending[i]
	delete(d.pending, i)
	if full != nil {
		d.afloat.add(i, *plain)
	}
	d.mu.Unlock()
	if p != nil {
		if full != nil {
			p.err, p.plain = full, *plain
		}
		close(p.done)
	}
	return nil
}

// fail tells the readers of chunk i that this fetch does not bring it.
func (d *Device) fail(i int, n Need, err error) {
	c := d.layout.Chunk(i)
	err = fmt.Errorf("chunk %d (%d bytes at %d of the blob): %w", i, c.BlobSize, c.BlobOffset, err)
	d.mu.Lock()
	p := d.pending[i]
	if p != nil {
		if p.fetches--; p.fetches > 0 {
			p = nil // another may still bring it
		} else {
			delete(d.pending, i)
		}
	}
	d.mu.Unlock()
	if p == nil {
		return
	}
	if n > Background && d.events.Failed != nil && !errors.Is(err, errClosed) && !errors.Is(err, ErrNotKept) {
		d.events.Failed(i, c, err)
	}
	p.err = err
	close(p.done)
}
