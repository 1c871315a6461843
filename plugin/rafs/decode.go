package rafs

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"sync"

	"github.com/containerd/errdefs"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
	"github.com/zeebo/blake3"

	"github.com/darter-p2p/darter/plugin/rafs/format"
)

// Decode makes a chunk's bytes out of those in the blob and checks them against
// its digest. The chunk is an index of Chunks; compressed must have its
// CompressedSize, dst its Size. Whatever compressed says, no more than dst is
// written. When the bytes are not the chunk's, the error is errdefs.ErrDataLoss
// and dst holds rubbish. Several goroutines may decode at once.
func (b *Blob) Decode(chunk int, compressed, dst []byte) error {
	c := &b.chunks[chunk]
	if len(compressed) != int(c.CompressedSize) || len(dst) != int(c.Size) {
		return fmt.Errorf("decode chunk %d of blob %s: given %d bytes for %d, it has %d for %d: %w",
			chunk, b.ID, len(compressed), len(dst), c.CompressedSize, c.Size, errdefs.ErrInvalidArgument)
	}
	err := b.expand(c, compressed, dst)
	if err == nil {
		err = b.Verify(chunk, dst)
	}
	if err != nil {
		return fmt.Errorf("decode chunk %d of blob %s: %w", chunk, b.ID, err)
	}
	return nil
}

// Verify checks uncompressed bytes against a chunk's digest. Others than the
// chunk's are errdefs.ErrDataLoss.
func (b *Blob) Verify(chunk int, data []byte) error {
	var sum [32]byte
	if b.Digester == format.DigestSHA256 {
		sum = sha256.Sum256(data)
	} else {
		sum = blake3.Sum256(data)
	}
	if want := b.chunks[chunk].Digest; sum != want {
		return fmt.Errorf("%s of the bytes is %x, of the chunk %x: %w", b.Digester, sum, want, errdefs.ErrDataLoss)
	}
	return nil
}

func (b *Blob) expand(c *Chunk, compressed, dst []byte) error {
	if !c.Compressed() {
		copy(dst, compressed)
		return nil
	}
	var n int
	var err error
	switch b.Compressor {
	case format.CompressNone:
		n = copy(dst, compressed)
	case format.CompressLZ4:
		n, err = lz4.UncompressBlock(compressed, dst)
	case format.CompressGzip:
		n, err = b.decompress.gzip(compressed, dst)
	case format.CompressZstd:
		n, err = b.decompress.zstd(compressed, dst)
	}
	if err != nil {
		return fmt.Errorf("%s: %w: %w", b.Compressor, err, errdefs.ErrDataLoss)
	}
	if n != len(dst) {
		return fmt.Errorf("%s: %d bytes came out, not %d: %w", b.Compressor, n, len(dst), errdefs.ErrDataLoss)
	}
	return nil
}

// decompressor keeps decoders for the next chunk. All blobs of an image share it.
type decompressor struct {
	once   sync.Once
	zstds  *zstd.Decoder
	failed error
	gzips  sync.Pool
}

func (d *decompressor) zstd(compressed, dst []byte) (int, error) {
	d.once.Do(func() {
		d.zstds, d.failed = zstd.NewReader(nil,
			zstd.WithDecoderConcurrency(0), // as many at once as there are processors
			zstd.WithDecoderLowmem(true),
			zstd.WithDecoderMaxMemory(4*format.MaxChunkSize),
			zstd.IgnoreChecksum(true),        // the digest is the stronger one
			zstd.WithDecodeAllCapLimit(true)) // never beyond dst
	})
	if d.failed != nil {
		return 0, d.failed
	}
	out, err := d.zstds.DecodeAll(compressed, dst[:0:len(dst)])
	return len(out), err
}

func (d *decompressor) gzip(compressed, dst []byte) (int, error) {
	r, _ := d.gzips.Get().(*gzip.Reader)
	if r == nil {
		r = new(gzip.Reader)
	}
	defer d.gzips.Put(r)
	if err := r.Reset(bytes.NewReader(compressed)); err != nil {
		return 0, err
	}
	n, err := io.ReadFull(r, dst)
	if err != nil {
		return n, err
	}
	// The end must follow: gzip's own check sum stands there.
	if more, err := io.Copy(io.Discard, io.LimitReader(r, 1)); err != nil || more > 0 {
		return n + int(more), err
	}
	return n, nil
}
