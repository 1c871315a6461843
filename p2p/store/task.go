package store

import (
	"bytes"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"github.com/zeebo/blake3"

	"github.com/darter-p2p/darter/p2p"
	"github.com/darter-p2p/darter/p2p/store/journal"
	"github.com/darter-p2p/darter/p2p/store/vfs"
)

// task is a task with its files open. All handles of a task share it.
type task struct {
	d *Disk
	e *entry

	file    vfs.File // the pieces
	journal vfs.File // replaced under syncing and appending

	// syncing is held by who makes the task durable, completes it or rewrites its journal.
	syncing     sync.Mutex
	established bool // the files' names are durable
	sized       bool // the data file's length is durable
	sealed      bool // the journal says complete, durably
	renamed     bool // the data file has its final name

	// appending is held by who appends to the journal.
	appending sync.Mutex
	end       journal.End
	record    []byte // reused

	mu            sync.RWMutex
	have          *p2p.PieceSet
	digests       []p2p.PieceDigest
	proofs        [][]byte
	proofBytes    int
	writing       map[p2p.Piece]*pieceWriter // who writes to a piece's place in the file
	unsynced      []p2p.Piece                // verified pieces that are not durable
	unsyncedBytes int64
	stale         bool  // the journal has other records that are not durable
	needsRewrite  bool  // the journal must not be continued with markers before it is rewritten
	dropped       int64 // bytes of records that a rewrite would leave out
	epoch         int   // counts failed syncs
}

func newTask(d *Disk, e *entry) *task {
	n := e.g.Pieces()
	return &task{
		d: d, e: e,
		have: p2p.NewPieceSet(n), digests: make([]p2p.PieceDigest, n),
		writing: map[p2p.Piece]*pieceWriter{},
	}
}

// take sets the task from its journal. It reads the pieces whose bytes may have
// been lost: at most about Config.SyncBytes and what was in flight.
func (t *task) take(s *journal.State) {
	t.end = s.End
	t.sealed = s.Completed
	t.have, t.digests = s.Synced, s.Digests
	t.needsRewrite = s.Torn > 0
	for _, proof := range s.Proofs {
		t.proofs = append(t.proofs, bytes.Clone(proof))
		t.proofBytes += len(proof)
	}
	for p, ok := s.Recorded.Next(0); ok; p, ok = s.Recorded.Next(p + 1) {
		if s.Synced.Has(p) {
			continue
		}
		if !t.verify(p) {
			t.digests[p] = p2p.PieceDigest{}
			t.needsRewrite = true
			continue
		}
		t.have.Add(p)
		t.unsynced = append(t.unsynced, p)
		t.unsyncedBytes += t.e.g.Length(p)
	}
}

// verify reports whether the piece in the file has its digest.
func (t *task) verify(p p2p.Piece) bool {
	s := t.d.getScratch()
	defer t.d.putScratch(s)
	buf := s.buf[:cap(s.buf)]
	off, left := t.e.g.Offset(p), t.e.g.Length(p)
	for left > 0 {
		chunk := buf[:min(left, int64(len(buf)))]
		if n, _ := t.file.ReadAt(chunk, off); n < len(chunk) {
			return false
		}
		_, _ = s.hash.Write(chunk) // never fails
		off += int64(len(chunk))
		left -= int64(len(chunk))
	}
	return s.sum() == t.digests[p]
}

// check says whether the task can still be used.
func (t *task) check() error {
	if t.e.gone.Load() {
		return ErrGone
	}
	return t.d.check()
}

func (t *task) dirty() bool {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return len(t.unsynced) > 0 || t.stale || t.needsRewrite
}

// append writes a record that was made from t.end at the journal's end. A failed
// write leaves the end where it was, and the next record overwrites its rest.
// appending is held.
func (t *task) append(record []byte, end journal.End) error {
	t.record = record[:0]
	if end.Offset() > journal.MaxLen {
		return fmt.Errorf("journal of %d bytes: %w", end.Offset(), errdefs.ErrResourceExhausted)
	}
	if _, err := t.journal.WriteAt(record, t.end.Offset()); err != nil {
		return err
	}
	t.end = end
	return nil
}

// addPiece records a piece that its writer has verified and written. The writer
// must have started after the last failed sync: before it, bytes may be lost.
func (t *task) addPiece(p p2p.Piece, digest p2p.PieceDigest, epoch int) error {
	t.appending.Lock()
	defer t.appending.Unlock()
	t.mu.RLock()
	lost := t.epoch != epoch
	t.mu.RUnlock()
	if lost {
		return fmt.Errorf("the disk failed while piece %d was written: %w", p, errdefs.ErrAborted)
	}
	if err := t.append(t.end.Piece(t.record[:0], p, digest)); err != nil {
		return err
	}
	t.mu.Lock()
	t.have.Add(p)
	t.digests[p] = digest
	t.unsynced = append(t.unsynced, p)
	t.unsyncedBytes += t.e.g.Length(p)
	full := t.unsyncedBytes >= t.d.cfg.SyncBytes
	t.e.pieces.Add(1)
	t.e.bytes.Add(t.e.g.Length(p))
	t.mu.Unlock()
	if full {
		select {
		case t.d.wake <- struct{}{}:
		default: // it is awake
		}
	}
	return nil
}

// rewriteAbove is how many bytes of records without use a journal may hold.
const rewriteAbove = 1 << 20

func (t *task) addProof(proof []byte, replace bool) error {
	if len(proof) > journal.MaxProof {
		return fmt.Errorf("proof of %d bytes, at most %d: %w", len(proof), journal.MaxProof, errdefs.ErrInvalidArgument)
	}
	t.mu.RLock()
	wasteful := t.dropped > 8*rewriteAbove
	t.mu.RUnlock()
	if wasteful {
		if err := t.sync(); err != nil {
			return err
		}
	}
	t.appending.Lock()
	defer t.appending.Unlock()
	if !replace && t.proofBytes+len(proof) > journal.MaxProofs {
		return fmt.Errorf("proofs of %d bytes: %w", t.proofBytes+len(proof), errdefs.ErrResourceExhausted)
	}
	if err := t.append(t.end.Proof(t.record[:0], proof, replace)); err != nil {
		return err
	}
	t.record = nil // it may be large
	t.mu.Lock()
	defer t.mu.Unlock()
	if replace {
		t.dropped += int64(t.proofBytes)
		t.proofs, t.proofBytes = nil, 0
	}
	t.proofs = append(t.proofs, bytes.Clone(proof))
	t.proofBytes += len(proof)
	t.stale = true
	return nil
}

func (t *task) pin(reason string, until time.Time) error {
	if err := t.appendPin(reason, until); err != nil {
		return err
	}
	return t.sync()
}

func (t *task) appendPin(reason string, until time.Time) error {
	t.appending.Lock()
	defer t.appending.Unlock()
	t.d.mu.Lock()
	t.e.pins = t.e.pins.active(time.Now())
	err := t.e.pins.check(reason, until)
	t.d.mu.Unlock()
	if err != nil {
		return err
	}
	before := t.end.Offset()
	if err := t.append(t.end.Pin(t.record[:0], reason, until)); err != nil {
		return err
	}
	t.d.mu.Lock()
	t.e.pins.set(reason, until)
	t.d.mu.Unlock()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.stale = true
	t.dropped += t.end.Offset() - before // some day
	return nil
}

// close closes the files.
func (t *task) close() {
	var err error
	for _, f := range []vfs.File{t.file, t.journal} {
		if f != nil {
			err = errors.Join(err, f.Close())
		}
	}
	if err != nil {
		t.d.log.WithField("task", t.e.id.String()).WithError(err).Warn("closing a task's files")
	}
}

// scratch is what it takes to hash and buffer one piece on its way.
type scratch struct {
	hash *blake3.Hasher
	buf  []byte // empty, chunkSize of room
}

// chunkSize is how much is written to the disk at a time: hashed while it is in
// the processor's cache, and copied from there.
const chunkSize = 64 << 10

func newScratch() *scratch {
	return &scratch{hash: blake3.New(), buf: make([]byte, 0, chunkSize)}
}

func (s *scratch) sum() (d p2p.PieceDigest) {
	s.hash.Sum(d[:0])
	return d
}

func (d *Disk) getScratch() *scratch { return d.scratch.Get().(*scratch) }

func (d *Disk) putScratch(s *scratch) {
	s.hash.Reset()
	s.buf = s.buf[:0]
	d.scratch.Put(s)
}
