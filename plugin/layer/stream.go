package layer

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// zstdWindow is the largest window of a zstd frame that is accepted, in bytes, and so
// the bound on the memory of decoding: what `zstd --ultra -22` and `--long` (27) use.
const zstdWindow = 128 << 20

// readAhead is how much is asked of the source at a time, in bytes.
const readAhead = 64 << 10

// compressed reports whether a layer of the media type may be compressed, so that its
// first bytes decide. The error is ErrNotImplemented for what is no layer.
func compressed(ctx context.Context, mediaType string) (bool, error) {
	c, err := images.DiffCompression(ctx, mediaType)
	return c != "", err
}

// source is the compressed stream. It remembers its own failure, so that this is not
// taken for bad content.
type source struct {
	r   io.Reader
	err error
}

func (s *source) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	if err != nil && err != io.EOF {
		s.err = err
	}
	return n, err
}

// explain gives an error of decoding its class.
func (s *source) explain(err error) error {
	switch {
	case s.err != nil:
		return fmt.Errorf("%w: %w", errSource, s.err)
	case errors.Is(err, zstd.ErrWindowSizeExceeded), errors.Is(err, zstd.ErrDecoderSizeExceeded):
		return fmt.Errorf("decompress: window over %d bytes: %w: %w", zstdWindow, err, errdefs.ErrResourceExhausted)
	}
	return fmt.Errorf("decompress: %w: %w", err, errdefs.ErrDataLoss)
}

// decompress returns the archive in r and what releases the decoder. Without sniff the
// bytes are the archive.
func decompress(r io.Reader, sniff bool) (io.Reader, func(), error) {
	none := func() {}
	if !sniff {
		return r, none, nil
	}
	br := bufio.NewReaderSize(r, readAhead)
	head, err := br.Peek(8)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, none, err
	}
	switch {
	case isGzip(head):
		zr, err := gzip.NewReader(br)
		if err != nil {
			return nil, none, err
		}
		return zr, none, nil // its Close only repeats the last error
	case isZstd(head):
		// One decoder goroutine of ours is enough: hashing is slower than decoding.
		zr, err := zstd.NewReader(br, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(zstdWindow))
		if err != nil {
			return nil, none, err
		}
		return zr, zr.Close, nil
	}
	return br, none, nil
}

func isGzip(head []byte) bool { return bytes.HasPrefix(head, []byte{0x1f, 0x8b, 8}) }

// isZstd knows a frame and a skippable frame (RFC 8878, 3.1).
func isZstd(head []byte) bool {
	if len(head) < 4 {
		return false
	}
	magic := binary.LittleEndian.Uint32(head)
	return magic == 0xfd2fb528 || len(head) == 8 && magic&^0xf == 0x184d2a50
}
