package store

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"sync/atomic"
	"syscall"

	"github.com/containerd/errdefs"

	"github.com/darter-p2p/darter/p2p"
)

// handle is one user's Task.
type handle struct {
	task     *task
	released atomic.Bool
}

var _ Task = (*handle)(nil)

func (h *handle) ID() p2p.TaskID         { return h.task.e.id }
func (h *handle) Geometry() p2p.Geometry { return h.task.e.g }
func (h *handle) Completed() bool        { return h.task.e.completed.Load() && h.task.check() == nil }

func (h *handle) Have() *p2p.PieceSet {
	t := h.task
	if t.check() != nil {
		return p2p.NewPieceSet(t.e.g.Pieces())
	}
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.have.Clone()
}

func (h *handle) Has(p p2p.Piece) bool {
	t := h.task
	if t.check() != nil {
		return false
	}
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.have.Has(p)
}

func (h *handle) Digest(p p2p.Piece) (p2p.PieceDigest, bool) {
	t := h.task
	if t.check() != nil {
		return p2p.PieceDigest{}, false
	}
	t.mu.RLock()
	defer t.mu.RUnlock()
	if !t.have.Has(p) {
		return p2p.PieceDigest{}, false
	}
	return t.digests[p], true
}

func (h *handle) Write(p p2p.Piece) (PieceWriter, error) {
	t := h.task
	if err := t.check(); err != nil {
		return nil, t.wrap("write", err)
	}
	if int(p) >= t.e.g.Pieces() {
		return nil, t.wrap("write", fmt.Errorf("piece %d of %d: %w", p, t.e.g.Pieces(), errdefs.ErrInvalidArgument))
	}
	return newPieceWriter(t, p), nil
}

func (h *handle) ReadAt(b []byte, off int64) (int, error) {
	t := h.task
	if err := t.check(); err != nil {
		return 0, t.wrap("read", err)
	}
	part, eof, err := readable(t.e.g, b, off)
	if err != nil {
		return 0, t.wrap("read", err)
	}
	first, end := t.e.g.PieceRange(off, int64(len(part)))
	t.mu.RLock()
	missing, found := t.have.NextMissing(first)
	t.mu.RUnlock()
	if found && missing < end {
		return 0, t.wrap("read", fmt.Errorf("piece %d: %w", missing, errdefs.ErrNotFound))
	}
	n, err := t.file.ReadAt(part, off)
	if n < len(part) {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return n, t.wrap("read", err)
	}
	return n, eof
}

// readable returns the part of b that the content fills from off, and io.EOF if that is not all of b.
func readable(g p2p.Geometry, b []byte, off int64) (part []byte, eof, err error) {
	if off < 0 {
		return nil, nil, fmt.Errorf("offset %d: %w", off, errdefs.ErrInvalidArgument)
	}
	n := min(int64(len(b)), max(g.Size-off, 0))
	if n < int64(len(b)) {
		eof = io.EOF
	}
	return b[:n], eof, nil
}

func (h *handle) File() *os.File { return h.task.file.OS() }

func (h *handle) AddProof(proof []byte, replace bool) error {
	t := h.task
	err := t.check()
	if err == nil {
		err = t.addProof(proof, replace)
	}
	return t.wrap("add proof", err)
}

func (h *handle) Proofs() [][]byte {
	t := h.task
	if t.check() != nil {
		return nil
	}
	t.mu.RLock()
	defer t.mu.RUnlock()
	return slices.Clone(t.proofs)
}

func (h *handle) Complete() error {
	t := h.task
	err := t.check()
	if err == nil {
		err = t.complete()
	}
	return t.wrap("complete", err)
}

func (h *handle) LinkTo(path string) error {
	t := h.task
	t.d.naming.Lock()
	defer t.d.naming.Unlock()
	if err := t.check(); err != nil {
		return t.wrap("link", err)
	}
	if !t.e.completed.Load() {
		return t.wrap("link", fmt.Errorf("not complete: %w", errdefs.ErrFailedPrecondition))
	}
	err := t.d.fs.Link(t.e.names.final(), path)
	switch {
	case errors.Is(err, fs.ErrExist):
		err = fmt.Errorf("%w: %w", errdefs.ErrAlreadyExists, err)
	case errors.Is(err, syscall.EXDEV), errors.Is(err, syscall.EMLINK):
		err = fmt.Errorf("%w: %w", errdefs.ErrFailedPrecondition, err)
	}
	return t.wrap("link", err)
}

func (h *handle) Release() {
	if !h.released.Swap(true) {
		h.task.d.release(h.task.e, true)
	}
}

func (t *task) wrap(op string, err error) error { return taskError(op, t.e.id, err) }
