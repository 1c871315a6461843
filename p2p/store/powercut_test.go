package store_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/log"
	"github.com/sirupsen/logrus"

	"github.com/darter-p2p/darter/p2p"
	"github.com/darter-p2p/darter/p2p/store"
	"github.com/darter-p2p/darter/p2p/store/storetest"
	"github.com/darter-p2p/darter/p2p/store/vfs"
)

const seedVariable = "DARTER_POWERCUT_SEED"

// TestPowerCut cuts the power of a store on a file system in memory 10,000 times,
// each in the middle of some file operation, and looks at what comes back:
// nothing that was synced is lost, what was deleted stays away, no wrong byte is
// served, the books are right, and the store goes on from there, to the next cut.
func TestPowerCut(t *testing.T) {
	if raceDetector {
		t.Skip("one goroutine at a time: the race detector would only make it slow")
	}
	cuts := 10_000
	if testing.Short() {
		cuts = 2_000
	}
	var contents []*storetest.Content
	for i, size := range []int64{0, 300, 5000, 70_000, 1 << 20, 1<<20 + 70_000} {
		contents = append(contents, storetest.NewContent(uint64(i), size))
	}
	if s := os.Getenv(seedVariable); s != "" {
		seed, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		runLives(t, seed, contents)
		return
	}
	seed := uint64(1)
	for done := 0; done < cuts && !t.Failed(); seed++ {
		done += runLives(t, seed, contents)
	}
	t.Logf("%d seeds", seed-1)
}

// quiet is a context whose logger says nothing.
func quiet() context.Context {
	logger := logrus.New()
	logger.SetOutput(io.Discard)
	return log.WithLogger(context.Background(), logrus.NewEntry(logger))
}

// runLives runs one seed: a store that lives until the power is cut, up to three
// times, and a last time to the end. It returns the number of cuts.
func runLives(t *testing.T, seed uint64, contents []*storetest.Content) (cuts int) {
	defer func() {
		if p := recover(); p != nil {
			t.Logf("repeat: %s=%d go test -run TestPowerCut ./p2p/store", seedVariable, seed)
			panic(p)
		}
		if t.Failed() {
			t.Logf("repeat: %s=%d go test -run TestPowerCut ./p2p/store", seedVariable, seed)
		}
	}()
	r := rand.New(rand.NewPCG(seed, 0))
	l := &life{t: t, rand: r, contents: contents, fs: vfs.NewMemory(), known: make([]known, len(contents))}
	l.cfg = config(nil, "/pieces")
	l.cfg.SyncBytes, l.cfg.SyncInterval = 1<<40, time.Hour // only when the test says so
	if r.IntN(3) == 0 {
		l.cfg.Quota = 1_200_000
	}
	for range 1 + r.IntN(3) {
		l.run()
		cuts++
	}
	l.finish()
	return cuts
}

// life is a store on its way to a power cut.
type life struct {
	t        *testing.T
	rand     *rand.Rand
	contents []*storetest.Content
	cfg      store.Config
	fs       *vfs.Memory
	known    []known // what a store must know after a cut at this moment, by content

	d     *store.Disk
	tasks []store.Task // open, by content
	proof int          // number of the last proof

	// The cut.
	left   int // operations until then
	faulty bool
	after  *vfs.Memory // the disk after it; nil before
	then   []known     // known at that moment
}

// known is what is known of one task for sure.
type known struct {
	pieces    []p2p.Piece // durable
	completed bool
	pinned    bool
	proof     int  // at least this one, or a later one
	absent    bool // not there
}

var errPowerOff = errors.New("the power is off")

// operate is called before each operation of the file system.
func (l *life) operate(op vfs.Op) error {
	if l.after != nil {
		return errPowerOff
	}
	if l.left--; l.left < 0 {
		l.after = l.fs.Cut(l.rand)
		l.then = append([]known(nil), l.known...)
		return errPowerOff
	}
	if l.faulty && l.d != nil && l.rand.IntN(40) == 0 {
		return []error{syscall.EIO, syscall.ENOSPC}[l.rand.IntN(2)]
	}
	return nil
}

// run lives until the power is cut, and goes over to the disk that is left.
func (l *life) run() {
	l.after, l.left = nil, l.rand.IntN(160)
	l.tasks = make([]store.Task, len(l.contents))
	l.faulty = l.rand.IntN(4) == 0
	cfg := l.cfg
	cfg.FS = vfs.WithFaults(l.fs, l.operate)
	for l.after == nil {
		l.d = nil // opening sees the power fail, but no faults: they cost tasks
		d, err := store.Open(quiet(), cfg)
		if l.after != nil {
			if err == nil {
				_ = d.Close()
			}
			break
		}
		if err != nil {
			l.t.Fatalf("open: %v", err)
		}
		l.d = d
		if !l.faulty {
			l.check()
		}
		for l.after == nil && l.rand.IntN(60) != 0 {
			l.step()
		}
		l.releaseAll()
		err = d.Close() // a clean stop, unless the power is off
		if l.after == nil && err == nil {
			l.noteSync()
		}
	}
	l.fs, l.known = l.after, l.then
}

func (l *life) releaseAll() {
	for i, task := range l.tasks {
		if task != nil {
			task.Release()
			l.tasks[i] = nil
		}
	}
}

func (l *life) step() {
	i := l.rand.IntN(len(l.contents))
	c, k := l.contents[i], &l.known[i]
	if l.tasks[i] == nil {
		l.create(i)
		return
	}
	task := l.tasks[i]
	switch n := l.rand.IntN(20); {
	case n < 9:
		l.write(c, task)
	case n < 11:
		if l.d.Sync() == nil {
			l.noteSync()
		}
	case n < 14:
		if task.Complete() == nil {
			l.noteSyncOf(i)
			k.completed = true
		}
	case n < 15:
		l.proof++
		_ = task.AddProof(fmt.Appendf(nil, "%d", l.proof), l.rand.IntN(2) == 0)
	case n < 16:
		k.pinned = false
		until := time.Now().Add(time.Hour)
		if l.rand.IntN(2) == 0 {
			until = time.Time{}
		}
		if l.d.Pin(c.ID, "mount", until) == nil {
			k.pinned = !until.IsZero()
		}
	case n < 17:
		task.Release()
		l.tasks[i] = nil
		*k = known{}
		err := l.d.Delete(c.ID)
		k.absent = err == nil
	default:
		task.Release()
		l.tasks[i] = nil
	}
}

// create opens or makes a task. Meanwhile nothing is known of what may be evicted for it.
func (l *life) create(i int) {
	before := append([]known(nil), l.known...)
	l.known[i].absent = false
	if l.cfg.Quota > 0 {
		for j := range l.known {
			if l.tasks[j] == nil && !l.known[j].pinned {
				l.known[j] = known{absent: l.known[j].absent && j != i}
			}
		}
	}
	task, err := l.d.Create(l.contents[i].ID, l.contents[i].Geometry)
	held := map[p2p.TaskID]bool{}
	for _, info := range l.d.List() {
		held[info.ID] = true
	}
	for j := range l.known {
		if held[l.contents[j].ID] && j != i || j == i && len(before[i].pieces) > 0 && held[l.contents[i].ID] {
			absent := l.known[j].absent
			l.known[j] = before[j]
			l.known[j].absent = absent
		}
	}
	if err == nil {
		l.tasks[i] = task
	}
}

// write writes a piece: right or wrong, whole or not.
func (l *life) write(c *storetest.Content, task store.Task) {
	if c.Pieces() == 0 {
		return
	}
	p := p2p.Piece(l.rand.IntN(int(c.Pieces())))
	if next, ok := task.Have().NextMissing(p); ok {
		p = next
	}
	switch l.rand.IntN(6) {
	case 0:
		w, err := task.Write(p)
		if err != nil {
			return
		}
		_, _ = w.Write(make([]byte, 1+l.rand.IntN(len(c.Piece(p)))))
		if l.rand.IntN(2) == 0 {
			w.Abort()
		} else if _, err := w.Commit(&c.Digests[p]); err == nil && !task.Has(p) {
			l.t.Error("wrong bytes were taken")
		}
	default:
		_ = c.Write(task, p)
	}
}

// noteSync notes that everything that is held now is durable.
func (l *life) noteSync() {
	for i := range l.contents {
		l.noteSyncOf(i)
	}
}

func (l *life) noteSyncOf(i int) {
	task := l.tasks[i]
	if task == nil {
		return
	}
	have := task.Have()
	l.known[i].pieces = nil
	for p, ok := have.Next(0); ok; p, ok = have.Next(p + 1) {
		l.known[i].pieces = append(l.known[i].pieces, p)
	}
	l.known[i].proof = lastProof(task)
}

func lastProof(task store.Task) int {
	proofs := task.Proofs()
	if len(proofs) == 0 {
		return 0
	}
	n, _ := strconv.Atoi(string(proofs[len(proofs)-1]))
	return n
}

// check compares what the store holds with what it must. It stops when the power is cut.
func (l *life) check() {
	var reserved int64
	held := map[p2p.TaskID]store.Info{}
	for _, info := range l.d.List() {
		held[info.ID] = info
		reserved += info.Geometry.Size
	}
	if got := l.d.Usage().Reserved; got != reserved {
		l.t.Errorf("reserved %d, want %d", got, reserved)
	}
	for i, c := range l.contents {
		k := l.known[i]
		info, ok := held[c.ID]
		switch {
		case ok && k.absent:
			l.t.Errorf("content %d was deleted and is back", i)
		case !ok && (len(k.pieces) > 0 || k.completed || k.pinned || k.proof > 0):
			l.t.Errorf("content %d is lost: %+v", i, k)
		case k.pinned && info.Pins["mount"].IsZero():
			l.t.Errorf("content %d: the pin is lost", i)
		case ok:
			l.checkTask(i, info)
		}
	}
}

func (l *life) checkTask(i int, info store.Info) {
	c, k := l.contents[i], l.known[i]
	task, err := l.d.Open(c.ID)
	if l.after != nil {
		if err == nil {
			task.Release()
		}
		return
	}
	if err != nil {
		l.t.Errorf("content %d: open: %v", i, err)
		return
	}
	defer task.Release()
	if err := c.Check(task); err != nil && l.after == nil {
		l.t.Errorf("content %d: %v", i, err)
	}
	for _, p := range k.pieces {
		if !task.Has(p) {
			l.t.Errorf("content %d: piece %d was synced and is lost", i, p)
		}
	}
	if k.completed && !task.Completed() || task.Completed() && !task.Have().Full() {
		l.t.Errorf("content %d: completed is %v, must be %v", i, task.Completed(), k.completed)
	}
	if got := lastProof(task); got < k.proof {
		l.t.Errorf("content %d: last proof %d, want %d or later", i, got, k.proof)
	}
	if have := task.Have().Count(); have < info.Pieces {
		l.t.Errorf("content %d: %d pieces, listed with %d", i, have, info.Pieces)
	}
}

// finish opens the store after the last cut, completes every task that fits,
// stops cleanly and checks that all of it is there.
func (l *life) finish() {
	l.after, l.faulty, l.cfg.FS = nil, false, l.fs
	l.tasks = make([]store.Task, len(l.contents))
	for _, fill := range []bool{true, false} {
		d, err := store.Open(quiet(), l.cfg)
		if err != nil {
			l.t.Fatalf("open: %v", err)
		}
		l.d = d
		l.check()
		l.checkFiles()
		if fill {
			l.fillOne()
		}
		l.releaseAll()
		if err := d.Close(); err != nil {
			l.t.Errorf("close: %v", err)
		}
	}
}

func (l *life) fillOne() {
	i := l.rand.IntN(len(l.contents))
	l.create(i)
	if l.tasks[i] == nil {
		return
	}
	if err := l.contents[i].Fill(l.tasks[i]); err != nil {
		l.t.Errorf("content %d: fill: %v", i, err)
	}
	l.noteSyncOf(i)
	l.known[i].completed = true
}

// checkFiles looks for files that belong to no task.
func (l *life) checkFiles() {
	files := 0
	for _, kind := range []string{"sha256", "url"} {
		shards, err := l.fs.List("/pieces/" + kind)
		if err != nil {
			l.t.Fatal(err)
		}
		for _, shard := range shards {
			in, err := l.fs.List("/pieces/" + kind + "/" + shard.Name)
			if err != nil {
				l.t.Fatal(err)
			}
			files += len(in)
		}
	}
	if want := 2 * len(l.d.List()); files != want {
		l.t.Errorf("%d files of %d tasks", files, want/2)
	}
}
