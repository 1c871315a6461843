package store_test

import (
	"errors"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/errdefs"

	"github.com/darter-p2p/darter/p2p/store"
	"github.com/darter-p2p/darter/p2p/store/storetest"
	"github.com/darter-p2p/darter/p2p/store/vfs"
)

// failing is a store whose file operations fail as fail says, once it is set.
func failing(t *testing.T) (d *store.Disk, disk *vfs.Memory, fail *atomic.Pointer[func(vfs.Op) error]) {
	t.Helper()
	disk, fail = vfs.NewMemory(), new(atomic.Pointer[func(vfs.Op) error])
	cfg := config(vfs.WithFaults(disk, func(op vfs.Op) error {
		if f := fail.Load(); f != nil {
			return (*f)(op)
		}
		return nil
	}), "/pieces")
	cfg.SyncInterval = time.Hour // only when the test says so
	d, err := store.Open(quiet(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		fail.Store(nil)
		if err := d.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return d, disk, fail
}

// failOn fails one kind of operation on files with a suffix.
func failOn(kind vfs.Kind, suffix string, err error) *func(vfs.Op) error {
	f := func(op vfs.Op) error {
		if op.Kind == kind && strings.HasSuffix(op.Name, suffix) {
			return err
		}
		return nil
	}
	return &f
}

const size = 1<<20 + 1<<18 + 77 // 6 pieces

func TestDiskFull(t *testing.T) {
	tests := []struct {
		name   string
		kind   vfs.Kind
		suffix string
		do     func(c *storetest.Content, task store.Task) error
	}{
		{"data", vfs.OpWrite, ".part", func(c *storetest.Content, task store.Task) error { return c.Write(task, 1) }},
		{"record of a piece", vfs.OpWrite, ".journal", func(c *storetest.Content, task store.Task) error { return c.Write(task, 1) }},
		{"record of a proof", vfs.OpWrite, ".journal", func(_ *storetest.Content, task store.Task) error { return task.AddProof([]byte("p"), false) }},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			d, disk, fail := failing(t)
			c := storetest.NewContent(1, size)
			task := mustCreate(t, d, c)
			defer task.Release()
			must(t, c.Write(task, 0))
			fail.Store(failOn(test.kind, test.suffix, syscall.ENOSPC))
			for range 3 {
				if err := test.do(c, task); !errdefs.IsResourceExhausted(err) || !errors.Is(err, syscall.ENOSPC) {
					t.Fatalf("on a full disk: %v", err)
				}
			}
			if task.Has(1) || !task.Has(0) {
				t.Error("the task is damaged")
			}
			must(t, c.Check(task))
			fail.Store(nil)
			must(t, c.Fill(task))
			must(t, c.Check(task))
			checkAfter(t, disk.Cut(rand.New(rand.NewPCG(1, 1))), c, int(c.Pieces()))
		})
	}
}

// checkAfter opens a store on a disk and checks that the task has so many pieces.
func checkAfter(t *testing.T, disk vfs.FS, c *storetest.Content, pieces int) {
	t.Helper()
	d := open(t, config(disk, "/pieces"))
	defer d.Close() //nolint:errcheck // nothing was written
	task, err := d.Open(c.ID)
	must(t, err)
	defer task.Release()
	must(t, c.Check(task))
	if got := task.Have().Count(); got != pieces {
		t.Errorf("%d pieces, want %d", got, pieces)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func mustCreate(t *testing.T, s store.Store, c *storetest.Content) store.Task {
	t.Helper()
	task, err := s.Create(c.ID, c.Geometry)
	must(t, err)
	return task
}

// A disk that is full when a task is made leaves nothing behind.
func TestCreateOnFullDisk(t *testing.T) {
	d, disk, fail := failing(t)
	c := storetest.NewContent(1, size)
	for _, kind := range []vfs.Kind{vfs.OpMkdir, vfs.OpCreate, vfs.OpWrite, vfs.OpAllocate} {
		fail.Store(failOn(kind, "", syscall.ENOSPC))
		if _, err := d.Create(c.ID, c.Geometry); !errdefs.IsResourceExhausted(err) {
			t.Errorf("%s: %v", kind, err)
		}
		fail.Store(nil)
		if u := d.Usage(); u.Reserved != 0 || len(d.List()) != 0 {
			t.Errorf("%s: %+v", kind, u)
		}
	}
	disk.SetCapacity(size / 2)
	if _, err := d.Create(c.ID, c.Geometry); !errdefs.IsResourceExhausted(err) {
		t.Errorf("half the space: %v", err)
	}
	disk.SetCapacity(2 * size)
	task := mustCreate(t, d, c)
	defer task.Release()
	must(t, c.Fill(task))
}

// Where space cannot be reserved it runs out in the middle.
func TestSparseDiskFillsUp(t *testing.T) {
	d, disk, _ := failing(t)
	disk.SetSparse(true)
	disk.SetCapacity(size / 2)
	c := storetest.NewContent(1, size)
	if _, err := d.Create(c.ID, c.Geometry); !errdefs.IsResourceExhausted(err) {
		t.Fatalf("create of more than the disk has: %v", err)
	}
	disk.SetCapacity(2 * size)
	task := mustCreate(t, d, c)
	defer task.Release()
	must(t, c.Write(task, 0))
	disk.SetCapacity(size / 2) // somebody else fills the disk
	var err error
	written := 1
	for p := range c.Pieces() {
		if err = c.Write(task, p); err != nil {
			break
		}
		written++
	}
	if !errdefs.IsResourceExhausted(err) || written < 2 {
		t.Fatalf("after %d pieces: %v", written, err)
	}
	must(t, c.Check(task))
	disk.SetCapacity(0)
	must(t, c.Fill(task))
	must(t, c.Check(task))
}

// What a failed sync of the data should have made durable is given up: a later
// sync that succeeds must not vouch for it.
func TestFailedDataSyncForgets(t *testing.T) {
	d, disk, fail := failing(t)
	c := storetest.NewContent(1, size)
	task := mustCreate(t, d, c)
	defer task.Release()
	must(t, c.Write(task, 0))
	must(t, d.Sync())
	must(t, c.Write(task, 1))
	half, err := task.Write(2)
	must(t, err)
	_, err = half.Write(c.Piece(2))
	must(t, err)
	fail.Store(failOn(vfs.OpDatasync, ".part", syscall.EIO))
	if err := d.Sync(); !errors.Is(err, syscall.EIO) {
		t.Fatalf("sync: %v", err)
	}
	fail.Store(nil)
	if !task.Has(0) || task.Has(1) || d.List()[0].Pieces != 1 {
		t.Error("piece 0 was durable, piece 1 was not")
	}
	if _, err := half.Commit(nil); !errdefs.IsAborted(err) {
		t.Errorf("commit of what was written before the failure: %v", err)
	}
	must(t, c.Write(task, 3))
	must(t, d.Sync())
	checkAfter(t, disk.Cut(rand.New(rand.NewPCG(1, 1))), c, 2)
	must(t, c.Fill(task))
}

func TestFailedJournalSync(t *testing.T) {
	d, disk, fail := failing(t)
	c := storetest.NewContent(1, size)
	task := mustCreate(t, d, c)
	defer task.Release()
	must(t, c.Write(task, 0))
	must(t, task.AddProof([]byte("p"), false))
	fail.Store(failOn(vfs.OpDatasync, ".journal", syscall.EIO))
	must(t, d.Sync()) // the journal was rewritten
	checkAfter(t, disk.Cut(rand.New(rand.NewPCG(1, 1))), c, 1)
	f := func(op vfs.Op) error {
		if strings.Contains(op.Name, ".journal") && op.Kind == vfs.OpDatasync {
			return syscall.EIO
		}
		return nil
	}
	fail.Store(&f)
	must(t, c.Write(task, 1))
	if err := d.Sync(); !errors.Is(err, syscall.EIO) {
		t.Fatalf("sync: %v", err)
	}
	if !task.Has(1) {
		t.Error("a piece is lost, but only the journal failed")
	}
	fail.Store(nil)
	must(t, d.Sync())
	checkAfter(t, disk.Cut(rand.New(rand.NewPCG(1, 1))), c, 2)
}

// A piece that is committed while the data is being synced is not covered by the
// marker that follows.
func TestPieceCommittedDuringSync(t *testing.T) {
	for seed := range uint64(200) {
		disk := vfs.NewMemory()
		fs := &afterSync{FS: disk}
		cfg := config(fs, "/pieces")
		cfg.SyncInterval = time.Hour
		d := open(t, cfg)
		c := storetest.NewContent(1, size)
		task := mustCreate(t, d, c)
		must(t, c.Write(task, 0))
		fs.then = func() { must(t, c.Write(task, 1)) }
		must(t, d.Sync())
		cut := disk.Cut(rand.New(rand.NewPCG(seed, 0)))
		after := open(t, config(cut, "/pieces"))
		held, err := after.Open(c.ID)
		must(t, err)
		must(t, c.Check(held))
		if !held.Has(0) {
			t.Error("piece 0 was synced and is lost")
		}
		held.Release()
		must(t, after.Close())
		task.Release()
		must(t, d.Close())
	}
}

// afterSync calls then once, when the data of a task has been synced.
type afterSync struct {
	vfs.FS
	then func()
}

func (a *afterSync) Create(name string) (vfs.File, error) {
	f, err := a.FS.Create(name)
	if err != nil || !strings.HasSuffix(name, ".part") {
		return f, err
	}
	return afterSyncFile{f, a}, nil
}

type afterSyncFile struct {
	vfs.File
	a *afterSync
}

func (f afterSyncFile) Datasync() error {
	err := f.File.Datasync()
	if then := f.a.then; then != nil {
		f.a.then = nil
		then()
	}
	return err
}
