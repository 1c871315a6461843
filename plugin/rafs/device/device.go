package device

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"sync"
	"sync/atomic"
	"time"
)

// Files of a device's directory.
const (
	dataFile    = "data"
	journalFile = "journal"
)

// Events are what a device tells; nil fields are told nothing. They are called without
// a lock and return at once.
type Events struct {
	// Fetched is told of compressed bytes that came, and for whom they were asked.
	Fetched func(n Need, bytes int64)
	// Waited is told how long a reader waited for a chunk.
	Waited func(time.Duration)
	// Retried is told why a chunk is asked for again.
	Retried func(chunk Chunk, err error)
	// Failed is told of a chunk whose reader gets an error.
	Failed func(index int, chunk Chunk, err error)
	// Completed is told when all chunks are there and synced.
	Completed func()
	// SyncFailed is told that chunks are not sure against a power cut.
	SyncFailed func(error)
	// Full is told when the disk has no room for chunks, and not again for a while.
	Full func(error)
}

// Device is one blob. Its methods may be called concurrently.
type Device struct {
	cfg     Config
	dir     string
	layout  Layout
	source  Source
	events  Events
	traffic *Traffic

	data *os.File
	have *bitmap

	life context.Context
	end  context.CancelFunc
	work sync.WaitGroup

	mu      sync.Mutex
	pending map[int]*pending
	pattern pattern
	ahead   int // fetches of need Window
	afloat  afloat
	closed  bool

	keep      sync.Mutex // the journal; never taken with mu held
	journal   *journal
	unsynced  bool
	broken    error // why the journal is to be written anew
	completed atomic.Bool
	wake      chan struct{} // for the syncer
	boot      Boot
	print     Fingerprint
}

// Options are what a Device is given beside its configuration.
type Options struct {
	Fingerprint Fingerprint
	Boot        Boot
	Events      Events
	Traffic     *Traffic // shared by the devices of a process; nil = its own
}

// Open opens the device whose chunks are kept in dir, which it makes. One process at a
// time uses a directory.
func Open(dir string, layout Layout, source Source, cfg Config, o Options) (*Device, error) {
	d := &Device{
		cfg: cfg, dir: dir, layout: layout, source: source, events: o.Events, traffic: o.Traffic,
		have: newBitmap(layout.Chunks()), pending: map[int]*pending{}, wake: make(chan struct{}, 1),
		boot: o.Boot, print: o.Fingerprint,
	}
	if d.traffic == nil {
		d.traffic = NewTraffic()
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open device: %w", err)
	}
	if err := d.load(o); err != nil {
		return nil, fmt.Errorf("open device: %w", err)
	}
	d.life, d.end = context.WithCancel(context.Background())
	if !d.completed.Load() {
		d.work.Add(1)
		go d.syncer()
	}
	return d, nil
}

// load takes up what an earlier Device left.
func (d *Device) load(o Options) (err error) {
	journalPath := filepath.Join(d.dir, journalFile)
	old, err := os.ReadFile(journalPath)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	flags := os.O_RDWR | os.O_CREATE
	if !parseJournal(old, o.Boot, o.Fingerprint, d.have) {
		flags |= os.O_TRUNC
	}
	if d.data, err = os.OpenFile(filepath.Join(d.dir, dataFile), flags, 0o600); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = d.data.Close()
		}
	}()
	fi, err := d.data.Stat()
	if err != nil {
		return err
	}
	if fi.Size() != d.layout.Size() { // new, or somebody's hands
		if err := errors.Join(d.data.Truncate(0), d.data.Truncate(d.layout.Size())); err != nil {
			return err
		}
		d.have = newBitmap(d.layout.Chunks())
	}
	if err := d.data.Sync(); err != nil {
		return err
	}
	d.completed.Store(d.have.full())
	d.journal, err = writeJournal(journalPath, o.Boot, o.Fingerprint, d.have)
	return err
}

// Size returns the size of the device in bytes.
func (d *Device) Size() int64 { return d.layout.Size() }

// Path returns the data file: a plain file of the device once Complete is true.
func (d *Device) Path() string { return filepath.Join(d.dir, dataFile) }

// File returns the open data file. Ready says which of its bytes count.
func (d *Device) File() *os.File { return d.data }

// Complete reports whether every chunk is there, and sure against a power cut.
func (d *Device) Complete() bool { return d.completed.Load() }

// Held returns how many chunks are there, and of how many.
func (d *Device) Held() (held, all int) { return d.have.n - int(d.have.left.Load()), d.have.n }

// span returns the chunks [first, end) that have a byte in [off, off+n).
func (d *Device) span(off, n int64) (first, end int) {
	all := d.have.n
	first = sort.Search(all, func(i int) bool {
		c := d.layout.Chunk(i)
		return c.Offset+int64(c.Size) > off
	})
	end = first
	for end < all && d.layout.Chunk(end).Offset < off+n {
		end++
	}
	return first, end
}

// Ensure waits until the bytes [off, off+n) of the device are in the data file. Bytes
// that no chunk covers are zeros. It returns when ctx ends, and within a bounded time.
// A chunk that cannot be had is ErrUnavailable, one whose bytes are wrong ErrDataLoss;
// with ErrNotKept the bytes can be had by ReadAt.
func (d *Device) Ensure(ctx context.Context, off, n int64) error {
	if d.have.full() || n <= 0 {
		return nil
	}
	first, end := d.span(off, n)
	d.mu.Lock()
	d.noteLocked(off, n)
	if d.have.missing(first) >= end {
		d.mu.Unlock()
		return nil
	}
	if d.closed {
		d.mu.Unlock()
		return errClosed
	}
	if d.afloat.settle(time.Now()); d.afloat.any(first, end) {
		d.mu.Unlock()
		return ErrNotKept
	}
	waits := d.faultLocked(first, end)
	d.mu.Unlock()
	return d.await(ctx, waits, Urgent)
}

// Ready reports whether the bytes [off, off+n) of the device are in the data file: if so,
// they count as read, and if not, nothing is done for them. It does not wait.
func (d *Device) Ready(off, n int64) bool {
	if d.have.full() || n <= 0 {
		return true
	}
	if first, end := d.span(off, n); d.have.missing(first) < end {
		return false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.noteLocked(off, n)
	return true
}

// noteLocked takes a read into account, and fetches ahead of a reader who goes in order.
func (d *Device) noteLocked(off, n int64) {
	run := d.pattern.read(off, n)
	if far := ahead(run, int64(d.cfg.ReadAhead)); far > 0 && !d.closed && !d.afloat.full(time.Now()) {
		d.aheadLocked(off+n, far)
	}
}

// await waits for chunks. One that others fetch ahead is asked for again when it is late.
func (d *Device) await(ctx context.Context, waits []*pending, n Need) error {
	start := time.Now()
	late := time.NewTimer(patienceAhead)
	defer late.Stop()
	for _, p := range waits {
		for waiting := true; waiting; {
			select {
			case <-p.done:
				waiting = false
			case <-late.C:
				if n == Urgent {
					d.hurry(waits)
				}
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		if p.err != nil {
			return p.err
		}
	}
	if d.events.Waited != nil && n == Urgent {
		d.events.Waited(time.Since(start))
	}
	return nil
}

// Stop ends the fetches and makes what is there sure. Readers who wait, and those who
// come, get an error; File stays open for those who read it.
func (d *Device) Stop() {
	d.mu.Lock()
	d.closed = true
	d.mu.Unlock()
	d.end()
	d.work.Wait()
	d.sync()
}

// Close does what Stop does, and closes the files. It is called once.
func (d *Device) Close() error {
	d.Stop()
	d.keep.Lock()
	defer d.keep.Unlock()
	return errors.Join(d.journal.close(), d.data.Close())
}
