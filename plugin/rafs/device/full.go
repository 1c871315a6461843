package device

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"syscall"
	"time"
)

// ErrNotKept is a chunk that came, and that the disk has no room for. It does not stay:
// who wants its bytes calls ReadAt.
var ErrNotKept = errors.New("no room for a chunk")

// isFull reports whether a file system says that it has no room.
func isFull(err error) bool { return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) }

const (
	// mostAfloat is how many bytes of chunks that the disk has no room for stay in memory.
	mostAfloat = 8 << 20
	// fullFor is how long nothing is fetched ahead after the disk was full, and chunks stay in memory.
	fullFor = 2 * time.Second
	// tellEvery is the time between two words on it.
	tellEvery = time.Minute
)

// afloat is the chunks that came last and that the disk had no room for: the kernel reads
// a chunk in parts. It is not safe for concurrent use.
type afloat struct {
	chunks []floating // the oldest first
	size   int
	since  time.Time // when the disk was full last
	told   time.Time
}

type floating struct {
	chunk int
	plain []byte
}

// full reports whether the disk was full a moment ago.
func (a *afloat) full(now time.Time) bool { return now.Before(a.since.Add(fullFor)) }

func (a *afloat) add(chunk int, plain []byte) {
	a.chunks = append(a.chunks, floating{chunk, plain})
	a.size += len(plain)
	for a.size > mostAfloat && len(a.chunks) > 1 {
		a.size -= len(a.chunks[0].plain)
		a.chunks[0].plain = nil
		a.chunks = a.chunks[1:]
	}
}

// settle forgets the chunks when the disk has not been full for a while: they may be kept
// the next time.
func (a *afloat) settle(now time.Time) {
	if len(a.chunks) > 0 && !a.full(now) {
		a.chunks, a.size = nil, 0
	}
}

// get returns a chunk, nil where it is not afloat.
func (a *afloat) get(chunk int) []byte {
	for _, f := range a.chunks {
		if f.chunk == chunk {
			return f.plain
		}
	}
	return nil
}

// any reports whether one of the chunks [first, end) is afloat.
func (a *afloat) any(first, end int) bool {
	return slices.ContainsFunc(a.chunks, func(f floating) bool { return first <= f.chunk && f.chunk < end })
}

// tellFull notes that the disk is full.
func (d *Device) tellFull(err error) {
	d.mu.Lock()
	now := time.Now()
	tell := now.Sub(d.afloat.told) >= tellEvery
	if d.afloat.since = now; tell {
		d.afloat.told = now
	}
	d.mu.Unlock()
	if tell && d.events.Full != nil {
		d.events.Full(err)
	}
}

// ReadAt fills p with the bytes of the device from off on, kept or not. It waits and
// fails as Ensure does.
func (d *Device) ReadAt(ctx context.Context, p []byte, off int64) error {
	clear(p)
	first, end := d.span(off, int64(len(p)))
	for i := first; i < end; i++ {
		c := d.layout.Chunk(i)
		from, to := max(off, c.Offset), min(off+int64(len(p)), c.Offset+int64(c.Size))
		into := p[from-off : to-off]
		plain, err := d.chunk(ctx, i, end)
		switch {
		case err != nil:
			return err
		case plain != nil:
			copy(into, plain[from-c.Offset:])
		default:
			if _, err := d.data.ReadAt(into, from); err != nil {
				return fmt.Errorf("read device: %w", err)
			}
		}
	}
	return nil
}

// chunk waits for chunk i and returns it, nil where it is in the data file. What is
// missing of the chunks up to end is asked for with it.
func (d *Device) chunk(ctx context.Context, i, end int) (plain []byte, err error) {
	for range d.cfg.Attempts {
		d.mu.Lock()
		if plain := d.afloat.get(i); plain != nil || d.have.has(i) || d.closed {
			closed := plain == nil && !d.have.has(i)
			d.mu.Unlock()
			if closed {
				return nil, errClosed
			}
			return plain, nil
		}
		for end > i+1 && d.afloat.get(end-1) != nil {
			end--
		}
		p := d.faultLocked(i, end)[0]
		d.mu.Unlock()
		if err = d.await(ctx, []*pending{p}, Urgent); err == nil || p.plain != nil {
			return p.plain, nil
		}
		if !errors.Is(err, ErrNotKept) { // else it was fetched for nobody
			return nil, err
		}
	}
	return nil, err
}
