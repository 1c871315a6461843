package convert

import (
	"fmt"
	"math/bits"
	"runtime"

	"github.com/containerd/errdefs"
)

// Bounds of a chunk's size, in bytes.
const (
	MinChunkSize     = 64 << 10
	MaxChunkSize     = 1 << 20
	DefaultChunkSize = 1 << 20
)

// Options are what Convert may be told. The zero value gives what Default does.
type Options struct {
	// ChunkSize is how long the parts are that files are cut into, in bytes: a power of
	// two from 64 KiB to 1 MiB. Smaller ones bring less that was not asked for; larger
	// ones compress better.
	ChunkSize int
	// Workers is how many chunks are compressed at once. The result does not depend on it.
	Workers int
	// Prefetch names files that are read first, in order, as paths in the image; a folder
	// stands for all below it. They become the prefetch table of the bootstrap. What the
	// image does not have is left out, and is Image.Absent.
	Prefetch []string
	// Limits bound the memory. The zero value means DefaultLimits.
	Limits Limits
}

// Default returns options with chunks of 1 MiB and a worker for each core, at most 8.
func Default() Options {
	return Options{
		ChunkSize: DefaultChunkSize,
		Workers:   min(runtime.GOMAXPROCS(0), 8),
		Limits:    DefaultLimits(),
	}
}

// filled returns o with defaults for what is not set.
func (o Options) filled() (Options, error) {
	d := Default()
	if o.ChunkSize == 0 {
		o.ChunkSize = d.ChunkSize
	}
	if o.Workers <= 0 {
		o.Workers = d.Workers
	}
	if o.Limits == (Limits{}) {
		o.Limits = d.Limits
	}
	if o.ChunkSize < MinChunkSize || o.ChunkSize > MaxChunkSize || bits.OnesCount(uint(o.ChunkSize)) != 1 {
		return o, fmt.Errorf("chunk size %d is not a power of two from %d to %d: %w",
			o.ChunkSize, MinChunkSize, MaxChunkSize, errdefs.ErrInvalidArgument)
	}
	return o, checkPrefetch(o.Prefetch)
}
