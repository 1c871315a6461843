package device

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/darter-p2p/darter/internal/config"
)

// smallDisk mounts a file system of some bytes, and returns its directory and what
// changes its size.
func smallDisk(t *testing.T, size string) (dir string, resize func(string)) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("mounting needs root")
	}
	dir = t.TempDir()
	set := func(size string, flags uintptr) {
		t.Helper()
		if err := unix.Mount("tmpfs", dir, "tmpfs", flags, "size="+size); err != nil {
			t.Fatal(err)
		}
	}
	set(size, 0)
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir, func(size string) { set(size, unix.MS_REMOUNT) }
}

// get reads a range as the FUSE file system does.
func get(t *testing.T, d *Device, b *blob, off, n int64) {
	t.Helper()
	n = min(n, b.Size()-off)
	err := d.Ensure(t.Context(), off, n)
	if err == nil {
		read(t, d, b, off, n)
		return
	}
	got := make([]byte, n)
	if !errors.Is(err, ErrNotKept) {
		t.Errorf("read %d at %d: %v", n, off, err)
	} else if err := d.ReadAt(t.Context(), got, off); err != nil || !bytes.Equal(got, b.plain[off:off+n]) {
		t.Errorf("read %d at %d past the disk: %v", n, off, err)
	}
}

// On a disk that is full readers get their bytes all the same; when there is room again,
// chunks are kept, and the journal is whole.
func TestDiskFull(t *testing.T) {
	b := newBlob(8, 200, 16<<10) // 2.5 MB
	dir, resize := smallDisk(t, "512k")
	var told, failed atomic.Int32
	completed := make(chan struct{})
	var once sync.Once
	opts := Options{Boot: Boot{1}, Events: Events{
		Full:      func(error) { told.Add(1) },
		Failed:    func(int, Chunk, error) { failed.Add(1) },
		Completed: func() { once.Do(func() { close(completed) }) },
	}}
	o := &origin{b: b}
	cfg := Default()
	cfg.SyncEvery = config.Duration(20 * time.Millisecond)
	d, err := Open(dir, b, o, cfg, opts)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for seed := range uint64(4) {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(seed, 2))
			for range 50 {
				get(t, d, b, r.Int64N(b.Size()), 1+r.Int64N(128<<10))
			}
		})
	}
	wg.Wait()
	for off := int64(0); off < b.Size(); off += 128 << 10 {
		get(t, d, b, off, 128<<10)
	}
	held, all := d.Held()
	if told.Load() == 0 || failed.Load() != 0 || held == 0 || held == all {
		t.Errorf("told %d times that the disk is full, %d chunks failed, %d of %d are kept", told.Load(), failed.Load(), held, all)
	}
	if _, err := d.Fill(t.Context()); !errors.Is(err, ErrNotKept) {
		t.Errorf("fill: %v", err)
	}

	resize("16m")
	for deadline, done := time.Now().Add(time.Minute), false; !done; {
		get(t, d, b, 0, b.Size())
		select {
		case <-completed:
			done = true
		case <-time.After(50 * time.Millisecond):
			if time.Now().After(deadline) {
				t.Fatal("the device is not complete")
			}
		}
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	asked := len(o.asked())
	again, err := Open(dir, b, o, Default(), opts)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := again.Close(); err != nil {
			t.Error(err)
		}
	}()
	get(t, again, b, 0, b.Size())
	if !again.Complete() || len(o.asked()) != asked {
		t.Errorf("after a restart: complete %v, %d chunks asked for again", again.Complete(), len(o.asked())-asked)
	}
}

// A reader finds a chunk afloat that another read brought: the kernel takes it in parts.
func TestAfloatIsShared(t *testing.T) {
	b := newBlob(9, 1, 64<<10)
	dir, _ := smallDisk(t, "16k")
	o := &origin{b: b}
	d := open(t, dir, o, Options{}, noReadAhead)
	for off := int64(0); off < b.Size(); off += page {
		get(t, d, b, off, page)
	}
	if asked := len(o.asked()); asked > 1 {
		t.Errorf("one chunk was asked for %d times", asked)
	}
}
