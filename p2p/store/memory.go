package store

import (
	"fmt"
	"sync"
	"time"

	"github.com/containerd/errdefs"

	"github.com/darter-p2p/darter/p2p"
)

// Memory is a Store in memory, for tests and for programs without a disk: the
// plainest thing that keeps the contract. Its tasks have no files.
type Memory struct {
	quota int64

	mu       sync.Mutex // guards everything, of the tasks too
	tasks    map[p2p.TaskID]*memoryTask
	reserved int64
	closed   bool
}

var _ Store = (*Memory)(nil)

// NewMemory returns an empty store of at most quota bytes; 0 = without limit.
func NewMemory(quota int64) *Memory {
	return &Memory{quota: quota, tasks: map[p2p.TaskID]*memoryTask{}}
}

type memoryTask struct {
	m         *Memory
	id        p2p.TaskID
	g         p2p.Geometry
	have      *p2p.PieceSet
	pieces    [][]byte // immutable once set
	digests   []p2p.PieceDigest
	proofs    [][]byte
	pins      pins
	completed bool
	gone      bool
	used      time.Time
	handles   int
	bytes     int64
}

// Create implements Store.
func (m *Memory) Create(id p2p.TaskID, g p2p.Geometry) (Task, error) {
	if id.IsZero() {
		return nil, fmt.Errorf("store: create: no task: %w", errdefs.ErrInvalidArgument)
	}
	if err := g.Validate(); err != nil {
		return nil, taskError("create", id, fmt.Errorf("%w: %w", errdefs.ErrInvalidArgument, err))
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return nil, taskError("create", id, errdefs.ErrUnavailable)
	}
	t := m.tasks[id]
	if t == nil {
		if err := m.makeRoom(g.Size); err != nil {
			return nil, taskError("create", id, err)
		}
		n := g.Pieces()
		t = &memoryTask{
			m: m, id: id, g: g, have: p2p.NewPieceSet(n), pieces: make([][]byte, n),
			digests: make([]p2p.PieceDigest, n), pins: pins{},
		}
		m.tasks[id] = t
		m.reserved += g.Size
	}
	if t.g != g {
		return nil, taskError("create", id, fmt.Errorf("held with size %d, not %d: %w", t.g.Size, g.Size, errdefs.ErrFailedPrecondition))
	}
	return t.handle(), nil
}

func (m *Memory) makeRoom(size int64) error {
	if m.quota == 0 {
		return nil
	}
	now := time.Now()
	var all []candidate
	for id, t := range m.tasks {
		if t.handles == 0 && !t.pins.holds(now) {
			all = append(all, candidate{id, t.g.Size, t.used})
		}
	}
	ids, ok := victims(all, m.reserved+size-m.quota)
	if !ok || size > m.quota {
		return fmt.Errorf("%d bytes do not fit the quota of %d: %w", size, m.quota, errdefs.ErrResourceExhausted)
	}
	for _, id := range ids {
		m.remove(m.tasks[id])
	}
	return nil
}

// Drop forgets the bytes of a piece: it is not verified any more. Dropping what is not
// held is no error.
func (m *Memory) Drop(id p2p.TaskID, p p2p.Piece) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if t := m.tasks[id]; t != nil && int(p) < t.have.Len() && t.have.Remove(p) {
		t.bytes -= int64(len(t.pieces[p]))
		t.pieces[p] = nil
	}
}

func (m *Memory) remove(t *memoryTask) {
	t.gone = true
	delete(m.tasks, t.id)
	m.reserved -= t.g.Size
}

// Open implements Store.
func (m *Memory) Open(id p2p.TaskID) (Task, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	t, err := m.held(id)
	if err != nil {
		return nil, taskError("open", id, err)
	}
	return t.handle(), nil
}

func (m *Memory) held(id p2p.TaskID) (*memoryTask, error) {
	if m.closed {
		return nil, errdefs.ErrUnavailable
	}
	t := m.tasks[id]
	if t == nil {
		return nil, errdefs.ErrNotFound
	}
	return t, nil
}

// List implements Store.
func (m *Memory) List() []Info {
	now := time.Now()
	m.mu.Lock()
	defer m.mu.Unlock()
	infos := make([]Info, 0, len(m.tasks))
	for _, t := range m.tasks {
		infos = append(infos, Info{
			ID: t.id, Geometry: t.g, Pieces: t.have.Count(), Bytes: t.bytes, Completed: t.completed,
			Used: t.used, Pins: t.pins.active(now), Open: t.handles,
		})
	}
	sortInfos(infos)
	return infos
}

// Delete implements Store.
func (m *Memory) Delete(id p2p.TaskID) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return taskError("delete", id, errdefs.ErrUnavailable)
	}
	if t := m.tasks[id]; t != nil {
		m.remove(t)
	}
	return nil
}

// Pin implements Store.
func (m *Memory) Pin(id p2p.TaskID, reason string, until time.Time) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	t, err := m.held(id)
	if err == nil {
		t.pins = t.pins.active(time.Now())
		err = t.pins.check(reason, until)
	}
	if err != nil {
		return taskError("pin", id, err)
	}
	t.pins.set(reason, until)
	return nil
}

// Usage implements Store. The free space is what the quota leaves.
func (m *Memory) Usage() Usage {
	m.mu.Lock()
	defer m.mu.Unlock()
	return Usage{Reserved: m.reserved, Quota: m.quota, DiskFree: max(m.quota-m.reserved, 0)}
}

// Close implements Store.
func (m *Memory) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
	return nil
}

// handle returns a new handle. Memory.mu is held.
func (t *memoryTask) handle() *memoryHandle {
	t.handles++
	t.used = time.Now()
	return &memoryHandle{memoryTask: t}
}

// lock locks the store for one operation on the task.
func (t *memoryTask) lock() (unlock func(), err error) {
	t.m.mu.Lock()
	switch {
	case t.gone:
		err = ErrGone
	case t.m.closed:
		err = errdefs.ErrUnavailable
	}
	return t.m.mu.Unlock, err
}
