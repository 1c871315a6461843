package serial

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/darter-p2p/darter/fetcher/source"
	"github.com/darter-p2p/darter/p2p"
)

// reading is one reading of an origin, from its first byte on.
type reading struct {
	base p2p.Origin
	name Reading

	mu       sync.Mutex
	segments map[uint32][]byte // those kept, with their heads
	next     uint32            // the segment that is being filled
	cur      []byte            // of it, behind room for its head
	since    time.Time         // of its first byte
	asked    uint32            // the highest that somebody asked for
	offset   int64             // of cur in the content
	size     int64             // of the content; -1 = not known
	sum      hash.Hash         // of what was cut
	done     bool              // the last segment was cut
	err      error             // why no more will come
	failed   time.Time
	changed  chan struct{} // closed at the next change
}

func newReading(base p2p.Origin) *reading {
	return &reading{base: base, segments: map[uint32][]byte{}, size: -1, sum: sha256.New(), changed: make(chan struct{})}
}

// begins reports whether the first segment can be had of this reading, or its failure is
// so young that another would end alike.
func (r *reading) begins() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err != nil {
		return time.Since(r.failed) < failureFor
	}
	return r.next == 0 || r.segments[0] != nil
}

func (r *reading) wakeLocked() {
	close(r.changed)
	r.changed = make(chan struct{})
}

// segment waits for a segment.
func (r *reading) segment(ctx context.Context, i uint32) ([]byte, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for {
		if seg := r.segments[i]; seg != nil {
			r.askLocked(i)
			return seg, nil
		}
		switch {
		case i < r.next, r.done, i > r.next+segmentsAhead:
			return nil, fmt.Errorf("%s: segment %d: %w", r.base, i, errElsewhere)
		case r.err != nil:
			return nil, r.err
		}
		r.askLocked(i)
		wait := time.Duration(0)
		if i == r.next && len(r.cur) > 0 {
			if wait = cutAfter - time.Since(r.since); wait <= 0 {
				r.cutLocked(false)
				continue
			}
		}
		if err := r.waitLocked(ctx, wait); err != nil {
			return nil, err
		}
	}
}

// waitLocked waits, without the lock, for a change, or at most so long; 0 = for ever.
func (r *reading) waitLocked(ctx context.Context, most time.Duration) error {
	changed := r.changed
	r.mu.Unlock()
	defer r.mu.Lock()
	var late <-chan time.Time
	if most > 0 {
		t := time.NewTimer(most)
		defer t.Stop()
		late = t.C
	}
	select {
	case <-changed:
	case <-late:
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

// askLocked takes note that somebody has come to segment i: what lies before the one
// before it is in the piece network.
func (r *reading) askLocked(i uint32) {
	if i <= r.asked {
		return
	}
	r.asked = i
	for old := range r.segments {
		if old+1 < i {
			delete(r.segments, old)
		}
	}
	r.wakeLocked()
}

// cutLocked ends the segment that is being filled.
func (r *reading) cutLocked(end bool) {
	r.sum.Write(r.cur) // a hash never fails
	h := Head{Reading: r.name, Index: r.next, Offset: r.offset, Size: r.size, End: end}
	r.offset += int64(len(r.cur))
	if end {
		h.Size = r.offset
		r.sum.Sum(h.Sum[:0])
		r.done = true
	}
	r.segments[r.next] = append(h.Append(make([]byte, 0, HeadLen+len(r.cur))), r.cur...)
	r.next++
	r.cur = nil
	r.wakeLocked()
}

// length returns how long segment i is at most.
func length(i uint32) int { return min(firstSegment<<min(i, 8), maxSegment) }

// run reads the origin to its end, or until nobody asks for more.
func (r *reading) run(ctx context.Context, under source.Source) {
	tries := 0
	for {
		n, err := r.read(ctx, under)
		if err == nil {
			return
		}
		if n > 0 {
			tries = 0
		}
		if tries++; !r.resumes(err) || tries > 2 || ctx.Err() != nil {
			r.fail(err)
			return
		}
		select {
		case <-time.After(time.Duration(tries) * 200 * time.Millisecond):
		case <-ctx.Done():
		}
	}
}

// resumes reports whether what follows can be read by another request: the origin was
// seen to give bytes, and names the generation that they are of.
func (r *reading) resumes(err error) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	var said *source.Error
	refused := errors.As(err, &said) && said.Status != 0 && said.Status < 500
	return r.readLocked() > 0 && strings.Contains(string(r.base), "#") && !refused && !errors.Is(err, errAbandoned)
}

// readLocked returns how many bytes the origin has sent.
func (r *reading) readLocked() int64 { return r.offset + int64(len(r.cur)) }

var errAbandoned = fmt.Errorf("nobody asked for more within %v", abandonAfter)

// read reads from where the last answer ended to the end of the content.
func (r *reading) read(ctx context.Context, under source.Source) (n int64, err error) {
	r.mu.Lock()
	off := r.readLocked()
	r.mu.Unlock()
	resp, err := under.Open(ctx, source.Request{Origin: r.base, Offset: off, Length: -1})
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	buf := make([]byte, 64<<10)
	for {
		k, err := resp.Body.Read(buf)
		n += int64(k)
		over := errors.Is(err, io.EOF)
		r.take(buf[:k], resp.Size, over)
		if over {
			return n, nil
		}
		if err != nil {
			return n, err
		}
		if err := r.room(ctx); err != nil {
			return n, err
		}
	}
}

// take adds bytes to the segment that is being filled.
func (r *reading) take(b []byte, size int64, over bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if size >= 0 && r.size < 0 {
		r.size = size
	}
	if len(r.cur) == 0 && len(b) > 0 {
		r.since = time.Now()
		r.cur = make([]byte, 0, len(b))
		r.wakeLocked() // who waits for it waits for its age now
	}
	if r.cur = append(r.cur, b...); over || len(r.cur) >= length(r.next) {
		r.cutLocked(over)
	}
}

// room waits until segments that were read are asked for.
func (r *reading) room(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	began := time.Now()
	for r.next > r.asked+segmentsAhead {
		left := abandonAfter - time.Since(began)
		if left <= 0 {
			return errAbandoned
		}
		if err := r.waitLocked(ctx, left); err != nil {
			return err
		}
	}
	return nil
}

// fail ends the reading. An origin that had begun to answer has contradicted itself: who
// read on elsewhere would get another content, or the same end.
func (r *reading) fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if n := r.readLocked(); n > 0 && !errors.Is(err, errAbandoned) && !errors.Is(err, context.Canceled) {
		host := ""
		if u, perr := url.Parse(string(r.base)); perr == nil {
			host = u.Host
		}
		err = &source.Error{Status: http.StatusOK, Host: host, Err: fmt.Errorf("broke off after %d bytes: %w", n, err)}
	}
	r.err, r.failed, r.cur = err, time.Now(), nil
	r.wakeLocked()
}
