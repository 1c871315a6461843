package device

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/containerd/errdefs"

	"github.com/darter-p2p/darter/internal/config"
)

func noReadAhead(c *Config) { c.ReadAhead = 0 }

// Readers at random places, many at a time, see the device's bytes.
func TestRandomReaders(t *testing.T) {
	b := newBlob(1, 200, 16<<10)
	d := open(t, t.TempDir(), &origin{b: b}, Options{}, func(c *Config) { c.MaxRequest = 64 << 10 })
	var wg sync.WaitGroup
	for seed := range uint64(8) {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(seed, 2))
			for range 100 {
				off := r.Int64N(b.Size())
				read(t, d, b, off, 1+r.Int64N(100<<10))
			}
		})
	}
	wg.Wait()
	read(t, d, b, 0, b.Size())
	if held, all := d.Held(); held != all {
		t.Errorf("%d of %d chunks", held, all)
	}
}

// Chunks that lie beside each other come with one request; many readers share it.
func TestOneRequestForMany(t *testing.T) {
	b := newBlob(2, 8, 32<<10)
	o := &origin{b: b, gate: make(chan struct{})}
	d := open(t, t.TempDir(), o, Options{}, noReadAhead)
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() { read(t, d, b, 0, b.Size()) })
	}
	o.gate <- struct{}{}
	wg.Wait()
	if asks := o.asked(); len(asks) != 1 || asks[0].Length != int64(len(b.wire)) || asks[0].Need != Urgent {
		t.Errorf("asked %v", asks)
	}
}

func TestRequestsAreBounded(t *testing.T) {
	b := newBlob(3, 40, 32<<10)
	o := &origin{b: b}
	d := open(t, t.TempDir(), o, Options{}, noReadAhead, func(c *Config) { c.MaxRequest = 128 << 10 })
	read(t, d, b, 0, b.Size())
	for _, a := range o.asked() {
		if a.Length > 128<<10 {
			t.Errorf("asked %d bytes", a.Length)
		}
	}
}

// A sequential reader is fetched ahead of; a random one is not, and neither gets more
// than half as much again as he wants.
func TestReadAhead(t *testing.T) {
	b := newBlob(4, 400, 32<<10)
	o := &origin{b: b}
	d := open(t, t.TempDir(), o, Options{}, func(c *Config) { c.MaxRequest = 256 << 10 })
	half := b.Size() / 2
	for off := int64(0); off < half; off += 128 << 10 {
		read(t, d, b, off, 128<<10)
	}
	ahead := false
	for _, a := range o.asked() {
		ahead = ahead || a.Need == Window
	}
	held, all := d.Held()
	if !ahead || held > all*3/4+8 {
		t.Errorf("ahead %v, %d of %d chunks", ahead, held, all)
	}

	o = &origin{b: b}
	d = open(t, t.TempDir(), o, Options{})
	for off := b.Size() - 1<<20; off > 0; off -= 1 << 20 {
		read(t, d, b, off, page)
	}
	for _, a := range o.asked() {
		if a.Need != Urgent {
			t.Errorf("fetched ahead of a reader who goes backwards: %v", a)
		}
	}
}

// What goes wrong once or twice is not seen; the last attempt is at the origin.
func TestFailures(t *testing.T) {
	short := func(body []byte) []byte { return body[:len(body)-1] }
	wrong := func(body []byte) []byte { return append([]byte{body[0] ^ 1}, body[1:]...) }
	for name, tc := range map[string]struct {
		spoil func(n int, a Ask, body []byte) ([]byte, error)
		is    func(error) bool // nil = it goes well
		asks  int
	}{
		"refused once":            {func(n int, _ Ask, b []byte) ([]byte, error) { return b, fail(n < 1) }, nil, 2},
		"cut once":                {func(n int, _ Ask, b []byte) ([]byte, error) { return when(n < 1, short, b), nil }, nil, 2},
		"wrong but at the origin": {func(_ int, a Ask, b []byte) ([]byte, error) { return when(!a.Origin, wrong, b), nil }, nil, 3},
		"always wrong":            {func(_ int, _ Ask, b []byte) ([]byte, error) { return wrong(b), nil }, errdefs.IsDataLoss, 3},
		"always cut":              {func(_ int, _ Ask, b []byte) ([]byte, error) { return short(b), nil }, errdefs.IsUnavailable, 3},
		"always refused":          {func(_ int, _ Ask, b []byte) ([]byte, error) { return b, errTest }, func(err error) bool { return errors.Is(err, errTest) }, 3},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBlob(5, 1, 32<<10)
				o := &origin{b: b, spoil: tc.spoil}
				var failed atomic.Int32
				d := open(t, t.TempDir(), o, Options{Events: Events{Failed: func(int, Chunk, error) { failed.Add(1) }}})
				err := d.Ensure(t.Context(), 0, page)
				if tc.is == nil && err != nil || tc.is != nil && (err == nil || !tc.is(err)) {
					t.Error(err)
				}
				if tc.is != nil && (failed.Load() != 1 || !strings.Contains(err.Error(), "chunk 0")) {
					t.Errorf("told %d times; %v", failed.Load(), err)
				}
				if got := len(o.asked()); got != tc.asks {
					t.Errorf("asked %d times, want %d", got, tc.asks)
				}
				// The next reader is not punished for it.
				o.spoil = nil
				read(t, d, b, 0, page)
			})
		})
	}
}

func fail(yes bool) error {
	if yes {
		return errTest
	}
	return nil
}

func when(yes bool, f func([]byte) []byte, b []byte) []byte {
	if yes {
		return f(b)
	}
	return b
}

// A source that is gone is waited for, and not for ever.
func TestGone(t *testing.T) {
	for name, tc := range map[string]struct {
		for_ time.Duration
		well bool
	}{"a minute": {time.Minute, true}, "an hour": {time.Hour, false}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBlob(6, 1, 32<<10)
				back := time.Now().Add(tc.for_)
				o := &origin{b: b, spoil: func(_ int, _ Ask, body []byte) ([]byte, error) {
					if time.Now().Before(back) {
						return nil, fmt.Errorf("%w: %w", ErrGone, errdefs.ErrUnavailable)
					}
					return body, nil
				}}
				d := open(t, t.TempDir(), o, Options{})
				start := time.Now()
				err := d.Ensure(t.Context(), 0, page)
				waited := time.Since(start)
				if tc.well != (err == nil) || waited > tc.for_+time.Second || waited > 3*time.Minute {
					t.Errorf("after %v: %v", waited, err)
				}
			})
		})
	}
}

// A reader does not wait for what is fetched for nobody.
func TestReaderOvertakesFill(t *testing.T) {
	b := newBlob(7, 4, 32<<10)
	o := &origin{b: b, gate: make(chan struct{})}
	d := open(t, t.TempDir(), o, Options{})
	ctx, cancel := context.WithCancel(t.Context())
	filled := make(chan struct{})
	go func() {
		defer close(filled)
		_, _ = d.Fill(ctx) // ends with ctx, or with the chunk
	}()
	waitFor(t, func() bool { return len(o.asked()) == 1 })
	got := make(chan error, 1)
	go func() { got <- d.Ensure(t.Context(), 0, page) }()
	waitFor(t, func() bool { return len(o.asked()) == 2 })
	if a := o.asked()[1]; a.Need != Urgent {
		t.Errorf("asked %v", a)
	}
	o.gate <- struct{}{}
	o.gate <- struct{}{}
	if err := <-got; err != nil {
		t.Error(err)
	}
	cancel()
	<-filled
}

func TestFill(t *testing.T) {
	b := newBlob(8, 50, 32<<10)
	dir := t.TempDir()
	completed := make(chan struct{})
	d := open(t, dir, &origin{b: b}, Options{Events: Events{Completed: func() { close(completed) }}}, func(c *Config) { c.MaxRequest = 128 << 10 })
	for {
		n, err := d.Fill(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			break
		}
	}
	<-completed
	if !d.Complete() {
		t.Error("not complete")
	}
	plain, err := os.ReadFile(d.Path())
	if err != nil || string(plain) != string(b.plain) {
		t.Errorf("the file is not the device: %v", err)
	}
}

// Bring fetches what it is told, in its order, once.
func TestBring(t *testing.T) {
	b := newBlob(8, 50, 32<<10)
	o := &origin{b: b}
	d := open(t, t.TempDir(), o, Options{})
	for try := range 2 {
		n, err := d.Bring(t.Context(), []int{7, 40, 8})
		if err != nil || (n > 0) != (try == 0) {
			t.Fatalf("try %d: %d bytes, %v", try, n, err)
		}
	}
	for i := range 50 {
		if want := i == 7 || i == 8 || i == 40; d.have.has(i) != want {
			t.Errorf("chunk %d is here: %t", i, !want)
		}
	}
	if asks := o.asked(); len(asks) != 2 || asks[0].Need != Background {
		t.Errorf("asked %v", asks)
	}
}

// What a Device left is there for the next: all of it in the same run of the machine,
// what was synced in another, nothing for another layout or after damage.
func TestReopen(t *testing.T) {
	for name, tc := range map[string]struct {
		second Options
		spoil  func(t *testing.T, dir string)
		synced bool
		held   func(held int) bool
	}{
		"same run, killed":       {held: func(n int) bool { return n == 10 }},
		"another run, power cut": {second: Options{Boot: Boot{1}}, held: func(n int) bool { return n == 0 }},
		"another run, synced":    {second: Options{Boot: Boot{1}}, synced: true, held: func(n int) bool { return n == 10 }},
		"another layout":         {second: Options{Fingerprint: Fingerprint{1}}, synced: true, held: func(n int) bool { return n == 0 }},
		"a torn journal":         {spoil: tear(-5), held: func(n int) bool { return n == 9 }},
		"a damaged head":         {spoil: tear(20), held: func(n int) bool { return n == 0 }},
		"the data has another size": {spoil: func(t *testing.T, dir string) {
			if err := os.Truncate(dir+"/data", 100); err != nil {
				t.Error(err)
			}
		}, held: func(n int) bool { return n == 0 }},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBlob(9, 20, 8<<10)
			dir := t.TempDir()
			slow := func(c *Config) { c.SyncEvery = config.Duration(time.Hour); c.ReadAhead = 0 }
			first := open(t, dir, &origin{b: b}, Options{}, slow)
			read(t, first, b, 0, b.chunks[9].Offset+1)
			if tc.synced {
				first.sync()
			}
			copied := t.TempDir() // as it was when the process died
			if err := os.CopyFS(copied, os.DirFS(dir)); err != nil {
				t.Fatal(err)
			}
			if tc.spoil != nil {
				tc.spoil(t, copied)
			}
			second := open(t, copied, &origin{b: b}, tc.second, slow)
			if held, _ := second.Held(); !tc.held(held) {
				t.Errorf("%d chunks held", held)
			}
			read(t, second, b, 0, b.Size())
		})
	}
}

// tear damages the journal's byte at an offset, which counts from the end below 0.
func tear(at int) func(*testing.T, string) {
	return func(t *testing.T, dir string) {
		b, err := os.ReadFile(dir + "/journal")
		if err != nil {
			t.Fatal(err)
		}
		if at < 0 {
			at += len(b)
		}
		b[at] ^= 1
		if err := os.WriteFile(dir+"/journal", b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestCloseWakesReaders(t *testing.T) {
	b := newBlob(10, 2, 8<<10)
	o := &origin{b: b, gate: make(chan struct{})}
	d := open(t, t.TempDir(), o, Options{})
	got := make(chan error, 1)
	go func() { got <- d.Ensure(context.Background(), 0, page) }()
	waitFor(t, func() bool { return len(o.asked()) == 1 })
	d.Stop()
	if err := <-got; !errors.Is(err, errClosed) {
		t.Error(err)
	}
	if err := d.Ensure(t.Context(), 0, page); !errors.Is(err, errClosed) {
		t.Error(err)
	}
}

func TestQuiet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := NewTraffic()
		tr.begin(Urgent)
		start := time.Now()
		time.AfterFunc(time.Second, func() { tr.end(Urgent) })
		if err := tr.Quiet(t.Context(), time.Second); err != nil || time.Since(start) != 2*time.Second {
			t.Errorf("%v after %v", err, time.Since(start))
		}
	})
}

// waitFor waits until something that another goroutine does has been done.
func waitFor(t *testing.T, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !done(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it does not happen")
		}
	}
}

func FuzzJournal(f *testing.F) {
	j := journalHeadOf(Boot{1}, Fingerprint{2})
	for n, c := range []uint32{3, 1, synced, 2, 0} {
		j = appendRecord(j, c, n)
	}
	f.Add(j)
	f.Add(j[:70])
	f.Fuzz(func(t *testing.T, b []byte) {
		same, other := newBitmap(10), newBitmap(10)
		ok := parseJournal(b, Boot{1}, Fingerprint{2}, same)
		if parseJournal(b, Boot{3}, Fingerprint{2}, other) != ok {
			t.Error("the run of the machine decides whether it is a journal")
		}
		for i := range 10 {
			if other.has(i) && !same.has(i) {
				t.Errorf("chunk %d is there in another run only", i)
			}
		}
	})
}
