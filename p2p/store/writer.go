package store

import (
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/containerd/errdefs"

	"github.com/darter-p2p/darter/p2p"
)

// mode is what a pieceWriter does with its bytes, beside hashing them.
type mode uint8

const (
	// direct writes them to the piece's place in the file. One writer of a piece is direct.
	direct mode = iota
	// spare keeps them in memory, because another writer is direct.
	spare
	// echo drops them: the piece was verified already.
	echo
	// overtaken drops them: another writer finished first and took the place.
	overtaken
)

// pieceWriter writes one piece. Only one goroutine uses it, but another writer of
// the same piece may overtake it.
type pieceWriter struct {
	t       *task
	p       p2p.Piece
	length  int64
	taken   int64    // bytes given to Write
	scratch *scratch // nil when done

	// mu guards what follows, and is held during every write to the file.
	mu     sync.Mutex
	mode   mode
	epoch  int
	passed int64 // bytes hashed, and written where the mode says so
	bytes  []byte
	failed error
}

var _ io.ReaderFrom = (*pieceWriter)(nil)

func newPieceWriter(t *task, p p2p.Piece) *pieceWriter {
	w := &pieceWriter{t: t, p: p, length: t.e.g.Length(p), scratch: t.d.getScratch()}
	t.mu.Lock()
	defer t.mu.Unlock()
	w.epoch = t.epoch
	switch {
	case t.have.Has(p):
		w.mode = echo
	case t.writing[p] != nil:
		w.mode = spare
	default:
		t.writing[p] = w
	}
	return w
}

// Write implements PieceWriter.
func (w *pieceWriter) Write(b []byte) (int, error) {
	if err := w.check(int64(len(b))); err != nil {
		return 0, w.wrap(err)
	}
	for n := 0; n < len(b); {
		part := b[n:min(len(b), n+chunkSize-len(w.scratch.buf))]
		n += len(part)
		w.taken += int64(len(part))
		if len(part) == chunkSize { // nothing is buffered
			if err := w.pass(part); err != nil {
				return n, w.wrap(err)
			}
			continue
		}
		w.scratch.buf = append(w.scratch.buf, part...)
		if len(w.scratch.buf) == chunkSize {
			if err := w.flush(); err != nil {
				return n, w.wrap(err)
			}
		}
	}
	return len(b), nil
}

// ReadFrom reads until the piece is whole or r ends. It saves copying.
func (w *pieceWriter) ReadFrom(r io.Reader) (n int64, err error) {
	for {
		if err := w.check(0); err != nil {
			return n, w.wrap(err)
		}
		left := w.length - w.taken
		if left == 0 {
			return n, nil
		}
		buf := w.scratch.buf
		k, err := r.Read(buf[len(buf):min(int64(cap(buf)), int64(len(buf))+left)])
		w.scratch.buf = buf[:len(buf)+k]
		w.taken += int64(k)
		n += int64(k)
		if len(w.scratch.buf) == chunkSize {
			if err := w.flush(); err != nil {
				return n, w.wrap(err)
			}
		}
		if errors.Is(err, io.EOF) {
			return n, nil
		}
		if err != nil {
			return n, err
		}
	}
}

// check reports whether more bytes may come.
func (w *pieceWriter) check(more int64) error {
	switch {
	case w.scratch == nil:
		return fmt.Errorf("writer is finished: %w", errdefs.ErrFailedPrecondition)
	case w.failed != nil:
		return w.failed
	case more > w.length-w.taken:
		return fmt.Errorf("%d bytes after %d of %d: %w", more, w.taken, w.length, errdefs.ErrInvalidArgument)
	}
	return w.t.check()
}

func (w *pieceWriter) flush() error {
	b := w.scratch.buf
	w.scratch.buf = b[:0]
	if len(b) == 0 {
		return nil
	}
	return w.pass(b)
}

// pass hashes the next bytes and puts them where they belong.
func (w *pieceWriter) pass(b []byte) error {
	_, _ = w.scratch.hash.Write(b) // never fails
	w.mu.Lock()
	defer w.mu.Unlock()
	switch w.mode {
	case direct:
		_, w.failed = w.t.file.WriteAt(b, w.t.e.g.Offset(w.p)+w.passed)
	case spare:
		if w.bytes == nil {
			w.bytes = make([]byte, 0, w.length)
		}
		w.bytes = append(w.bytes, b...)
	}
	w.passed += int64(len(b))
	return w.failed
}

// Commit implements PieceWriter.
func (w *pieceWriter) Commit(want *p2p.PieceDigest) (p2p.PieceDigest, error) {
	if err := w.check(0); err != nil {
		w.Abort()
		return p2p.PieceDigest{}, w.wrap(err)
	}
	defer w.Abort() // gives back what it used
	if w.taken < w.length {
		return p2p.PieceDigest{}, w.wrap(fmt.Errorf("%d of %d bytes: %w", w.taken, w.length, errdefs.ErrFailedPrecondition))
	}
	if err := w.flush(); err != nil {
		return p2p.PieceDigest{}, w.wrap(err)
	}
	sum := w.scratch.sum()
	if want != nil && sum != *want {
		return p2p.PieceDigest{}, w.wrap(fmt.Errorf("%w: %x, want %x", ErrDigest, sum[:8], want[:8]))
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.record(sum); err != nil {
		return p2p.PieceDigest{}, w.wrap(err)
	}
	return sum, nil
}

// record makes the piece part of the task, or finds that it is already. mu is held.
func (w *pieceWriter) record(sum p2p.PieceDigest) error {
	if w.mode == spare {
		if err := w.overtake(); err != nil {
			return err
		}
	}
	switch w.mode {
	case direct:
		return w.t.addPiece(w.p, sum, w.epoch)
	case overtaken:
		w.awaitPlace()
	}
	w.t.mu.RLock()
	defer w.t.mu.RUnlock()
	switch {
	case !w.t.have.Has(w.p):
		return fmt.Errorf("another writer took over and failed: %w", errdefs.ErrAborted)
	case w.t.digests[w.p] != sum:
		return fmt.Errorf("%w: held with %x, not %x", ErrDigest, w.t.digests[w.p][:8], sum[:8])
	}
	return nil
}

// overtake writes a spare writer's bytes to the piece's place, unless the piece is
// verified by now. It takes the place from the writer that has it, which waits for
// that one's current write to the file. mu is held, and the other's is taken: this
// cannot deadlock, for a writer that has the place waits for no other.
func (w *pieceWriter) overtake() error {
	for w.mode == spare {
		w.t.mu.Lock()
		owner := w.t.writing[w.p]
		switch {
		case w.t.have.Has(w.p):
			w.mode = echo
		case owner == nil:
			w.takePlace()
		}
		w.t.mu.Unlock()
		if w.mode != spare {
			break
		}
		owner.mu.Lock()
		w.t.mu.Lock()
		switch {
		case w.t.have.Has(w.p): // it has just finished
			w.mode = echo
		case w.t.writing[w.p] == owner:
			owner.mode = overtaken
			w.takePlace()
		}
		w.t.mu.Unlock()
		owner.mu.Unlock()
	}
	if w.mode == echo {
		return nil
	}
	_, err := w.t.file.WriteAt(w.bytes, w.t.e.g.Offset(w.p))
	return err
}

// awaitPlace waits until the writer that overtook this one has finished its Commit.
func (w *pieceWriter) awaitPlace() {
	w.t.mu.RLock()
	owner := w.t.writing[w.p]
	w.t.mu.RUnlock()
	if owner != nil {
		owner.mu.Lock() // it holds this throughout record
		defer owner.mu.Unlock()
	}
}

// takePlace makes the writer direct. Its own mu and task.mu are held.
func (w *pieceWriter) takePlace() {
	w.mode, w.epoch = direct, w.t.epoch
	w.t.writing[w.p] = w
}

// Abort implements PieceWriter.
func (w *pieceWriter) Abort() {
	if w.scratch == nil {
		return
	}
	w.t.d.putScratch(w.scratch)
	w.scratch, w.bytes = nil, nil
	w.t.mu.Lock()
	defer w.t.mu.Unlock()
	if w.t.writing[w.p] == w {
		delete(w.t.writing, w.p)
	}
}

func (w *pieceWriter) wrap(err error) error {
	return w.t.wrap(fmt.Sprintf("write piece %d of", w.p), err)
}
