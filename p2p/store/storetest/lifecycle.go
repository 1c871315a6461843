package storetest

import (
	"bytes"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/containerd/errdefs"

	"github.com/darter-p2p/darter/p2p"
	"github.com/darter-p2p/darter/p2p/store"
)

func testDelete(t *testing.T, s store.Store) {
	c := NewContent(1, large)
	task := create(t, s, c)
	defer task.Release()
	must(t, c.Fill(task))
	file := task.File()
	must(t, s.Delete(c.ID))
	must(t, s.Delete(c.ID))
	_, err := s.Open(c.ID)
	wantError(t, "open after delete", err, errdefs.IsNotFound)
	_, err = task.ReadAt(make([]byte, 1), 0)
	wantError(t, "read after delete", err, isErr(store.ErrGone))
	_, err = task.Write(0)
	wantError(t, "write after delete", err, isErr(store.ErrGone))
	wantError(t, "proof after delete", task.AddProof(nil, false), isErr(store.ErrGone))
	wantError(t, "complete after delete", task.Complete(), isErr(store.ErrGone))
	if task.Has(0) || task.Have().Count() != 0 || task.Completed() || len(task.Proofs()) != 0 {
		t.Error("a deleted task says that it holds something")
	}
	if file != nil { // a reader in the middle of sendfile
		got, err := io.ReadAll(io.NewSectionReader(file, 0, large))
		must(t, err)
		if !bytes.Equal(got, c.Data) {
			t.Error("the reader was disturbed")
		}
	}
	if u := s.Usage(); u.Reserved != 0 || len(s.List()) != 0 {
		t.Errorf("usage after delete: %+v", u)
	}
}

func testDeleteAndMakeAgain(t *testing.T, s store.Store) {
	c := NewContent(1, large)
	old := create(t, s, c)
	defer old.Release()
	must(t, c.Write(old, 0))
	writer, err := old.Write(1)
	must(t, err)
	_, err = writer.Write(c.Piece(2)[:1000])
	must(t, err)
	must(t, s.Delete(c.ID))
	fresh := create(t, s, c)
	defer fresh.Release()
	if fresh.Have().Count() != 0 {
		t.Error("the new task has pieces of the old one")
	}
	must(t, c.Write(fresh, 1))
	_, err = writer.Commit(nil)
	wantError(t, "commit to the old task", err, isErr(store.ErrGone))
	must(t, c.Fill(fresh))
	must(t, c.Check(fresh))
	old.Release()
	must(t, c.Check(fresh))
}

func testDeleteWhileWriting(t *testing.T, s store.Store) {
	c := NewContent(1, large)
	var group sync.WaitGroup
	for i := range 4 {
		group.Go(func() {
			for round := range 10 {
				task, err := s.Create(c.ID, c.Geometry)
				if err != nil {
					t.Error(err)
					return
				}
				for p := range c.Pieces() {
					_ = c.Write(task, p) // fails with ErrGone when deleted
				}
				_ = task.Complete()
				if err := c.Check(task); err != nil && s.Usage().Reserved < 0 {
					t.Error(err)
				}
				task.Release()
				if (round+i)%3 == 0 {
					if err := s.Delete(c.ID); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	group.Wait()
	task := create(t, s, c)
	defer task.Release()
	must(t, c.Fill(task))
	must(t, c.Check(task))
	if u := s.Usage(); u.Reserved != large {
		t.Errorf("reserved %d, want %d", u.Reserved, large)
	}
}

func testList(t *testing.T, s store.Store) {
	var contents []*Content
	for i := range 5 {
		c := NewContent(uint64(i), large+int64(i))
		contents = append(contents, c)
		task := create(t, s, c)
		must(t, c.Write(task, 0))
		if i == 3 {
			must(t, c.Fill(task))
		}
		defer task.Release()
	}
	time.Sleep(time.Millisecond) // so that the next use is later
	again, err := s.Open(contents[1].ID)
	must(t, err)
	defer again.Release()
	infos := s.List()
	if len(infos) != 5 || infos[0].ID != contents[1].ID || infos[0].Open != 2 {
		t.Fatalf("%d tasks, first %+v", len(infos), infos[0])
	}
	var reserved int64
	for _, info := range infos {
		reserved += info.Geometry.Size
		pieces, bytes := 1, contents[0].Geometry.PieceLength
		if info.ID == contents[3].ID {
			pieces, bytes = info.Geometry.Pieces(), info.Geometry.Size
		}
		if info.Pieces != pieces || info.Bytes != bytes || info.Completed != (info.ID == contents[3].ID) {
			t.Errorf("%+v", info)
		}
	}
	if u := s.Usage(); u.Reserved != reserved {
		t.Errorf("reserved %d, want %d", u.Reserved, reserved)
	}
}

func testPins(t *testing.T, s store.Store) {
	c := NewContent(1, small)
	create(t, s, c).Release()
	soon := time.Now().Add(time.Hour)
	must(t, s.Pin(c.ID, "mount", soon))
	must(t, s.Pin(c.ID, "preheat", soon))
	must(t, s.Pin(c.ID, "preheat", time.Time{}))
	must(t, s.Pin(c.ID, "past", time.Now().Add(-time.Second)))
	pins := s.List()[0].Pins
	if len(pins) != 1 || !pins["mount"].Equal(soon) {
		t.Errorf("pins %v", pins)
	}
	pins["other"] = soon // a copy
	if got := s.List()[0].Pins; len(got) != 1 {
		t.Errorf("pins %v", got)
	}
}

func testClosed(t *testing.T, s store.Store) {
	c := NewContent(1, small)
	task := create(t, s, c)
	must(t, c.Fill(task))
	must(t, s.Close())
	must(t, s.Close())
	_, err := s.Create(c.ID, c.Geometry)
	wantError(t, "create", err, errdefs.IsUnavailable)
	_, err = s.Open(c.ID)
	wantError(t, "open", err, errdefs.IsUnavailable)
	wantError(t, "delete", s.Delete(c.ID), errdefs.IsUnavailable)
	wantError(t, "pin", s.Pin(c.ID, "x", time.Now().Add(time.Hour)), errdefs.IsUnavailable)
	_, err = task.ReadAt(make([]byte, 1), 0)
	wantError(t, "read", err, errdefs.IsUnavailable)
	task.Release()
}

func testCreateTogether(t *testing.T, s store.Store) {
	c := NewContent(1, large)
	var group sync.WaitGroup
	for i := range 12 {
		group.Go(func() {
			task, err := s.Create(c.ID, c.Geometry)
			if err != nil {
				t.Error(err)
				return
			}
			defer task.Release()
			if err := c.Write(task, p2p.Piece(i)%c.Pieces()); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	task, err := s.Open(c.ID)
	must(t, err)
	defer task.Release()
	must(t, task.Complete())
	must(t, c.Check(task))
	if infos := s.List(); len(infos) != 1 || infos[0].Open != 1 {
		t.Errorf("%+v", infos)
	}
}

func (s *suite) testQuota(t *testing.T) {
	const size = 100_000
	st := s.openQuota(t, 3*size)
	defer closeStore(t, st)
	var cs []*Content
	for i := range 5 {
		cs = append(cs, NewContent(uint64(i), size))
	}
	for i := range 3 {
		create(t, st, cs[i]).Release()
		time.Sleep(time.Millisecond) // so that the order of use is known
	}
	first, err := st.Open(cs[0].ID) // now 1 is the least recently used
	must(t, err)
	first.Release()
	_, err = st.Create(NewContent(9, 3*size+1).ID, p2p.GeometryFor(3*size+1))
	wantError(t, "more than the quota", err, errdefs.IsResourceExhausted)
	if len(st.List()) != 3 {
		t.Error("evicted for a task that cannot fit")
	}
	create(t, st, cs[3]).Release()
	wantHeld(t, st, cs[0], cs[2], cs[3])
	double := NewContent(8, 2*size)
	create(t, st, double).Release()
	wantHeld(t, st, cs[3], double)
	if u := st.Usage(); u.Reserved != 3*size || u.Quota != 3*size {
		t.Errorf("usage %+v", u)
	}
}

func wantHeld(t *testing.T, s store.Store, want ...*Content) {
	t.Helper()
	held := map[p2p.TaskID]bool{}
	for _, info := range s.List() {
		held[info.ID] = true
	}
	for _, c := range want {
		if !held[c.ID] {
			t.Errorf("task of %d bytes is not held", c.Geometry.Size)
		}
	}
	if len(held) != len(want) {
		t.Errorf("%d tasks held, want %d", len(held), len(want))
	}
}

func (s *suite) testQuotaPinsAndHandles(t *testing.T) {
	const size = 100_000
	st := s.openQuota(t, 3*size)
	defer closeStore(t, st)
	open, pinned, cache, next := NewContent(1, size), NewContent(2, size), NewContent(3, size), NewContent(4, 2*size)
	task := create(t, st, open)
	must(t, open.Fill(task))
	create(t, st, pinned).Release()
	must(t, st.Pin(pinned.ID, "mount", time.Now().Add(time.Hour)))
	create(t, st, cache).Release()
	_, err := st.Create(next.ID, next.Geometry)
	wantError(t, "no room beside what is in use", err, errdefs.IsResourceExhausted)
	wantHeld(t, st, open, pinned, cache) // refused at once, nothing was given up
	must(t, open.Check(task))
	task.Release()
	must(t, st.Pin(pinned.ID, "mount", time.Time{}))
	create(t, st, next).Release()
	if got := len(st.List()); got != 2 {
		t.Errorf("%d tasks held, want 2", got)
	}
}

func (s *suite) testReopen(t *testing.T) {
	st := s.open(t)
	part, whole := NewContent(1, large), NewContent(2, large)
	task := create(t, st, part)
	must(t, part.Write(task, 1))
	must(t, part.Write(task, 4))
	must(t, task.AddProof([]byte("a"), false))
	must(t, task.AddProof([]byte("b"), true))
	must(t, task.AddProof([]byte("c"), false))
	task.Release()
	task = create(t, st, whole)
	must(t, whole.Fill(task))
	task.Release()
	until := time.Now().Add(time.Hour)
	must(t, st.Pin(whole.ID, "mount", until))
	must(t, st.Delete(NewContent(3, small).ID))
	for range 2 {
		st = s.reopen(t, st)
		infos := st.List()
		if len(infos) != 2 || st.Usage().Reserved != 2*large {
			t.Fatalf("%d tasks, %d bytes reserved", len(infos), st.Usage().Reserved)
		}
		for _, info := range infos {
			want := store.Info{ID: part.ID, Pieces: 2, Bytes: 2 * part.Geometry.PieceLength}
			if info.ID == whole.ID {
				want = store.Info{ID: whole.ID, Pieces: 6, Bytes: large, Completed: true}
				if !info.Pins["mount"].Equal(until) {
					t.Errorf("pins %v", info.Pins)
				}
			}
			if info.ID != want.ID || info.Pieces != want.Pieces || info.Bytes != want.Bytes || info.Completed != want.Completed {
				t.Errorf("%+v, want %+v", info, want)
			}
		}
		task, err := st.Open(part.ID)
		must(t, err)
		must(t, part.Check(task))
		wantProofs(t, task, "b", "c")
		task.Release()
		task, err = st.Open(whole.ID)
		must(t, err)
		must(t, whole.Check(task))
		must(t, task.Complete())
		task.Release()
	}
	task = create(t, st, part)
	must(t, part.Fill(task))
	must(t, part.Check(task))
	task.Release()
	must(t, st.Delete(whole.ID))
	st = s.reopen(t, st)
	wantHeld(t, st, part)
	closeStore(t, st)
}

// The order of use survives.
func (s *suite) testReopenOrder(t *testing.T) {
	st := s.open(t)
	var cs []*Content
	for i := range 4 {
		cs = append(cs, NewContent(uint64(i), small))
		create(t, st, cs[i]).Release()
		time.Sleep(2 * time.Millisecond)
	}
	for _, i := range []int{2, 0, 3, 1} {
		task, err := st.Open(cs[i].ID)
		must(t, err)
		task.Release()
		time.Sleep(2 * time.Millisecond)
	}
	st = s.reopen(t, st)
	for i, info := range st.List() {
		if want := cs[[]int{1, 3, 0, 2}[i]].ID; info.ID != want {
			t.Errorf("task %d is %s, want %s", i, info.ID.Short(), want.Short())
		}
	}
	closeStore(t, st)
}
