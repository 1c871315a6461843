package device

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/containerd/errdefs"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const page = 4 << 10

// blob is a made-up blob: chunks at page boundaries with a gap here and there. On the
// wire a chunk is its bytes, each xor 0x55.
type blob struct {
	chunks []Chunk
	sums   [][32]byte
	plain  []byte // the device
	wire   []byte // the blob
}

func newBlob(seed uint64, chunks, size int) *blob {
	r := rand.New(rand.NewPCG(seed, 1))
	b := &blob{}
	for range chunks {
		n := size/2 + r.IntN(size/2)
		data := make([]byte, n)
		for i := range data {
			data[i] = byte(r.Uint32())
		}
		b.chunks = append(b.chunks, Chunk{Offset: int64(len(b.plain)), Size: n, BlobOffset: int64(len(b.wire)), BlobSize: n})
		b.sums = append(b.sums, sha256.Sum256(data))
		b.plain = append(b.plain, data...)
		b.plain = append(b.plain, make([]byte, (page-len(b.plain)%page)%page+page*r.IntN(2))...)
		for _, x := range data {
			b.wire = append(b.wire, x^0x55)
		}
	}
	return b
}

func (b *blob) Size() int64       { return int64(len(b.plain)) }
func (b *blob) Chunks() int       { return len(b.chunks) }
func (b *blob) Chunk(i int) Chunk { return b.chunks[i] }

func (b *blob) Decode(i int, dst, compressed []byte) error {
	for k, x := range compressed {
		dst[k] = x ^ 0x55
	}
	if sha256.Sum256(dst) != b.sums[i] {
		return fmt.Errorf("digest: %w", errdefs.ErrDataLoss)
	}
	return nil
}

// origin is a Source of a blob that a test may lead astray.
type origin struct {
	b    *blob
	gate chan struct{} // nil, or each Open takes one
	// spoil may replace the answer to the nth question, from 0 on.
	spoil func(n int, a Ask, body []byte) ([]byte, error)

	mu   sync.Mutex
	asks []Ask
}

func (o *origin) Open(ctx context.Context, a Ask) (io.ReadCloser, error) {
	o.mu.Lock()
	n := len(o.asks)
	o.asks = append(o.asks, a)
	o.mu.Unlock()
	if o.gate != nil {
		select {
		case <-o.gate:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	body := o.b.wire[a.Offset : a.Offset+a.Length]
	if o.spoil != nil {
		var err error
		if body, err = o.spoil(n, a, body); err != nil {
			return nil, err
		}
	}
	return io.NopCloser(bytes.NewReader(body)), nil
}

func (o *origin) asked() []Ask {
	o.mu.Lock()
	defer o.mu.Unlock()
	return append([]Ask(nil), o.asks...)
}

var errTest = errors.New("as the test wants it")

func open(t *testing.T, dir string, o *origin, opts Options, change ...func(*Config)) *Device {
	t.Helper()
	cfg := Default()
	for _, c := range change {
		c(&cfg)
	}
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	d, err := Open(dir, o.b, o, cfg, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

// read reads a range of the device and compares it with the blob.
func read(t *testing.T, d *Device, b *blob, off, n int64) {
	t.Helper()
	n = min(n, b.Size()-off)
	if err := d.Ensure(t.Context(), off, n); err != nil {
		t.Fatalf("read %d at %d: %v", n, off, err)
	}
	got := make([]byte, n)
	if _, err := d.File().ReadAt(got, off); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, b.plain[off:off+n]) {
		t.Fatalf("wrong bytes in %d at %d", n, off)
	}
}
