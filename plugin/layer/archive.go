package layer

import (
	"context"
	"errors"
	"io"
	"sync"

	"github.com/opencontainers/go-digest"
)

// Archive is the uncompressed archive of a layer, read while it is decompressed and
// hashed beside. One goroutine uses it.
type Archive struct {
	pipe   *pipe
	cancel context.CancelCauseFunc
	wg     sync.WaitGroup
	sum    digest.Digest
}

// Open starts to decompress the layer r. mediaType decides as in Unpack. The error is
// ErrNotImplemented for what is no layer. The caller closes the archive.
func Open(ctx context.Context, r io.Reader, mediaType string) (*Archive, error) {
	sniff, err := compressed(ctx, mediaType)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	a := &Archive{pipe: newPipe(ctx), cancel: cancel}
	a.wg.Go(func() { a.pipe.fill(r, sniff) })
	a.wg.Go(func() { a.sum = a.pipe.sum() })
	return a, nil
}

// Read reads the archive. Its errors are those of Unpack.
func (a *Archive) Read(b []byte) (int, error) { return a.pipe.Read(b) }

// Finish reads what is left, for it counts for the diffID, and returns that and the
// archive's length in bytes.
func (a *Archive) Finish() (diffID digest.Digest, size int64, err error) {
	if _, err := io.Copy(io.Discard, a.pipe); err != nil {
		return "", 0, err
	}
	a.wg.Wait()
	return a.sum, a.pipe.bytes, nil
}

// Close stops what runs and waits for it, and so for a Read of the source that is
// under way. It may be called after Finish.
func (a *Archive) Close() {
	a.cancel(errStopped)
	a.wg.Wait()
}

// errStopped ends the pipe when the archive is not read to its end.
var errStopped = errors.New("unpacking stopped")
