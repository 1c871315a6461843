// Package device holds one data blob of a RAFS v6 image as the kernel's EROFS wants
// it: a file of uncompressed chunks at their device addresses. Chunks come when they
// are read, are verified, and are kept in a sparse file; one that is all there is a
// plain file. See DESIGN.md.
package device

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/containerd/errdefs"
)

// Chunk is where a chunk lies.
type Chunk struct {
	Offset     int64 // in the device, in bytes
	Size       int   // in the device, in bytes; more than 0
	BlobOffset int64 // in the blob, in bytes
	BlobSize   int   // in the blob, compressed, in bytes
}

// Layout is what a bootstrap says of one blob. Methods may be called concurrently and
// do not block.
type Layout interface {
	// Size returns the size of the device in bytes.
	Size() int64
	// Chunks returns how many chunks there are.
	Chunks() int
	// Chunk returns chunk i; they are sorted by Offset and do not overlap.
	Chunk(i int) Chunk
	// Decode turns the compressed bytes of chunk i into dst, whose length is the chunk's
	// Size, and checks them against the chunk's digest. An error is ErrDataLoss.
	Decode(i int, dst, compressed []byte) error
}

// Need says who waits for bytes.
type Need uint8

// Needs.
const (
	Background Need = iota // nobody
	Window                 // a reader, soon
	Urgent                 // a reader, now
)

// String returns the class's name on the wire.
func (n Need) String() string {
	return [...]string{Background: "background", Window: "window", Urgent: "urgent"}[n]
}

// Ask is a question to a Source: Length bytes of the blob from Offset on.
type Ask struct {
	Offset, Length int64
	Need           Need
	// Origin asks for the registry's own bytes, past the piece network.
	Origin bool
	// Verified asks for bytes that the piece network has verified. Without it the answer to
	// an Urgent question may be an Unverified.
	Verified bool
}

// Unverified is implemented by bodies whose bytes are as one node sent them. Accuse says
// that they were wrong, and that the same range, verified, had the right ones. It is
// called after Close, and returns soon.
type Unverified interface {
	io.ReadCloser
	Accuse(ctx context.Context)
}

// Source gives the bytes of a blob as the registry has it. Open may be called
// concurrently; ctx bounds the reading, too. The caller closes the body, which ends in
// an error where it is short.
type Source interface {
	Open(ctx context.Context, a Ask) (io.ReadCloser, error)
}

// ErrGone is wrapped by a Source's error when there is nobody to ask for the moment:
// such an error does not count as a failure until Config.Patience is over.
var ErrGone = errors.New("nobody gives bytes")

// errClosed is a device that is not used any more.
var errClosed = fmt.Errorf("the device is closed: %w", errdefs.ErrFailedPrecondition)
