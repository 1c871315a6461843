package node

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/containerd/errdefs"

	"github.com/darter-p2p/darter/p2p"
	"github.com/darter-p2p/darter/p2p/download"
	"github.com/darter-p2p/darter/p2p/exchange"
	"github.com/darter-p2p/darter/p2p/store"
	"github.com/darter-p2p/darter/p2p/trust"
	"github.com/darter-p2p/darter/p2p/upload"
)

// task is this host's part in one task.
type task struct {
	id        p2p.TaskID
	origin    p2p.Origin
	geometry  p2p.Geometry // zero until known
	stream    *stream      // nil = pieces are stored
	handle    store.Task   // nil until the geometry is known, and when idle
	have      *p2p.PieceSet
	known     *p2p.PieceSet // pieces whose digest is known
	digests   []p2p.PieceDigest
	batches   []trust.Batch // what was said of the digests, for relaying; one if final
	final     bool          // the digest of the whole content matched
	complete  bool          // final, whole and in its place in the store
	settling  bool          // on its way there
	joined    bool          // wanted: the scheduler was asked for neighbours
	joinedKey bool          // for readers with a credential, too
	rejoined  bool          // and again, when nobody was said to have one
	wantAll   bool
	err       error // why no more will come

	neighbours map[p2p.HostID]*neighbour
	banned     map[p2p.HostID]string
	ledger     *upload.Ledger
	fresh      fresh
	readings   []p2p.Reading       // where it was read
	lent       map[uint64]lent     // credentials of readers
	answering  map[p2p.HostID]bool // seeds that a token is got for
	pending    []p2p.Piece         // haves that were not sent yet
	puller     *puller
	relief     *puller             // reads a run beside the scheduler's puller, for readers that starve
	pace       pace                // of what comes, while a reader waits
	came       time.Time           // when the last piece did
	fed        time.Time           // when the last one of a neighbour's did
	hungry     time.Time           // since when the reader had waited who starved last; zero = pieces came, but slowly
	parted     map[p2p.Piece]int64 // bytes of pieces that were asked for by parts
	partsAfter time.Time           // no part is asked for before
	partedAt   time.Time           // when one was asked for last
	settles    bool                // somebody waits for no part to be asked for
	crowd      crowd               // who reads parts here
	readers    int
	used       time.Time
	changed    chan struct{} // closed at the next change that a reader may wait for
	stats      Stats
}

// neighbour is another host that takes part in the same task.
type neighbour struct {
	host     p2p.Host
	told     bool // our bitmap was sent on the present link
	pruned   bool // it was told to relay no batches to us
	quiet    bool // it told us to relay it none
	gave     bool // parts came from it
	slow     bool // its pieces come so slowly that this host's puller does not wait for them
	set      *p2p.PieceSet
	untold   []p2p.Piece // of ours
	geometry p2p.Geometry
	stats    PeerStats
}

// size returns the content's length in bytes, -1 where it is not known.
func (t *task) size() int64 {
	if t.geometry.IsZero() {
		return -1
	}
	return t.geometry.Size
}

// newTaskLocked makes a task of which nothing is known but its name.
func (n *Node) newTaskLocked(id p2p.TaskID, origin p2p.Origin) *task {
	t := &task{
		id: id, origin: origin, used: time.Now(), changed: make(chan struct{}),
		neighbours: map[p2p.HostID]*neighbour{}, banned: map[p2p.HostID]string{},
	}
	if past, ok := n.past.get(id); ok {
		t.stats, t.origin = past.Stats, cmp.Or(origin, past.origin)
	} else {
		t.stats.Started = t.used
	}
	n.tasks[id] = t
	return t
}

// taskLocked returns the task where this host takes part in it or holds pieces of it.
func (n *Node) taskLocked(id p2p.TaskID) *task {
	if t := n.tasks[id]; t != nil {
		return t
	}
	h, err := n.store.Open(id)
	if err != nil {
		return nil
	}
	t := n.newTaskLocked(id, "")
	if err := n.adoptLocked(t, h); err != nil {
		n.events.TaskFailed(id, err)
		delete(n.tasks, id)
		return nil
	}
	return t
}

// setSizeLocked gives a task its geometry, and with it a place in the store.
func (n *Node) setSizeLocked(t *task, size int64) error {
	if !t.geometry.IsZero() {
		if t.geometry.Size != size {
			return fmt.Errorf("task %s: size %d, known as %d: %w", t.id, size, t.geometry.Size, p2p.ErrBadGeometry)
		}
		return nil
	}
	if size < 0 || size > p2p.MaxSize {
		return fmt.Errorf("task %s: size %d: %w", t.id, size, p2p.ErrBadGeometry)
	}
	h, err := n.store.Create(t.id, p2p.GeometryFor(size))
	if err != nil && diskFails(err) && t.readers > 0 && t.puller == nil && t.relief == nil {
		why := fmt.Errorf("task %s cannot be stored: %w", t.id, err)
		n.events.TaskFailed(t.id, why)
		if h, err = n.passing.Create(t.id, p2p.GeometryFor(size)); err == nil {
			t.stream = &stream{at: map[download.ReaderID]p2p.Piece{}, why: why}
		}
	}
	if err != nil {
		return fmt.Errorf("task %s: %w", t.id, err)
	}
	return n.adoptLocked(t, h)
}

// adoptLocked takes up what the store holds of a task.
func (n *Node) adoptLocked(t *task, h store.Task) error {
	t.geometry, t.handle, t.have = h.Geometry(), h, h.Have()
	pieces := t.geometry.Pieces()
	t.known, t.digests = p2p.NewPieceSet(pieces), make([]p2p.PieceDigest, pieces)
	t.ledger = upload.NewLedger(pieces)
	for p, ok := t.have.Next(0); ok; p, ok = t.have.Next(p + 1) {
		if d, ok := h.Digest(p); ok {
			t.digests[p] = d
			t.known.Add(p)
		}
	}
	n.core.Add(t.id, t.geometry, t.have)
	n.lookLocked()
	heard := slices.Clone(t.readings)
	for _, proof := range h.Proofs() {
		if p2p.IsReading(proof) {
			t.recall(proof)
			continue
		}
		b, err := trust.DecodeBatch(proof)
		if err != nil {
			return fmt.Errorf("task %s: its stored digests: %w", t.id, err)
		}
		n.learnLocked(t, b)
	}
	n.keepReadingsLocked(t, heard...)
	t.complete = h.Completed()
	if t.joined && t.wantAll && t.stream == nil {
		n.core.Want(t.id, 0, p2p.Piece(pieces))
	}
	for _, nb := range t.neighbours {
		nb.told = false
		n.tellLocked(t, nb)
		n.bitmapLocked(t, nb)
	}
	if t.have.Full() {
		n.finishedLocked(t)
	}
	n.wakeLocked(t)
	return nil
}

// wakeLocked lets every waiting reader look again.
func (n *Node) wakeLocked(t *task) {
	close(t.changed)
	t.changed = make(chan struct{})
}

// ErrRevoked is wrapped by the error of a task whose content was not what its digest says.
var ErrRevoked = fmt.Errorf("content revoked: %w", errdefs.ErrDataLoss)

// failLocked ends a task: its readers get err. What the store holds of it stays.
func (n *Node) failLocked(t *task, err error) {
	if t.err == nil {
		t.err = err
	}
	n.dropLocked(t)
	n.wakeLocked(t)
}

// dropLocked forgets a task.
func (n *Node) dropLocked(t *task) {
	if n.tasks[t.id] != t {
		return
	}
	delete(n.tasks, t.id)
	delete(n.untold, t)
	n.endFreshLocked(t)
	for id, nb := range t.neighbours {
		t.stats.gone(id, nb)
		nb.stats = PeerStats{}
	}
	n.past.put(t.id, record{Stats: t.stats, origin: t.origin, err: t.err})
	for _, p := range []*puller{t.puller, t.relief} {
		if p != nil {
			p.cancel()
		}
	}
	n.core.Remove(t.id)
	for id, nb := range t.neighbours {
		if h := n.hosts[id]; h != nil && h.link != nil && nb.told {
			h.link.Send(exchange.Leave{Task: t.id})
		}
		n.unlinkLocked(t, id)
	}
	if t.handle != nil {
		t.handle.Release()
	}
	if t.stream != nil {
		_ = n.passing.Delete(t.id) // memory does not fail
	}
}

// holdLocked marks a piece as verified and stored.
func (n *Node) holdLocked(t *task, p p2p.Piece) bool {
	if !t.have.Add(p) {
		return false
	}
	t.came = time.Now()
	if t.stream == nil {
		n.announceLocked(t, p)
		n.flushSoonLocked()
		n.callLocked()
	}
	n.wakeLocked(t)
	return true
}

// announceLocked has neighbours told of pieces when haves leave next.
func (n *Node) announceLocked(t *task, pieces ...p2p.Piece) {
	t.pending = append(t.pending, pieces...)
	n.untold[t] = struct{}{}
}

// finishedLocked is called when every piece is held, and again when the map became
// final: with both, the task is complete.
func (n *Node) finishedLocked(t *task) {
	if !t.have.Full() || t.stream != nil {
		return
	}
	if t.stats.Held.IsZero() {
		t.stats.Held = time.Now()
		n.tellFullLocked(t)
	}
	if !t.final || t.complete || t.settling {
		return
	}
	t.settling = true
	h := t.handle
	n.goLocked(func() {
		err := h.Complete()
		n.mu.Lock()
		defer n.mu.Unlock()
		t.settling = false
		if err != nil {
			n.events.TaskFailed(t.id, fmt.Errorf("complete: %w", err))
			return
		}
		t.complete, t.used = true, time.Now()
		n.tracker.Done(t.id)
		n.events.TaskDone(t.id, t.geometry.Size)
	})
}

// revokeLocked drops a task and everything held of it.
func (n *Node) revokeLocked(t *task, err error) {
	n.failLocked(t, err)
	if derr := n.store.Delete(t.id); derr != nil {
		n.events.TaskFailed(t.id, fmt.Errorf("delete revoked content: %w", derr))
	}
	n.tracker.Leave(t.id)
}

// Holdings lists what this host holds and wants, for a scheduler that is new.
func (n *Node) Holdings() []p2p.Holding {
	n.mu.Lock()
	defer n.mu.Unlock()
	var held []p2p.Holding
	for _, i := range n.store.List() {
		if n.tasks[i.ID] == nil {
			held = append(held, p2p.Holding{Task: i.ID, Size: i.Geometry.Size, Complete: i.Completed})
		}
	}
	for _, id := range slices.SortedFunc(maps.Keys(n.tasks), compareTasks) {
		t := n.tasks[id]
		held = append(held, p2p.Holding{Task: id, Size: t.size(), Complete: t.complete,
			Active: t.joined && !t.complete, Pulling: t.puller != nil && !t.puller.share.Helper, Origin: t.origin})
	}
	return held
}

func compareTasks(a, b p2p.TaskID) int {
	return slices.Compare(a.AppendBinary(nil), b.AppendBinary(nil))
}
