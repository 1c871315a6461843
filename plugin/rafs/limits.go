package rafs

import (
	"cmp"
	"fmt"

	"github.com/containerd/errdefs"

	"github.com/darter-p2p/darter/plugin/rafs/format"
)

// Limits bound what a bootstrap may cost its reader. Beyond one, Open and Walk
// return errdefs.ErrResourceExhausted. A zero stands for the default.
type Limits struct {
	Bytes   int64 // length of the bootstrap
	Blobs   int   // data blobs
	Chunks  int   // entries of the chunk table; each takes 56 bytes of memory
	Entries int   // directory entries that one Walk visits
	Depth   int   // directories inside directories that one Walk enters
}

// DefaultLimits allow what nydus-image can write, but for the chunks: four
// million of them are 224 MiB of memory, and 4 TiB of 1 MiB chunks.
func DefaultLimits() Limits {
	return Limits{
		Bytes:   2 << 30,
		Blobs:   format.MaxBlobs,
		Chunks:  4 << 20,
		Entries: 16 << 20,
		Depth:   1024,
	}
}

func (l Limits) orDefault() Limits {
	d := DefaultLimits()
	return Limits{
		Bytes:   cmp.Or(l.Bytes, d.Bytes),
		Blobs:   cmp.Or(l.Blobs, d.Blobs),
		Chunks:  cmp.Or(l.Chunks, d.Chunks),
		Entries: cmp.Or(l.Entries, d.Entries),
		Depth:   cmp.Or(l.Depth, d.Depth),
	}
}

func (l Limits) exceeded(what string, has, may any) error {
	return fmt.Errorf("%s: %v, at most %v are allowed: %w", what, has, may, errdefs.ErrResourceExhausted)
}
