package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/containerd/errdefs"
	"github.com/containerd/log"

	"github.com/darter-p2p/darter/p2p"
	"github.com/darter-p2p/darter/p2p/store/vfs"
)

// Disk is a Store on a file system. Its files, what survives a crash and why are
// described in DESIGN.md.
//
// Locks are taken in this order: pieceWriter.mu; task.syncing; task.appending or
// entry.loading; Disk.naming; then Disk.mu or task.mu, which are never held during I/O.
type Disk struct {
	cfg     Config
	fs      vfs.FS
	log     *log.Entry
	lock    io.Closer
	scratch sync.Pool // of *scratch

	// naming serialises what changes the names of files: creating, completing,
	// rewriting a journal, deleting. It guards unsynced.
	naming   sync.Mutex
	unsynced map[string]bool // directories with changes of names that are not durable, beside those of tasks

	mu       sync.Mutex
	entries  map[p2p.TaskID]*entry
	reserved int64 // bytes
	space    Space

	sparse atomic.Bool // the file system cannot reserve space
	closed atomic.Bool

	wake    chan struct{} // a task has SyncBytes to sync
	resized chan struct{} // the space has changed
	stop    chan struct{}
	stopped chan struct{}
}

var _ Store = (*Disk)(nil)

// Open opens the store at cfg.Root and starts the goroutine that syncs it, which
// Close stops. It reads the journal of every task but no data, so that it takes
// time by the number of tasks and not by their size. Broken tasks are removed and
// foreign files left alone; both are logged. ctx bounds opening and carries the
// logger; the store lives on until Close. A root that another process uses is
// ErrUnavailable.
func Open(ctx context.Context, cfg Config) (*Disk, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	d := &Disk{
		cfg: cfg, fs: cfg.FS,
		log:      log.G(ctx).WithField("store", cfg.Root),
		unsynced: map[string]bool{},
		entries:  map[p2p.TaskID]*entry{},
		space:    cfg.Space,
		wake:     make(chan struct{}, 1),
		resized:  make(chan struct{}, 1),
		stop:     make(chan struct{}),
		stopped:  make(chan struct{}),
	}
	if d.fs == nil {
		d.fs = vfs.OS{}
	}
	d.scratch.New = func() any { return newScratch() }
	if err := d.prepare(); err != nil {
		return nil, fmt.Errorf("store: open %s: %w", cfg.Root, err)
	}
	if err := d.scan(ctx); err != nil {
		return nil, fmt.Errorf("store: open %s: %w", cfg.Root, errors.Join(err, d.lock.Close()))
	}
	go d.run()
	return d, nil
}

// prepare makes the directories and locks the root.
func (d *Disk) prepare() error {
	if err := d.mkdir(d.cfg.Root); err != nil {
		return err
	}
	lock, err := d.fs.Lock(filepath.Join(d.cfg.Root, lockName))
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return fmt.Errorf("used by another process: %w", errdefs.ErrUnavailable)
	}
	if err != nil {
		return err
	}
	d.lock = lock
	for _, kind := range kinds {
		err = errors.Join(err, d.mkdir(filepath.Join(d.cfg.Root, kind)))
	}
	// A process that was killed may have left names that are not durable yet.
	err = errors.Join(err, d.fs.SyncDir(d.cfg.Root))
	for _, kind := range kinds {
		err = errors.Join(err, d.fs.SyncDir(filepath.Join(d.cfg.Root, kind)))
	}
	if err != nil {
		return errors.Join(err, lock.Close())
	}
	return nil
}

// mkdir makes a directory, durably, if it is not there. Disk.naming is held, or
// the store is not open yet.
func (d *Disk) mkdir(dir string) error {
	err := d.fs.Mkdir(dir)
	if err == nil {
		d.unsynced[filepath.Dir(dir)] = true
	} else if !errors.Is(err, fs.ErrExist) {
		return err
	}
	return d.syncNames(filepath.Dir(dir))
}

// Open implements Store.
func (d *Disk) Open(id p2p.TaskID) (Task, error) {
	t, err := d.openHeld(id)
	if err != nil {
		return nil, taskError("open", id, err)
	}
	return &handle{task: t}, nil
}

func (d *Disk) openHeld(id p2p.TaskID) (*task, error) {
	if err := d.check(); err != nil {
		return nil, err
	}
	e := d.use(id)
	if e == nil {
		return nil, errdefs.ErrNotFound
	}
	return d.open(e)
}

// Create implements Store.
func (d *Disk) Create(id p2p.TaskID, g p2p.Geometry) (Task, error) {
	if id.IsZero() {
		return nil, fmt.Errorf("store: create: no task: %w", errdefs.ErrInvalidArgument)
	}
	if err := g.Validate(); err != nil {
		return nil, taskError("create", id, fmt.Errorf("%w: %w", errdefs.ErrInvalidArgument, err))
	}
	// Again if the task that was held turned out to be broken, or was deleted meanwhile.
	for attempt := 0; ; attempt++ {
		t, err := d.openOrMake(id, g)
		if err == nil {
			return &handle{task: t}, nil
		}
		if attempt == 8 || !errdefs.IsNotFound(err) {
			return nil, taskError("create", id, err)
		}
	}
}

func (d *Disk) openOrMake(id p2p.TaskID, g p2p.Geometry) (*task, error) {
	if err := d.check(); err != nil {
		return nil, err
	}
	e := d.use(id)
	if e == nil {
		var t *task
		var err error
		if e, t, err = d.useOrMake(id, g); e == nil {
			return t, err
		}
	}
	if e.g != g {
		defer d.release(e, true)
		return nil, fmt.Errorf("held with size %d and pieces of %d, not %d and %d: %w",
			e.g.Size, e.g.PieceLength, g.Size, g.PieceLength, errdefs.ErrFailedPrecondition)
	}
	return d.open(e)
}

// useOrMake makes the task unless somebody else just did; then that one's entry is returned.
func (d *Disk) useOrMake(id p2p.TaskID, g p2p.Geometry) (*entry, *task, error) {
	d.naming.Lock()
	if e := d.use(id); e != nil {
		d.naming.Unlock()
		return e, nil, nil
	}
	evicted, err := d.makeRoom(g.Size)
	var t *task
	if err == nil {
		t, err = d.make(id, g)
	}
	d.naming.Unlock()
	for _, e := range evicted {
		d.closeIdle(e)
	}
	return nil, t, err
}

// use takes a handle of a task that is held, else it returns nil.
func (d *Disk) use(id p2p.TaskID) *entry {
	d.mu.Lock()
	defer d.mu.Unlock()
	e := d.entries[id]
	if e != nil {
		e.refs++
		e.handles++
		e.used = time.Now()
	}
	return e
}

// open returns the opened task of an entry in use, and ends that use on an error.
func (d *Disk) open(e *entry) (*task, error) {
	t, err := d.load(e)
	if errors.Is(err, errBroken) {
		d.log.WithField("task", e.id.String()).WithError(err).Warn("removing a broken task")
		err = errors.Join(errdefs.ErrNotFound, d.removeBroken(e))
	}
	if err != nil {
		d.release(e, true)
		return nil, err
	}
	return t, nil
}

// removeBroken removes a task, unless it is gone: then the files are another's.
func (d *Disk) removeBroken(e *entry) error {
	d.naming.Lock()
	defer d.naming.Unlock()
	if e.gone.Load() {
		return nil
	}
	d.forget(e)
	return d.removeFiles(e.names)
}

// load opens the task's files unless they are open.
func (d *Disk) load(e *entry) (*task, error) {
	e.loading.Lock()
	defer e.loading.Unlock()
	if e.task != nil {
		return e.task, nil
	}
	if err := d.check(); err != nil {
		return nil, err
	}
	t, err := d.recover(e)
	if e.gone.Load() { // what was opened may be another task's of the same name
		if err == nil {
			t.close()
		}
		return nil, errdefs.ErrNotFound
	}
	if err != nil {
		return nil, err
	}
	d.setTask(e, t)
	return t, nil
}

// setTask sets e.task, which is written under both locks and read under either.
func (d *Disk) setTask(e *entry, t *task) {
	d.mu.Lock()
	defer d.mu.Unlock()
	e.task = t
}

// release ends a use of an entry: that of a handle, or that of the store itself.
func (d *Disk) release(e *entry, isHandle bool) {
	d.mu.Lock()
	e.refs--
	if isHandle {
		e.handles--
		e.used = time.Now()
	}
	idle := e.refs == 0
	d.mu.Unlock()
	if idle {
		d.closeIdle(e)
	}
}

// closeIdle closes the files of a task that nobody uses, unless it has something
// to sync: then the next sync does.
func (d *Disk) closeIdle(e *entry) {
	e.loading.Lock()
	defer e.loading.Unlock()
	t := e.task
	if t == nil || !e.gone.Load() && !d.closed.Load() && t.dirty() {
		return
	}
	d.mu.Lock()
	idle := e.refs == 0
	if idle {
		e.task = nil
	}
	d.mu.Unlock()
	if idle {
		t.close()
		d.touch(e, time.Minute)
	}
}

// touch tells the disk when a task was used last, if what it knows is older than
// that by more than slack.
func (d *Disk) touch(e *entry, slack time.Duration) {
	d.mu.Lock()
	used := e.used
	stale := !e.gone.Load() && used.Sub(e.touched) > slack
	if stale {
		e.touched = used
	}
	d.mu.Unlock()
	if stale {
		// It only orders evictions after a restart: nothing is lost without it.
		_ = d.fs.Touch(e.names.journal(), used)
	}
}

// List implements Store.
func (d *Disk) List() []Info {
	now := time.Now()
	d.mu.Lock()
	infos := make([]Info, 0, len(d.entries))
	for _, e := range d.entries {
		infos = append(infos, e.info(now))
	}
	d.mu.Unlock()
	sortInfos(infos)
	return infos
}

// Delete implements Store. When it returns, the removal is durable.
func (d *Disk) Delete(id p2p.TaskID) error {
	if err := d.check(); err != nil {
		return taskError("delete", id, err)
	}
	d.naming.Lock()
	d.mu.Lock()
	e := d.entries[id]
	d.mu.Unlock()
	if e == nil {
		d.naming.Unlock()
		return nil
	}
	d.forget(e)
	err := errors.Join(d.removeFiles(e.names), d.syncNames(e.names.dir))
	d.naming.Unlock()
	d.closeIdle(e)
	return taskError("delete", id, err)
}

// Pin implements Store. When it returns, the pin is durable.
func (d *Disk) Pin(id p2p.TaskID, reason string, until time.Time) error {
	t, err := d.openHeld(id)
	if err != nil {
		return taskError("pin", id, err)
	}
	defer d.release(t.e, true)
	return taskError("pin", id, t.pin(reason, until))
}

// Usage implements Store.
func (d *Disk) Usage() Usage {
	free, err := d.fs.Free(d.cfg.Root)
	if err != nil {
		d.log.WithError(err).Warn("cannot tell the free space")
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return Usage{Reserved: d.reserved, Quota: d.space.Quota, DiskFree: free, Floor: d.space.Floor}
}

func (d *Disk) check() error {
	if d.closed.Load() {
		return fmt.Errorf("store closed: %w", errdefs.ErrUnavailable)
	}
	return nil
}

// taskError adds the operation and the task to an error, and the class to a full
// disk's; nil stays nil.
func taskError(op string, id p2p.TaskID, err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		err = fmt.Errorf("%w: %w", errdefs.ErrResourceExhausted, err)
	}
	return fmt.Errorf("store: %s %s: %w", op, id.Short(), err)
}
