package store_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/containerd/errdefs"

	"github.com/darter-p2p/darter/p2p"
	"github.com/darter-p2p/darter/p2p/store"
	"github.com/darter-p2p/darter/p2p/store/storetest"
	"github.com/darter-p2p/darter/p2p/store/vfs"
)

func TestConfig(t *testing.T) {
	must(t, store.Default().Validate())
	for name, spoil := range map[string]func(*store.Config){
		"root":          func(c *store.Config) { c.Root = "pieces" },
		"quota":         func(c *store.Config) { c.Quota = -1 },
		"floor":         func(c *store.Config) { c.Floor = -1 },
		"ttl":           func(c *store.Config) { c.TTL = -1 },
		"sync_bytes":    func(c *store.Config) { c.SyncBytes = 0 },
		"sync_interval": func(c *store.Config) { c.SyncInterval = 0 },
	} {
		c := store.Default()
		spoil(&c)
		if err := c.Validate(); !errdefs.IsInvalidArgument(err) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The floor is kept at Create, and looked after when others fill the disk.
func TestFloor(t *testing.T) {
	const journals = 64 << 10 // room for them
	synctest.Test(t, func(t *testing.T) {
		disk := vfs.NewMemory()
		disk.SetCapacity(10<<20 + journals)
		cfg := config(disk, "/pieces")
		cfg.Floor = 4 << 20
		d, err := store.Open(quiet(), cfg)
		must(t, err)
		defer d.Close() //nolint:errcheck // checked elsewhere
		cs := make([]*storetest.Content, 6)
		for i := range cs {
			cs[i] = storetest.NewContent(uint64(i), 2<<20)
		}
		inUse := mustCreate(t, d, cs[0])
		defer inUse.Release()
		for _, c := range cs[1:4] {
			mustCreate(t, d, c).Release()
			time.Sleep(time.Millisecond)
		}
		wantTasks(t, d, cs[0], cs[2], cs[3])
		huge := storetest.NewContent(9, 7<<20)
		if _, err := d.Create(huge.ID, huge.Geometry); !errdefs.IsResourceExhausted(err) {
			t.Errorf("a task that cannot fit: %v", err)
		}
		wantTasks(t, d, cs[0], cs[2], cs[3])
		disk.SetCapacity(9<<20 + journals) // others take 1 MiB
		time.Sleep(cfg.SyncInterval + time.Millisecond)
		synctest.Wait()
		wantTasks(t, d, cs[0], cs[3])
		disk.SetCapacity(2 << 20) // they take it all: what is unused is given back
		time.Sleep(cfg.SyncInterval + time.Millisecond)
		synctest.Wait()
		wantTasks(t, d, cs[0])
	})
}

// What is set while the store runs is in force at once, in both directions.
func TestSetSpace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := config(vfs.NewMemory(), "/pieces")
		cfg.SyncInterval = time.Hour // it does not wait for that
		d, err := store.Open(quiet(), cfg)
		must(t, err)
		defer d.Close() //nolint:errcheck // checked elsewhere
		cs := make([]*storetest.Content, 4)
		for i := range cs {
			cs[i] = storetest.NewContent(uint64(i), 2<<20)
			h := mustCreate(t, d, cs[i])
			if i == 0 {
				defer h.Release()
			} else {
				h.Release()
			}
			time.Sleep(time.Second)
		}
		set := func(s store.Space) {
			t.Helper()
			must(t, d.SetSpace(s))
			synctest.Wait()
			if d.Space() != s || d.Usage().Quota != s.Quota || d.Usage().Floor != s.Floor {
				t.Errorf("space %+v, usage %+v, want %+v", d.Space(), d.Usage(), s)
			}
		}
		if err := d.SetSpace(store.Space{Quota: -1}); !errdefs.IsInvalidArgument(err) {
			t.Errorf("a negative quota: %v", err)
		}
		wantTasks(t, d, cs...)
		set(store.Space{Quota: 6 << 20})
		wantTasks(t, d, cs[0], cs[2], cs[3])
		set(store.Space{TTL: 1500 * time.Millisecond})
		wantTasks(t, d, cs[0], cs[3])
		set(store.Space{Quota: 1 << 20}) // what is open stays
		wantTasks(t, d, cs[0])
		if _, err := d.Create(cs[1].ID, cs[1].Geometry); !errdefs.IsResourceExhausted(err) {
			t.Errorf("more than the quota: %v", err)
		}
		set(store.Space{})
		mustCreate(t, d, cs[1]).Release()
		wantTasks(t, d, cs[0], cs[1])
	})
}

func wantTasks(t *testing.T, s store.Store, want ...*storetest.Content) {
	t.Helper()
	held := map[p2p.TaskID]bool{}
	for _, info := range s.List() {
		held[info.ID] = true
	}
	for i, c := range want {
		if !held[c.ID] {
			t.Errorf("task %d of those wanted is not held", i)
		}
	}
	if len(held) != len(want) {
		t.Errorf("%d tasks held, want %d", len(held), len(want))
	}
}

func TestTTL(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := config(vfs.NewMemory(), "/pieces")
		cfg.TTL = time.Hour
		d, err := store.Open(quiet(), cfg)
		must(t, err)
		defer d.Close() //nolint:errcheck // checked elsewhere
		open, pinned, unused := storetest.NewContent(1, 100), storetest.NewContent(2, 100), storetest.NewContent(3, 100)
		task := mustCreate(t, d, open)
		mustCreate(t, d, pinned).Release()
		must(t, d.Pin(pinned.ID, "mount", time.Now().Add(3*time.Hour)))
		mustCreate(t, d, unused).Release()
		time.Sleep(59 * time.Minute)
		wantTasks(t, d, open, pinned, unused)
		time.Sleep(2 * time.Minute)
		wantTasks(t, d, open, pinned)
		task.Release()
		time.Sleep(110 * time.Minute)
		wantTasks(t, d, pinned)
		time.Sleep(10 * time.Minute)
		wantTasks(t, d)
	})
}

// Written bytes become durable by themselves after SyncInterval, or when SyncBytes are written.
func TestBackgroundSync(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := vfs.NewMemory()
		synced := 0
		cfg := config(vfs.WithFaults(disk, func(op vfs.Op) error {
			if op.Kind == vfs.OpDatasync && strings.HasSuffix(op.Name, ".part") {
				synced++
			}
			return nil
		}), "/pieces")
		cfg.SyncBytes = 3 << 18
		d, err := store.Open(quiet(), cfg)
		must(t, err)
		c := storetest.NewContent(1, size)
		task := mustCreate(t, d, c)
		must(t, c.Write(task, 0))
		must(t, c.Write(task, 1))
		synctest.Wait()
		if synced != 0 {
			t.Error("synced too early")
		}
		must(t, c.Write(task, 2))
		synctest.Wait()
		if synced != 1 {
			t.Errorf("%d syncs after SyncBytes, want 1", synced)
		}
		must(t, c.Write(task, 3))
		task.Release() // what is not synced keeps the files open
		time.Sleep(cfg.SyncInterval + time.Millisecond)
		synctest.Wait()
		if synced != 2 {
			t.Errorf("%d syncs after SyncInterval, want 2", synced)
		}
		time.Sleep(10 * cfg.SyncInterval)
		if synced != 2 {
			t.Errorf("%d syncs of nothing", synced-2)
		}
		must(t, d.Close())
	})
}

// Only one process uses a root.
func TestLock(t *testing.T) {
	cfg := onDisk(t)
	d := open(t, cfg)
	if _, err := store.Open(quiet(), cfg); !errdefs.IsUnavailable(err) {
		t.Errorf("second open: %v", err)
	}
	must(t, d.Close())
	must(t, open(t, cfg).Close())
}

// What the store did not write stays; what is left of tasks goes.
func TestForeignFilesAndLeftovers(t *testing.T) {
	cfg := onDisk(t)
	d := open(t, cfg)
	good, broken := storetest.NewContent(1, size), storetest.NewContent(2, size)
	for _, c := range []*storetest.Content{good, broken} {
		task := mustCreate(t, d, c)
		must(t, c.Fill(task))
		task.Release()
	}
	must(t, d.Close())
	file := func(kind string, name ...string) string {
		path := filepath.Join(append([]string{cfg.Root, kind}, name...)...)
		must(t, os.MkdirAll(filepath.Dir(path), 0o755))
		must(t, os.WriteFile(path, []byte("x"), 0o600))
		return path
	}
	sum := strings.Repeat("ab", 32)
	keep := []string{
		file("notes.txt"), file("sha256", "README"), file("sha256", "ab", "README"),
		file("sha256", "cd", sum), file("sha256", "ab", sum+".journal.old"), file("sha256", "AB", sum),
	}
	remove := []string{
		file("sha256", "ab", sum), file("url", "ab", sum+".part"), file("url", "ab", sum+".journal.tmp"),
	}
	brokenSum := strings.TrimPrefix(broken.ID.String(), "url:")
	brokenFile := filepath.Join(cfg.Root, "url", brokenSum[:2], brokenSum)
	must(t, os.WriteFile(brokenFile+".journal", []byte("not a journal"), 0o600))
	remove = append(remove, brokenFile, brokenFile+".journal")

	d, err := store.Open(quiet(), cfg)
	must(t, err)
	defer d.Close() //nolint:errcheck // checked elsewhere
	wantTasks(t, d, good)
	for _, path := range keep {
		if _, err := os.Stat(path); err != nil {
			t.Errorf("a foreign file is gone: %v", err)
		}
	}
	for _, path := range remove {
		if _, err := os.Stat(path); err == nil {
			t.Errorf("%s is still there", path)
		}
	}
}

func TestLinkTo(t *testing.T) {
	cfg := onDisk(t)
	cfg.Quota = 2 * size
	d := open(t, cfg)
	defer d.Close() //nolint:errcheck // checked elsewhere
	c := storetest.NewContent(1, size)
	task := mustCreate(t, d, c)
	path := filepath.Join(t.TempDir(), "link")
	if err := task.LinkTo(path); !errdefs.IsFailedPrecondition(err) {
		t.Errorf("link of an incomplete task: %v", err)
	}
	must(t, c.Fill(task))
	must(t, task.LinkTo(path))
	if err := task.LinkTo(path); !errdefs.IsAlreadyExists(err) {
		t.Errorf("second link: %v", err)
	}
	if err := task.LinkTo("/dev/shm/darter-store-test"); err == nil {
		_ = os.Remove("/dev/shm/darter-store-test") // one file system for both
	} else if !errdefs.IsFailedPrecondition(err) {
		t.Errorf("link to another file system: %v", err)
	}
	task.Release()
	must(t, d.Delete(c.ID))
	got, err := os.ReadFile(path)
	must(t, err)
	if string(got) != string(c.Data) {
		t.Error("the link differs")
	}
	info, err := os.Stat(path)
	must(t, err)
	if info.Mode().Perm() != 0o444 {
		t.Errorf("mode %v, want 0444", info.Mode())
	}
}

// A store of many tasks starts at once and opens any of them.
func TestManyTasks(t *testing.T) {
	const n = 10_000
	disk := vfs.NewMemory()
	d := open(t, config(disk, "/pieces"))
	contents := make([]*storetest.Content, n)
	for i := range contents {
		contents[i] = storetest.NewContent(uint64(i), int64(100+i%50))
		task := mustCreate(t, d, contents[i])
		must(t, contents[i].Fill(task))
		task.Release()
	}
	must(t, d.Close())
	began := time.Now()
	d = open(t, config(disk, "/pieces"))
	opened := time.Since(began)
	began = time.Now()
	if got := len(d.List()); got != n {
		t.Errorf("%d tasks, want %d", got, n)
	}
	listed := time.Since(began)
	began = time.Now()
	for _, c := range contents {
		task, err := d.Open(c.ID)
		must(t, err)
		must(t, c.Check(task))
		task.Release()
	}
	t.Logf("opened in %s, listed in %s, every task read in %s", opened, listed, time.Since(began))
	if limit := 10 * time.Second; opened > limit { // about 0.1 s; the limit is for a busy machine
		t.Errorf("opened in %s, want less than %s", opened, limit)
	}
	must(t, d.Close())
}

func BenchmarkWritePiece(b *testing.B) {
	for _, total := range []int64{512 << 20, 64 << 20} {
		g := p2p.GeometryFor(total)
		b.Run(fmt.Sprintf("%dKiB", g.PieceLength>>10), func(b *testing.B) { benchmarkWrite(b, g) })
	}
}

func benchmarkWrite(b *testing.B, g p2p.Geometry) {
	cfg := config(nil, filepath.Join(b.TempDir(), "pieces"))
	d := open(b, cfg)
	defer d.Close() //nolint:errcheck // checked elsewhere
	c := storetest.NewContent(1, g.PieceLength)
	data := c.Data
	b.SetBytes(g.PieceLength)
	b.ReportAllocs()
	var task store.Task
	var err error
	p, made := p2p.Piece(g.Pieces()), 0
	for b.Loop() {
		if int(p) == g.Pieces() { // a new task, and away with the old one
			b.StopTimer()
			if task != nil {
				task.Release()
				if err := d.Delete(task.ID()); err != nil {
					b.Fatal(err)
				}
			}
			made++
			if task, err = d.Create(p2p.TaskOfURL(fmt.Sprint(made), "", ""), g); err != nil {
				b.Fatal(err)
			}
			p = 0
			b.StartTimer()
		}
		w, err := task.Write(p)
		if err != nil {
			b.Fatal(err)
		}
		for off := 0; off < len(data); off += 128 << 10 { // as a connection brings it
			if _, err := w.Write(data[off : off+128<<10]); err != nil {
				b.Fatal(err)
			}
		}
		if _, err := w.Commit(nil); err != nil {
			b.Fatal(err)
		}
		p++
	}
	task.Release()
}
