package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/containerd/errdefs"

	"github.com/darter-p2p/darter/p2p"
	"github.com/darter-p2p/darter/p2p/download"
	"github.com/darter-p2p/darter/p2p/store"
)

// Want names a content to read.
type Want struct {
	Task   p2p.TaskID
	Origin p2p.Origin // where a seed can read it
	Size   int64      // bytes; -1 = not known
	// Offset and Length are the range in bytes; Length -1 = to the end; a negative
	// Offset counts from the end.
	Offset, Length int64
	Class          p2p.Class
	// Kept asks for what is stored here: where the disk fails, that is the reader's error,
	// and nothing passes through memory for him.
	Kept bool
	// Credential is the reader's, for origins that do not open without; nil = none.
	Credential Credential
}

// Reader reads a range of a task in order while it arrives. It is not safe for
// concurrent use; Close may be called at any time.
type Reader struct {
	n       *Node
	t       *task
	h       store.Task
	id      download.ReaderID
	ctx     context.Context
	cancel  context.CancelFunc
	class   p2p.Class
	size    int64
	start   int64
	off     int64 // of the next byte
	end     int64
	sure    int64 // bytes before this are verified and stored
	held    bool  // the range was all there at Open
	passing bool  // h is of a task that is streamed
	kept    bool  // as Want has it
	own     *os.File
	lent    uint64 // the number of the credential
}

// Open returns a reader of a range of a content; readers of one content share one
// download. It waits until the size is known. It fails with ErrUnavailable when no
// scheduler is there and nobody else can help, with a p2p.OriginError in the chain when
// the origin refused, and with ErrOutOfRange where the range begins past the end.
// ctx bounds the reading, too.
func (n *Node) Open(ctx context.Context, w Want) (*Reader, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return nil, fmt.Errorf("open %s: %w: %w", w.Task, errStopping, errdefs.ErrUnavailable)
	}
	r, err := n.openWantLocked(ctx, w)
	if errors.Is(err, errDeleted) { // it is forgotten now
		r, err = n.openWantLocked(ctx, w)
	}
	return r, err
}

// errDeleted says that the store has no more what this host thought that it has.
var errDeleted = errors.New("deleted")

func (n *Node) openWantLocked(ctx context.Context, w Want) (*Reader, error) {
	t := n.taskLocked(w.Task)
	if t == nil {
		t = n.newTaskLocked(w.Task, w.Origin)
	}
	if t.origin == "" {
		t.origin = w.Origin
	}
	t.readers++
	t.used = time.Now()
	key := n.lendLocked(t, w)
	n.joinLocked(t, w)
	if err := n.awaitSizeLocked(ctx, t, w); err != nil {
		n.closeLocked(t, key)
		return nil, fmt.Errorf("open %s: %w", w.Task, err)
	}
	r, err := n.readerLocked(ctx, t, w)
	if err != nil {
		n.closeLocked(t, key)
		return nil, fmt.Errorf("open %s: %w", w.Task, err)
	}
	r.lent = key
	n.pollLocked()
	return r, nil
}

// awaitSizeLocked waits, without the lock, until t's size is known.
func (n *Node) awaitSizeLocked(ctx context.Context, t *task, w Want) error {
	var g *guard
	for t.geometry.IsZero() || t.err != nil {
		if t.err != nil {
			return t.err
		}
		patience := n.cfg.SchedulerWait - time.Since(n.scheduler.since)
		if n.scheduler.connected {
			patience = time.Hour // ctx bounds it
		} else if patience <= 0 {
			return fmt.Errorf("no scheduler for %v: %w", time.Since(n.scheduler.since).Round(time.Second), errdefs.ErrUnavailable)
		}
		if g == nil {
			g = n.newGuard(t, w.Class)
			defer g.stop()
		}
		changed, state := t.changed, n.scheduler.changed
		n.mu.Unlock()
		timer := time.NewTimer(patience)
		var err error
		hungry := false
		select {
		case <-changed:
		case <-state:
		case <-g.timer.C:
			hungry = true
		case <-timer.C:
		case <-ctx.Done():
			err = ctx.Err()
		}
		timer.Stop()
		n.mu.Lock()
		if err != nil {
			return err
		}
		if hungry && t.geometry.IsZero() {
			if err := g.hungerLocked(0); err != nil {
				return err
			}
		}
	}
	return nil
}

// readerLocked makes a reader of a range of a task whose geometry is known.
func (n *Node) readerLocked(ctx context.Context, t *task, w Want) (*Reader, error) {
	size := t.geometry.Size
	off, length := w.Offset, w.Length
	if off < 0 {
		off, length = max(0, size+off), -1
	}
	if off > size || off == size && size > 0 {
		return nil, fmt.Errorf("offset %d of %d bytes: %w", off, size, errdefs.ErrOutOfRange)
	}
	if length < 0 || length > size-off {
		length = size - off
	}
	if t.stream != nil && w.Kept {
		return nil, t.stream.why
	}
	if first, _ := t.geometry.PieceRange(off, length); t.stream != nil && first < t.stream.dropped {
		return nil, fmt.Errorf("piece %d has passed, and could not be stored: %w", first, errdefs.ErrUnavailable)
	}
	h, err := n.openLocked(t)
	if errdefs.IsNotFound(err) && t.stream == nil {
		n.evictedLocked(t)
		return nil, fmt.Errorf("%w: %w", errDeleted, err)
	}
	if err != nil {
		return nil, err
	}
	n.readerID++
	r := &Reader{n: n, t: t, h: h, id: n.readerID, class: w.Class, kept: w.Kept, size: size, start: off, off: off, end: off + length, sure: off}
	r.ctx, r.cancel = context.WithCancel(ctx)
	first, end := t.geometry.PieceRange(off, length)
	r.held = t.hasRange(first, end)
	if r.passing = t.stream != nil; r.passing {
		n.core.Read(t.id, r.id, first, end, w.Class)
		return r, n.followLocked(r)
	}
	if !r.held {
		n.core.Want(t.id, first, end)
		if length == size {
			t.wantAll = true
		}
		n.core.Read(t.id, r.id, first, end, w.Class)
	}
	return r, nil
}

func (t *task) hasRange(first, end p2p.Piece) bool {
	missing, ok := t.have.NextMissing(first)
	return !ok || missing >= end
}

// Size returns the size of the whole content in bytes.
func (r *Reader) Size() int64 { return r.size }

// Offset returns where the range begins in the content, and Length its length, in bytes.
func (r *Reader) Offset() int64 { return r.start }

// Length returns the length of the range in bytes.
func (r *Reader) Length() int64 { return r.end - r.start }

// Position returns the offset in the content of the next byte to read.
func (r *Reader) Position() int64 { return r.off }

// Held reports whether the whole range was here when the reader was opened.
func (r *Reader) Held() bool { return r.held }

// Ready reports whether Read would not block: a byte is here, or the range is at its end.
func (r *Reader) Ready() bool { return r.off < r.sure || r.off >= r.end }

// Await waits until the next byte can be read, or for the reason why it never will.
// A context that ends gives its error and does no harm to the reader.
func (r *Reader) Await(ctx context.Context) error {
	n, t := r.n, r.t
	var g *guard
	for r.off >= r.sure && r.off < r.end {
		n.mu.Lock()
		changed, err := t.changed, t.err
		if t.stream != nil && err == nil {
			err = n.followLocked(r)
		}
		if r.advanceLocked(); r.off >= r.sure {
			n.compareLocked(t, r.class, t.geometry.PieceAt(r.off))
		}
		n.mu.Unlock()
		if r.off < r.sure {
			return nil
		}
		if err != nil {
			return err
		}
		if g == nil {
			g = n.newGuard(t, r.class)
			defer g.stop()
		}
		select {
		case <-changed:
		case <-g.timer.C:
			n.mu.Lock()
			err := g.hungerLocked(t.geometry.PieceAt(r.off))
			n.mu.Unlock()
			if err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		case <-r.ctx.Done():
			return r.ctx.Err()
		}
	}
	return nil
}

// advanceLocked finds how far the bytes from off on are there, and tells the
// downloads where this reader is.
func (r *Reader) advanceLocked() {
	t := r.t
	missing, ok := t.have.NextMissing(t.geometry.PieceAt(r.off))
	if !ok {
		r.sure = r.end
	} else {
		r.sure = min(r.end, t.geometry.Offset(missing))
	}
	if r.sure < r.end {
		first, end := t.geometry.PieceRange(max(r.sure, r.off), r.end-max(r.sure, r.off))
		r.n.core.Read(t.id, r.id, first, end, r.class)
		r.n.pollLocked()
	}
}

// Read implements io.Reader. It blocks until a byte of the range is verified.
func (r *Reader) Read(p []byte) (int, error) {
	if r.off >= r.end {
		return 0, io.EOF
	}
	if err := r.Await(r.ctx); err != nil {
		return 0, err
	}
	k, err := r.h.ReadAt(p[:min(int64(len(p)), r.sure-r.off)], r.off)
	r.off += int64(k)
	if k > 0 {
		return k, nil
	}
	return 0, err
}

// Close ends the reading. The download goes on.
func (r *Reader) Close() error {
	r.n.mu.Lock()
	defer r.n.mu.Unlock()
	if r.h == nil {
		return nil
	}
	r.cancel()
	r.n.core.ReaderGone(r.t.id, r.id)
	if s := r.t.stream; s != nil {
		delete(s.at, r.id)
	}
	r.n.closeLocked(r.t, r.lent)
	h := r.h
	r.h = nil
	h.Release()
	if r.own != nil {
		return r.own.Close()
	}
	return nil
}

// closeLocked ends a reader's part in a task, and takes his credential back.
func (n *Node) closeLocked(t *task, key uint64) {
	delete(t.lent, key)
	t.readers--
	t.used = time.Now()
	if t.stream != nil {
		n.leaveStreamLocked(t)
	}
}
