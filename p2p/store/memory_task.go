package store

import (
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"github.com/zeebo/blake3"

	"github.com/darter-p2p/darter/p2p"
	"github.com/darter-p2p/darter/p2p/store/journal"
)

// memoryHandle is one user's Task of a Memory.
type memoryHandle struct {
	*memoryTask
	released sync.Once
}

var _ Task = (*memoryHandle)(nil)

func (h *memoryHandle) ID() p2p.TaskID         { return h.id }
func (h *memoryHandle) Geometry() p2p.Geometry { return h.g }
func (h *memoryHandle) File() *os.File         { return nil }

func (h *memoryHandle) Release() {
	h.released.Do(func() {
		h.m.mu.Lock()
		defer h.m.mu.Unlock()
		h.handles--
		h.used = time.Now()
	})
}

func (h *memoryHandle) Have() *p2p.PieceSet {
	unlock, err := h.lock()
	defer unlock()
	if err != nil {
		return p2p.NewPieceSet(h.g.Pieces())
	}
	return h.have.Clone()
}

func (h *memoryHandle) Has(p p2p.Piece) bool {
	unlock, err := h.lock()
	defer unlock()
	return err == nil && h.have.Has(p)
}

func (h *memoryHandle) Digest(p p2p.Piece) (p2p.PieceDigest, bool) {
	unlock, err := h.lock()
	defer unlock()
	if err != nil || !h.have.Has(p) {
		return p2p.PieceDigest{}, false
	}
	return h.digests[p], true
}

func (h *memoryHandle) ReadAt(b []byte, off int64) (int, error) {
	unlock, err := h.lock()
	defer unlock()
	if err != nil {
		return 0, taskError("read", h.id, err)
	}
	part, eof, err := readable(h.g, b, off)
	if err != nil {
		return 0, taskError("read", h.id, err)
	}
	first, end := h.g.PieceRange(off, int64(len(part)))
	if p, found := h.have.NextMissing(first); found && p < end {
		return 0, taskError("read", h.id, fmt.Errorf("piece %d: %w", p, errdefs.ErrNotFound))
	}
	n := 0
	for p := first; p < end; p++ {
		n += copy(part[n:], h.pieces[p][off+int64(n)-h.g.Offset(p):])
	}
	return n, eof
}

func (h *memoryHandle) AddProof(proof []byte, replace bool) error {
	unlock, err := h.lock()
	defer unlock()
	if err == nil && len(proof) > journal.MaxProof {
		err = fmt.Errorf("proof of %d bytes, at most %d: %w", len(proof), journal.MaxProof, errdefs.ErrInvalidArgument)
	}
	if err != nil {
		return taskError("add proof", h.id, err)
	}
	kept := h.proofs
	if replace {
		kept = nil
	}
	total := len(proof)
	for _, p := range kept {
		total += len(p)
	}
	if total > journal.MaxProofs {
		return taskError("add proof", h.id, fmt.Errorf("proofs of %d bytes: %w", total, errdefs.ErrResourceExhausted))
	}
	h.proofs = append(kept, slices.Clone(proof))
	return nil
}

func (h *memoryHandle) Proofs() [][]byte {
	unlock, err := h.lock()
	defer unlock()
	if err != nil {
		return nil
	}
	return slices.Clone(h.proofs)
}

func (h *memoryHandle) Complete() error {
	unlock, err := h.lock()
	defer unlock()
	if err == nil && !h.have.Full() {
		err = fmt.Errorf("%d of %d pieces: %w", h.have.Count(), h.have.Len(), errdefs.ErrFailedPrecondition)
	}
	if err != nil {
		return taskError("complete", h.id, err)
	}
	h.completed = true
	return nil
}

func (h *memoryHandle) Completed() bool {
	unlock, err := h.lock()
	defer unlock()
	return err == nil && h.completed
}

// LinkTo implements Task: there is no file to link.
func (h *memoryHandle) LinkTo(string) error {
	return taskError("link", h.id, fmt.Errorf("a store in memory has no files: %w", errdefs.ErrNotImplemented))
}

func (h *memoryHandle) Write(p p2p.Piece) (PieceWriter, error) {
	unlock, err := h.lock()
	defer unlock()
	if err == nil && int(p) >= h.g.Pieces() {
		err = fmt.Errorf("piece %d of %d: %w", p, h.g.Pieces(), errdefs.ErrInvalidArgument)
	}
	if err != nil {
		return nil, taskError("write", h.id, err)
	}
	return &memoryWriter{t: h.memoryTask, p: p}, nil
}

// memoryWriter keeps a piece's bytes until Commit.
type memoryWriter struct {
	t    *memoryTask
	p    p2p.Piece
	b    []byte
	done bool
}

var _ io.Writer = (*memoryWriter)(nil)

func (w *memoryWriter) check(more int) error {
	switch length := int(w.t.g.Length(w.p)); {
	case w.done:
		return fmt.Errorf("writer is finished: %w", errdefs.ErrFailedPrecondition)
	case len(w.b)+more > length:
		return fmt.Errorf("%d bytes after %d of %d: %w", more, len(w.b), length, errdefs.ErrInvalidArgument)
	}
	return nil
}

func (w *memoryWriter) wrap(err error) error {
	return taskError(fmt.Sprintf("write piece %d of", w.p), w.t.id, err)
}

func (w *memoryWriter) Write(b []byte) (int, error) {
	unlock, err := w.t.lock()
	defer unlock()
	if err == nil {
		err = w.check(len(b))
	}
	if err != nil {
		return 0, w.wrap(err)
	}
	if w.b == nil {
		w.b = make([]byte, 0, w.t.g.Length(w.p))
	}
	w.b = append(w.b, b...)
	return len(b), nil
}

func (w *memoryWriter) Commit(want *p2p.PieceDigest) (p2p.PieceDigest, error) {
	sum := p2p.PieceDigest(blake3.Sum256(w.b))
	unlock, err := w.t.lock()
	defer unlock()
	if err == nil {
		err = w.check(0)
	}
	w.done = true
	switch {
	case err != nil:
	case int64(len(w.b)) < w.t.g.Length(w.p):
		err = fmt.Errorf("%d of %d bytes: %w", len(w.b), w.t.g.Length(w.p), errdefs.ErrFailedPrecondition)
	case want != nil && sum != *want:
		err = fmt.Errorf("%w: %x, want %x", ErrDigest, sum[:8], want[:8])
	case w.t.have.Has(w.p) && w.t.digests[w.p] != sum:
		err = fmt.Errorf("%w: held with %x, not %x", ErrDigest, w.t.digests[w.p][:8], sum[:8])
	}
	if err != nil {
		return p2p.PieceDigest{}, w.wrap(err)
	}
	if w.t.have.Add(w.p) {
		w.t.pieces[w.p], w.t.digests[w.p] = w.b, sum
		w.t.bytes += int64(len(w.b))
	}
	return sum, nil
}

func (w *memoryWriter) Abort() { w.done = true }
