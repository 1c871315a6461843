package device

import (
	"bytes"
	"context"
	"io"
	"sync/atomic"
	"testing"

	"github.com/containerd/errdefs"
)

// witness is a Source whose answers nobody has verified where that is allowed.
type witness struct {
	*origin
	accused atomic.Int32
}

func (w *witness) Open(ctx context.Context, a Ask) (io.ReadCloser, error) {
	body, err := w.origin.Open(ctx, a)
	if err != nil || a.Verified || a.Need != Urgent {
		return body, err
	}
	return testimony{body, w}, nil
}

type testimony struct {
	io.ReadCloser
	w *witness
}

func (t testimony) Accuse(context.Context) { t.w.accused.Add(1) }

// Wrong bytes that nobody had verified are read again verified, at once and beside the
// attempts that count. Who sent them is accused if those were right, and only then.
func TestUnverified(t *testing.T) {
	flip := func(b []byte) []byte {
		b = bytes.Clone(b)
		b[len(b)/2] ^= 1
		return b
	}
	for name, tc := range map[string]struct {
		spoil   func(n int, a Ask, b []byte) ([]byte, error)
		reads   bool
		asks    []Ask // without their ranges
		accused int32
	}{
		"right": {reads: true, asks: []Ask{{Need: Urgent}}},
		"wrong": {
			spoil: func(_ int, a Ask, b []byte) ([]byte, error) {
				if !a.Verified {
					return flip(b), nil
				}
				return b, nil
			},
			reads: true, asks: []Ask{{Need: Urgent}, {Need: Urgent, Verified: true}}, accused: 1,
		},
		"wrong in the network, too": {
			spoil: func(_ int, a Ask, b []byte) ([]byte, error) {
				if !a.Origin {
					return flip(b), nil
				}
				return b, nil
			},
			reads: true,
			asks:  []Ask{{Need: Urgent}, {Need: Urgent, Verified: true}, {Need: Urgent, Verified: true, Origin: true}},
		},
		"wrong in the image": {
			spoil: func(_ int, _ Ask, b []byte) ([]byte, error) { return flip(b), nil },
			asks:  []Ask{{Need: Urgent}, {Need: Urgent, Verified: true}, {Need: Urgent, Verified: true, Origin: true}},
		},
		"short": {
			spoil: func(_ int, a Ask, b []byte) ([]byte, error) {
				if !a.Verified {
					return b[:len(b)-1], nil
				}
				return b, nil
			},
			reads: true, asks: []Ask{{Need: Urgent}, {Need: Urgent, Verified: true, Origin: true}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBlob(7, 3, 64<<10)
			o := &witness{origin: &origin{b: b, spoil: tc.spoil}}
			cfg := Default()
			cfg.Attempts = 2
			d, err := Open(t.TempDir(), b, o, cfg, Options{})
			if err != nil {
				t.Fatal(err)
			}
			c := b.chunks[1]
			err = d.Ensure(t.Context(), c.Offset, 1)
			if tc.reads != (err == nil) || err != nil && !errdefs.IsDataLoss(err) {
				t.Error(err)
			}
			if err := d.Close(); err != nil {
				t.Error(err)
			}
			asks := o.asked()
			for i := range asks {
				asks[i].Offset, asks[i].Length = 0, 0
			}
			if len(asks) != len(tc.asks) {
				t.Fatalf("asked %+v", asks)
			}
			for i, a := range asks {
				if a != tc.asks[i] {
					t.Errorf("question %d: %+v, want %+v", i, a, tc.asks[i])
				}
			}
			if n := o.accused.Load(); n != tc.accused {
				t.Errorf("%d accusations, want %d", n, tc.accused)
			}
		})
	}
}
