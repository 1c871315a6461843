// Package storetest is the suite that every piece store passes, and content to
// fill stores with.
package storetest

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/zeebo/blake3"

	"github.com/darter-p2p/darter/p2p"
	"github.com/darter-p2p/darter/p2p/store"
)

// Option adds to what the suite tests.
type Option func(*suite)

// WithQuota tests quotas on stores of the given quota in bytes.
func WithQuota(open func(t *testing.T, quota int64) store.Store) Option {
	return func(s *suite) { s.openQuota = open }
}

// WithReopen tests that a store which was closed comes back. reopen closes the
// store and opens it again.
func WithReopen(reopen func(t *testing.T, old store.Store) store.Store) Option {
	return func(s *suite) { s.reopen = reopen }
}

type suite struct {
	open      func(t *testing.T) store.Store
	openQuota func(t *testing.T, quota int64) store.Store
	reopen    func(t *testing.T, old store.Store) store.Store
}

// Run tests a store. open returns an empty store; the suite closes it.
func Run(t *testing.T, open func(t *testing.T) store.Store, options ...Option) {
	s := &suite{open: open}
	for _, option := range options {
		option(s)
	}
	for name, test := range map[string]func(*testing.T, store.Store){
		"WriteReadComplete":  testWriteReadComplete,
		"EmptyTask":          testEmptyTask,
		"Unverified":         testUnverified,
		"Digests":            testDigests,
		"WriterLengths":      testWriterLengths,
		"TwoWriters":         testTwoWriters,
		"ManyWriters":        testManyWriters,
		"AbortThenWrite":     testAbortThenWrite,
		"ReadFrom":           testReadFrom,
		"Ranges":             testRanges,
		"Proofs":             testProofs,
		"Arguments":          testArguments,
		"OtherGeometry":      testOtherGeometry,
		"Delete":             testDelete,
		"DeleteAndMakeAgain": testDeleteAndMakeAgain,
		"DeleteWhileWriting": testDeleteWhileWriting,
		"List":               testList,
		"Pins":               testPins,
		"Closed":             testClosed,
		"CreateTogether":     testCreateTogether,
	} {
		t.Run(name, func(t *testing.T) {
			st := s.open(t)
			defer closeStore(t, st)
			test(t, st)
		})
	}
	if s.openQuota != nil {
		t.Run("Quota", s.testQuota)
		t.Run("QuotaPinsAndHandles", s.testQuotaPinsAndHandles)
	}
	if s.reopen != nil {
		t.Run("Reopen", s.testReopen)
		t.Run("ReopenOrder", s.testReopenOrder)
	}
}

func closeStore(t *testing.T, s store.Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
}

// Content is a content with its task, geometry and digests.
type Content struct {
	ID       p2p.TaskID
	Geometry p2p.Geometry
	Data     []byte
	Digests  []p2p.PieceDigest
}

// NewContent returns size random bytes; the same seed and size give the same.
func NewContent(seed uint64, size int64) *Content {
	var key [32]byte
	for i := range 8 {
		key[i] = byte(seed >> (8 * i))
		key[8+i] = byte(size >> (8 * i))
	}
	data := make([]byte, size)
	_, _ = rand.NewChaCha8(key).Read(data) // never fails
	c := &Content{ID: p2p.TaskOfURL("test:"+string(key[:16]), "", ""), Geometry: p2p.GeometryFor(size), Data: data}
	for p := range c.Geometry.Pieces() {
		c.Digests = append(c.Digests, blake3.Sum256(c.Piece(p2p.Piece(p))))
	}
	return c
}

// Piece returns the bytes of a piece.
func (c *Content) Piece(p p2p.Piece) []byte {
	off := c.Geometry.Offset(p)
	return c.Data[off : off+c.Geometry.Length(p)]
}

// Pieces returns the number of pieces.
func (c *Content) Pieces() p2p.Piece { return p2p.Piece(c.Geometry.Pieces()) }

// Write writes one piece to a task.
func (c *Content) Write(task store.Task, p p2p.Piece) error {
	w, err := task.Write(p)
	if err != nil {
		return err
	}
	defer w.Abort()
	if _, err := w.Write(c.Piece(p)); err != nil {
		return err
	}
	_, err = w.Commit(&c.Digests[p])
	return err
}

// Fill writes every piece and completes the task.
func (c *Content) Fill(task store.Task) error {
	for p := range c.Pieces() {
		if err := c.Write(task, p); err != nil {
			return err
		}
	}
	return task.Complete()
}

// Check reads every piece that the task says it has, and compares it.
func (c *Content) Check(task store.Task) error {
	have := task.Have()
	buf := make([]byte, c.Geometry.PieceLength)
	for p, ok := have.Next(0); ok; p, ok = have.Next(p + 1) {
		b := buf[:c.Geometry.Length(p)]
		if _, err := task.ReadAt(b, c.Geometry.Offset(p)); err != nil {
			return err
		}
		if !bytes.Equal(b, c.Piece(p)) {
			return errors.New("wrong bytes served as verified")
		}
		if d, ok := task.Digest(p); !ok || d != c.Digests[p] {
			return errors.New("wrong digest of a verified piece")
		}
	}
	return nil
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantError(t *testing.T, what string, err error, is func(error) bool) {
	t.Helper()
	if err == nil || !is(err) {
		t.Errorf("%s: error %v is not of the class wanted", what, err)
	}
}

func isErr(target error) func(error) bool {
	return func(err error) bool { return errors.Is(err, target) }
}

func create(t *testing.T, s store.Store, c *Content) store.Task {
	t.Helper()
	task, err := s.Create(c.ID, c.Geometry)
	must(t, err)
	return task
}

const (
	small = 5000
	large = 1<<20 + 1<<18 + 77 // 6 pieces, the last of 77 bytes
)

func testWriteReadComplete(t *testing.T, s store.Store) {
	for _, size := range []int64{1, small, 1<<20 - 1, 1 << 20, large} {
		c := NewContent(1, size)
		task := create(t, s, c)
		wantError(t, "complete of nothing", task.Complete(), errdefs.IsFailedPrecondition)
		must(t, c.Fill(task))
		must(t, task.Complete())
		if !task.Completed() || !task.Have().Full() {
			t.Error("not completed")
		}
		must(t, c.Check(task))
		if f := task.File(); f != nil {
			got, err := io.ReadAll(io.NewSectionReader(f, 0, size+10))
			must(t, err)
			if !bytes.Equal(got, c.Data) {
				t.Error("the file differs")
			}
		}
		task.Release()
		task.Release() // no harm
		again, err := s.Open(c.ID)
		must(t, err)
		must(t, c.Check(again))
		must(t, c.Write(again, 0)) // of a verified piece: no harm
		again.Release()
	}
}

func testEmptyTask(t *testing.T, s store.Store) {
	c := NewContent(1, 0)
	task := create(t, s, c)
	defer task.Release()
	must(t, task.Complete())
	if n, err := task.ReadAt(make([]byte, 1), 0); n != 0 || !errors.Is(err, io.EOF) {
		t.Errorf("read of nothing: %d, %v", n, err)
	}
	if _, err := task.Write(0); err == nil {
		t.Error("a piece of an empty task")
	}
}

func testUnverified(t *testing.T, s store.Store) {
	c := NewContent(1, large)
	task := create(t, s, c)
	defer task.Release()
	must(t, c.Write(task, 1))
	w, err := task.Write(2)
	must(t, err)
	defer w.Abort()
	_, err = w.Write(c.Piece(2))
	must(t, err)
	length := c.Geometry.PieceLength
	for _, r := range [][2]int64{{0, 10}, {length - 1, 2}, {2*length - 1, 2}, {2 * length, 1}, {0, large}, {length, 2 * length}} {
		b := make([]byte, r[1])
		n, err := task.ReadAt(b, r[0])
		wantError(t, "read of an unverified piece", err, errdefs.IsNotFound)
		if n != 0 || !bytes.Equal(b, make([]byte, r[1])) {
			t.Errorf("range %v: bytes were returned", r)
		}
	}
	must(t, c.Check(task))
	if task.Has(0) || !task.Has(1) || task.Has(2) || task.Has(1<<20) {
		t.Error("Has is wrong")
	}
	if _, ok := task.Digest(2); ok {
		t.Error("digest of an unverified piece")
	}
}

func testDigests(t *testing.T, s store.Store) {
	c := NewContent(1, large)
	task := create(t, s, c)
	defer task.Release()
	w, err := task.Write(0)
	must(t, err)
	_, err = w.Write(c.Piece(1))
	must(t, err)
	_, err = w.Commit(&c.Digests[0])
	wantError(t, "wrong bytes", err, isErr(store.ErrDigest))
	if task.Has(0) {
		t.Error("wrong bytes were taken")
	}
	_, err = w.Commit(&c.Digests[0])
	wantError(t, "second commit", err, errdefs.IsFailedPrecondition)
	w.Abort()

	w, err = task.Write(0)
	must(t, err)
	_, err = w.Write(c.Piece(0))
	must(t, err)
	d, err := w.Commit(nil)
	must(t, err)
	if d != c.Digests[0] {
		t.Error("wrong digest computed")
	}
	_, err = w.Write([]byte{1})
	wantError(t, "write after commit", err, errdefs.IsFailedPrecondition)

	// Other bytes for a verified piece change nothing, whatever their writer believes.
	for _, want := range []*p2p.PieceDigest{nil, &c.Digests[1]} {
		w, err = task.Write(0)
		must(t, err)
		_, err = w.Write(c.Piece(1))
		must(t, err)
		_, err = w.Commit(want)
		wantError(t, "other bytes for a verified piece", err, isErr(store.ErrDigest))
	}
	must(t, c.Check(task))
}

func testWriterLengths(t *testing.T, s store.Store) {
	c := NewContent(1, large)
	task := create(t, s, c)
	defer task.Release()
	last := c.Pieces() - 1
	w, err := task.Write(last)
	must(t, err)
	_, err = w.Write(c.Piece(last)[:70])
	must(t, err)
	_, err = w.Write(make([]byte, 8))
	wantError(t, "write beyond the piece", err, errdefs.IsInvalidArgument)
	_, err = w.Commit(nil)
	wantError(t, "commit of a part", err, errdefs.IsFailedPrecondition)
	if task.Has(last) {
		t.Error("a part was taken")
	}
	for _, step := range []int{1, 7, 4096, 64 << 10, 100_000, 1 << 20} {
		p := p2p.Piece(step) % c.Pieces()
		must(t, writeInSteps(c, task, p, step))
	}
	must(t, c.Check(task))
}

func writeInSteps(c *Content, task store.Task, p p2p.Piece, step int) error {
	w, err := task.Write(p)
	if err != nil {
		return err
	}
	defer w.Abort()
	for b := c.Piece(p); len(b) > 0; {
		n := min(step, len(b))
		if _, err := w.Write(b[:n]); err != nil {
			return err
		}
		b = b[n:]
	}
	_, err = w.Commit(&c.Digests[p])
	return err
}

// Two writers of one piece take turns; whichever commits first counts, wrong
// bytes of the other harm nothing, before or after.
func testTwoWriters(t *testing.T, s store.Store) {
	for seed, badFirst := range []bool{true, false} {
		c := NewContent(uint64(seed), large)
		task := create(t, s, c)
		bad, good := c.Piece(1), c.Piece(0)
		first, err := task.Write(0)
		must(t, err)
		second, err := task.Write(0)
		must(t, err)
		one, two := good, bad
		if badFirst {
			one, two = bad, good
		}
		half := len(good) / 2
		_, err = first.Write(one[:half])
		must(t, err)
		_, err = second.Write(two)
		must(t, err)
		_, err = second.Commit(&c.Digests[0])
		if badFirst {
			must(t, err)
		} else {
			wantError(t, "wrong bytes of the second", err, isErr(store.ErrDigest))
		}
		_, err = first.Write(one[half:])
		must(t, err)
		_, err = first.Commit(&c.Digests[0])
		if badFirst {
			wantError(t, "wrong bytes of the first", err, isErr(store.ErrDigest))
		} else {
			must(t, err)
		}
		if !task.Has(0) {
			t.Error("the right bytes were not taken")
		}
		must(t, c.Check(task))
		task.Release()
	}
}

// Many writers of every piece at once, half of them with wrong bytes.
func testManyWriters(t *testing.T, s store.Store) {
	c := NewContent(1, large)
	task := create(t, s, c)
	defer task.Release()
	var group sync.WaitGroup
	for i := range 8 * int(c.Pieces()) {
		group.Go(func() {
			p := p2p.Piece(i) % c.Pieces()
			data := bytes.Clone(c.Piece(p))
			wrong := i/int(c.Pieces())%2 == 1
			if wrong {
				data[len(data)/2] ^= 1
			}
			w, err := task.Write(p)
			if err != nil {
				t.Error(err)
				return
			}
			defer w.Abort()
			for b := data; len(b) > 0; {
				n := min(len(b), 30_000)
				if _, err := w.Write(b[:n]); err != nil {
					t.Error(err)
					return
				}
				b = b[n:]
			}
			if _, err := w.Commit(&c.Digests[p]); wrong != errors.Is(err, store.ErrDigest) || !wrong && err != nil {
				t.Errorf("commit, wrong=%v: %v", wrong, err)
			}
			if err := c.Check(task); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	must(t, task.Complete())
	must(t, c.Check(task))
}

func testAbortThenWrite(t *testing.T, s store.Store) {
	c := NewContent(1, large)
	task := create(t, s, c)
	defer task.Release()
	w, err := task.Write(3)
	must(t, err)
	_, err = w.Write(c.Piece(2))
	must(t, err)
	w.Abort()
	w.Abort()
	must(t, c.Fill(task))
	must(t, c.Check(task))
}

// A writer that reads by itself stops at the end of the piece.
func testReadFrom(t *testing.T, s store.Store) {
	c := NewContent(1, large)
	task := create(t, s, c)
	defer task.Release()
	w, err := task.Write(0)
	must(t, err)
	r, ok := w.(io.ReaderFrom)
	if !ok {
		w.Abort()
		t.Skip("writers do not read")
	}
	body := bytes.NewReader(c.Data)
	n, err := r.ReadFrom(body)
	must(t, err)
	if n != c.Geometry.PieceLength || int64(body.Len()) != large-n {
		t.Errorf("read %d, %d are left", n, body.Len())
	}
	_, err = w.Commit(&c.Digests[0])
	must(t, err)
	w, err = task.Write(1)
	must(t, err)
	_, err = io.CopyN(w, body, c.Geometry.PieceLength)
	must(t, err)
	_, err = w.Commit(&c.Digests[1])
	must(t, err)
	must(t, c.Check(task))
}

func testRanges(t *testing.T, s store.Store) {
	c := NewContent(1, large)
	task := create(t, s, c)
	defer task.Release()
	must(t, c.Fill(task))
	for range 200 {
		off, n := rand.Int64N(large+10), rand.Int64N(600_000)
		b := make([]byte, n)
		got, err := task.ReadAt(b, off)
		want := c.Data[min(off, large):min(off+n, large)]
		if !bytes.Equal(b[:got], want) {
			t.Fatalf("range %d+%d: %d wrong bytes", off, n, got)
		}
		if errors.Is(err, io.EOF) != (int64(len(want)) < n) || err != nil && !errors.Is(err, io.EOF) {
			t.Fatalf("range %d+%d: %d bytes, error %v", off, n, got, err)
		}
	}
	_, err := task.ReadAt(make([]byte, 1), -1)
	wantError(t, "negative offset", err, errdefs.IsInvalidArgument)
}

func testProofs(t *testing.T, s store.Store) {
	c := NewContent(1, small)
	task := create(t, s, c)
	defer task.Release()
	proof := []byte("one")
	must(t, task.AddProof(proof, false))
	proof[0] = 'x' // the store has a copy
	must(t, task.AddProof([]byte("two"), false))
	wantProofs(t, task, "one", "two")
	must(t, task.AddProof([]byte("three"), true))
	wantProofs(t, task, "three")
	must(t, task.AddProof(nil, false))
	wantProofs(t, task, "three", "")
	wantError(t, "huge proof", task.AddProof(make([]byte, 64<<20), false), errdefs.IsInvalidArgument)
	var err error
	for range 100 {
		if err = task.AddProof(make([]byte, 1<<20), false); err != nil {
			break
		}
	}
	wantError(t, "too many proofs", err, errdefs.IsResourceExhausted)
	for range 40 { // replaced proofs do not add up
		must(t, task.AddProof(make([]byte, 2<<20), true))
	}
	must(t, task.AddProof([]byte("four"), true))
	wantProofs(t, task, "four")
}

func wantProofs(t *testing.T, task store.Task, want ...string) {
	t.Helper()
	var got []string
	for _, p := range task.Proofs() {
		got = append(got, string(p))
	}
	if len(got) != len(want) {
		t.Fatalf("proofs %q, want %q", got, want)
	}
	for i := range got {
		if got[i] != want[i] {
			t.Fatalf("proofs %q, want %q", got, want)
		}
	}
}

func testArguments(t *testing.T, s store.Store) {
	c := NewContent(1, small)
	_, err := s.Create(p2p.TaskID{}, c.Geometry)
	wantError(t, "no task", err, errdefs.IsInvalidArgument)
	_, err = s.Create(c.ID, p2p.Geometry{Size: 1 << 30, PieceLength: 1})
	wantError(t, "bad geometry", err, errdefs.IsInvalidArgument)
	_, err = s.Open(c.ID)
	wantError(t, "open of nothing", err, errdefs.IsNotFound)
	wantError(t, "pin of nothing", s.Pin(c.ID, "mount", time.Now().Add(time.Hour)), errdefs.IsNotFound)
	must(t, s.Delete(c.ID))
	task := create(t, s, c)
	defer task.Release()
	_, err = task.Write(1)
	wantError(t, "piece outside of the task", err, errdefs.IsInvalidArgument)
	wantError(t, "pin without reason", s.Pin(c.ID, "", time.Now().Add(time.Hour)), errdefs.IsInvalidArgument)
	if err := task.LinkTo("/nowhere/x"); err == nil {
		t.Error("link of an incomplete task")
	}
	if task.ID() != c.ID || task.Geometry() != c.Geometry {
		t.Error("another task")
	}
}

func testOtherGeometry(t *testing.T, s store.Store) {
	c := NewContent(1, large)
	create(t, s, c).Release()
	_, err := s.Create(c.ID, p2p.GeometryFor(large+1))
	wantError(t, "other geometry", err, errdefs.IsFailedPrecondition)
	if got := s.List(); len(got) != 1 || got[0].Open != 0 {
		t.Errorf("a handle is left: %+v", got)
	}
}
