package vfs_test

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/darter-p2p/darter/p2p/store/vfs"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestFS is the suite of both file systems.
func TestFS(t *testing.T) {
	t.Run("OS", func(t *testing.T) { testFS(t, vfs.OS{}, t.TempDir()) })
	t.Run("Memory", func(t *testing.T) { testFS(t, vfs.NewMemory(), "") })
	t.Run("WithFaults", func(t *testing.T) {
		testFS(t, vfs.WithFaults(vfs.NewMemory(), func(vfs.Op) error { return nil }), "")
	})
}

func testFS(t *testing.T, fsys vfs.FS, root string) {
	dir := root + "/d"
	must(t, fsys.Mkdir(dir))
	want(t, fsys.Mkdir(dir), fs.ErrExist)
	want(t, fsys.Mkdir(root+"/x/y"), fs.ErrNotExist)
	_, err := fsys.Open(dir+"/a", false)
	want(t, err, fs.ErrNotExist)
	f, err := fsys.Create(dir + "/a")
	must(t, err)
	_, err = fsys.Create(dir + "/a")
	want(t, err, fs.ErrExist)

	_, err = f.Allocate(10_000)
	must(t, err)
	_, err = f.WriteAt([]byte("hello"), 5000)
	must(t, err)
	_, err = f.WriteAt(bytes.Repeat([]byte{7}, 9000), 6000)
	must(t, err)
	expected := make([]byte, 15_000)
	copy(expected[5000:], "hello")
	copy(expected[6000:], bytes.Repeat([]byte{7}, 9000))
	got := make([]byte, 20_000)
	n, err := f.ReadAt(got, 0)
	want(t, err, io.EOF)
	if !bytes.Equal(got[:n], expected) {
		t.Errorf("read %d bytes that differ", n)
	}
	size, err := f.Size()
	must(t, err)
	if size != 15_000 {
		t.Errorf("size %d", size)
	}
	must(t, f.Datasync())
	must(t, fsys.SyncDir(dir))

	must(t, fsys.Link(dir+"/a", dir+"/b"))
	want(t, fsys.Link(dir+"/a", dir+"/b"), fs.ErrExist)
	now := time.Now().Add(-time.Hour)
	must(t, fsys.Touch(dir+"/b", now))
	info, err := fsys.Stat(dir + "/a")
	must(t, err)
	if info.Links != 2 || info.Size != 15_000 || !info.ModTime.Equal(now) {
		t.Errorf("%+v", info)
	}
	must(t, fsys.Rename(dir+"/b", dir+"/c"))
	must(t, fsys.Remove(dir+"/a"))
	want(t, fsys.Remove(dir+"/a"), fs.ErrNotExist)
	if _, err := f.ReadAt(got[:10], 0); err != nil {
		t.Errorf("read of a removed file: %v", err)
	}
	must(t, f.Close())
	want(t, f.Close(), fs.ErrClosed)
	must(t, fsys.ReadOnly(dir+"/c"))
	entries, err := fsys.List(dir)
	must(t, err)
	if !slices.Equal(entries, []vfs.Entry{{Name: "c"}}) {
		t.Errorf("%+v", entries)
	}
	if free, err := fsys.Free(dir); err != nil || free <= 0 {
		t.Errorf("free %d, %v", free, err)
	}
	lock, err := fsys.Lock(dir + "/lock")
	must(t, err)
	_, err = fsys.Lock(dir + "/lock")
	want(t, err, syscall.EWOULDBLOCK)
	must(t, lock.Close())
	lock, err = fsys.Lock(dir + "/lock")
	must(t, err)
	must(t, lock.Close())
}

func want(t *testing.T, err, target error) {
	t.Helper()
	if !errors.Is(err, target) {
		t.Errorf("error %v, want %v", err, target)
	}
}

// After a cut, synced bytes are there, and every sector of the others is one that
// was written, whole.
func TestCutKeepsWhatWasSynced(t *testing.T) {
	seen := map[string]bool{}
	for seed := range uint64(300) {
		m := vfs.NewMemory()
		f, err := m.Create("/a")
		must(t, err)
		write := func(b byte, off, n int) {
			_, err := f.WriteAt(bytes.Repeat([]byte{b}, n), int64(off))
			must(t, err)
		}
		write(1, 0, 8192)
		must(t, f.Datasync())
		must(t, m.SyncDir("/"))
		write(2, 0, 4096)
		write(3, 512, 1024)
		write(4, 8192, 512)
		must(t, m.Rename("/a", "/b"))
		c, err := m.Create("/c")
		must(t, err)
		must(t, c.Close())

		after := m.Cut(rand.New(rand.NewPCG(seed, 0)))
		entries, err := after.List("/")
		must(t, err)
		name := entries[0].Name
		if name != "a" && name != "b" || len(entries) == 2 && entries[1].Name != "c" || len(entries) > 2 {
			t.Fatalf("seed %d: %+v", seed, entries)
		}
		g, err := after.Open("/"+name, false)
		must(t, err)
		got := make([]byte, 10_000)
		n, _ := g.ReadAt(got, 0)
		if n != 8192 && n != 8704 {
			t.Fatalf("seed %d: %d bytes", seed, n)
		}
		state := name
		for at := 0; at < n; at += 512 {
			sector := got[at]
			allowed := []byte{1}
			switch {
			case at == 512 || at == 1024:
				allowed = []byte{1, 2, 3}
			case at < 4096:
				allowed = []byte{1, 2}
			case at == 8192:
				allowed = []byte{0, 4}
			}
			if !slices.Contains(allowed, sector) || !bytes.Equal(got[at:at+512], bytes.Repeat([]byte{sector}, 512)) {
				t.Fatalf("seed %d: sector at %d is of %d", seed, at, sector)
			}
			state += string('0' + sector)
		}
		seen[state] = true
		again, err := m.Cut(rand.New(rand.NewPCG(seed, 0))).List("/")
		must(t, err)
		if !slices.Equal(again, entries) {
			t.Fatalf("seed %d: another disk by the same seed", seed)
		}
	}
	if len(seen) < 50 {
		t.Errorf("only %d different disks", len(seen))
	}
}

func TestFaults(t *testing.T) {
	fail := vfs.Kind("")
	fsys := vfs.WithFaults(vfs.NewMemory(), func(op vfs.Op) error {
		if op.Kind == fail {
			return syscall.EIO
		}
		return nil
	})
	f, err := fsys.Create("/a")
	must(t, err)
	fail = vfs.OpWrite
	n, err := f.WriteAt([]byte("abcd"), 0)
	want(t, err, syscall.EIO)
	if n != 2 {
		t.Errorf("%d bytes written, want half", n)
	}
	fail = vfs.OpDatasync
	want(t, f.Datasync(), syscall.EIO)
	fail = vfs.OpRename
	want(t, fsys.Rename("/a", "/b"), syscall.EIO)
}

func TestCapacity(t *testing.T) {
	m := vfs.NewMemory()
	m.SetCapacity(16 << 10)
	f, err := m.Create("/a")
	must(t, err)
	_, err = f.Allocate(20 << 10)
	want(t, err, syscall.ENOSPC)
	_, err = f.Allocate(12 << 10)
	must(t, err)
	n, err := f.WriteAt(make([]byte, 20<<10), 0)
	want(t, err, syscall.ENOSPC)
	if n != 16<<10 {
		t.Errorf("%d bytes fit", n)
	}
	must(t, m.Remove("/a"))
	if free, _ := m.Free("/"); free != 16<<10 {
		t.Errorf("%d bytes free after all is removed", free)
	}
}
