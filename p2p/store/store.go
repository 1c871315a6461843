// Package store keeps the verified pieces of tasks on a node's disk: one sparse
// file a task beside an append-only journal of what was verified, under a quota of
// its own and a floor of free space. What is not verified is never read.
package store

import (
	"errors"
	"io"
	"os"
	"time"

	"github.com/darter-p2p/darter/p2p"
)

// The errors of a Store are classes of containerd/errdefs, wrapped with the task:
// ErrNotFound, ErrFailedPrecondition (a geometry that differs from the one held),
// ErrResourceExhausted (does not fit the quota or the disk), ErrUnavailable (closed).
var (
	// ErrDigest says that a piece's bytes are not those of its digest; nothing was kept of it.
	ErrDigest = errors.New("piece digest mismatch")
	// ErrGone says that the task was deleted while it was being used.
	ErrGone = errors.New("task deleted")
)

// Store holds tasks. All methods may be called concurrently.
type Store interface {
	// Create returns the task, making it if it is not held. The whole size is
	// reserved: unpinned tasks that nobody has open are evicted, least recently
	// used first, to make room. A task that cannot fit is refused at once with
	// ErrResourceExhausted. The caller must Release the handle.
	Create(id p2p.TaskID, g p2p.Geometry) (Task, error)
	// Open returns a task that is held, whole or in part, else ErrNotFound, and
	// marks it as used now. The caller must Release the handle.
	Open(id p2p.TaskID) (Task, error)
	// List describes every task held, most recently used first. It does no I/O.
	List() []Info
	// Delete removes a task. Open handles fail with ErrGone from then on; readers
	// that hold its file open are not disturbed. Deleting what is not held is no error.
	Delete(id p2p.TaskID) error
	// Pin keeps a task from eviction until the given time, for the named reason
	// ("preheat", "mount"). A zero time ends that pin.
	Pin(id p2p.TaskID, reason string, until time.Time) error
	// Usage returns what the store occupies and may occupy, in bytes.
	Usage() Usage
	// Close syncs and closes everything.
	Close() error
}

// Task is an open handle of one task. Methods may be called concurrently.
type Task interface {
	ID() p2p.TaskID
	Geometry() p2p.Geometry
	// Have returns a copy of the set of verified pieces.
	Have() *p2p.PieceSet
	// Has reports whether a piece is verified, without a copy or I/O.
	Has(p p2p.Piece) bool
	// Digest returns the digest of a verified piece.
	Digest(p p2p.Piece) (p2p.PieceDigest, bool)
	// Write returns a writer for piece p. Bytes are written to the disk as they
	// come and hashed on the way; Commit makes the piece part of the task. Several
	// writers of one piece may run at once; the first Commit counts.
	Write(p p2p.Piece) (PieceWriter, error)
	// ReadAt reads verified bytes only: a range that touches an unverified piece
	// is an error (ErrNotFound) and no byte is returned.
	io.ReaderAt
	// File returns the task's file for sendfile, or nil where the store has none
	// (memory). It is shared: use offsets, never its position, and do not close it.
	// Valid until Release.
	File() *os.File
	// AddProof keeps an opaque record beside the pieces (a signed digest batch),
	// for as long as the task is held; Proofs returns them in order. A proof with
	// replace drops all earlier ones.
	AddProof(proof []byte, replace bool) error
	Proofs() [][]byte
	// Complete syncs a task of which every piece is verified and gives the file
	// its final name. It is idempotent.
	Complete() error
	// Completed reports whether Complete was done.
	Completed() bool
	// LinkTo makes a hard link of a completed task's file at path, for darter's own consumers.
	LinkTo(path string) error
	// Release ends the use of the handle. A task with open handles is not evicted.
	Release()
}

// PieceWriter takes one piece's bytes from its first to its last. One goroutine
// uses it. A writer that is done with ends with Commit or Abort.
type PieceWriter interface {
	io.Writer
	// Commit verifies that the whole piece was written and has the digest want,
	// and records it. With want nil the piece is trusted (its writer read it from
	// the origin) and its digest is returned. On ErrDigest nothing was kept.
	Commit(want *p2p.PieceDigest) (p2p.PieceDigest, error)
	// Abort drops what was written. It is a no-op after Commit.
	Abort()
}

// Info describes a task that is held.
type Info struct {
	ID        p2p.TaskID
	Geometry  p2p.Geometry
	Pieces    int   // verified
	Bytes     int64 // verified
	Completed bool
	Used      time.Time
	Pins      map[string]time.Time
	Open      int // handles
}

// Usage is the space of a store, in bytes.
type Usage struct {
	Reserved int64 // by tasks held
	Quota    int64 // what it may reserve; 0 = no quota
	DiskFree int64 // of the file system
	Floor    int64 // free space that the store leaves to others
}
