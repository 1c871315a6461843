package convert

import (
	"bufio"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/containerd/errdefs"
	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"

	"github.com/darter-p2p/darter/plugin/layer"
	"github.com/darter-p2p/darter/plugin/rafs/format"
)

// Layer is a layer of the ordinary image.
type Layer struct {
	MediaType string
	// DiffID is what the uncompressed layer must have; "" to take it as it is.
	DiffID digest.Digest
	// Open starts to read the layer as the registry has it. The reader ends with ctx.
	Open func(ctx context.Context) (io.ReadCloser, error)
}

// Image is what Convert made: files in its directory, and what they are.
type Image struct {
	Blobs     []Blob // in the order of their layers
	Bootstrap string // path of the bootstrap
	Inodes    int
	Layers    []LayerReport
	Prefetch  int      // entries of the prefetch table
	Absent    []string // names of Options.Prefetch that the image does not have
}

// Blob is a data blob. Its path is named by its digest.
type Blob struct {
	Digest digest.Digest
	Path   string
	Size   int64
	Layer  int // which layer it is of, from 0
}

// LayerReport says what became of a layer.
type LayerReport struct {
	Bytes   int64 // of the uncompressed archive
	Entries int   // of the archive
	Chunks  int   // stored in its blob
	Stored  int64 // bytes of them before compression
	Blob    int   // in Image.Blobs, -1 if the layer brought no new bytes
}

// Convert makes a Nydus image out of layers, the lowest first, and leaves its parts in
// dir, an existing directory that nobody else writes to.
//
// A layer without new bytes gets no blob. After an error dir may hold parts of the image.
// Classes: ErrInvalidArgument for an archive that cannot be unpacked or options that are
// wrong, ErrDataLoss for a broken stream or a wrong DiffID, ErrNotImplemented for what
// neither containerd nor RAFS can hold, ErrResourceExhausted for an image over the limits
// or a full disk. Errors of Open, of its reader and of ctx are returned wrapped.
func Convert(ctx context.Context, layers []Layer, dir string, o Options) (*Image, error) {
	o, err := o.filled()
	if err != nil {
		return nil, err
	}
	c, err := newConverter(dir, o)
	if err != nil {
		return nil, err
	}
	for i, l := range layers {
		if err := c.layer(ctx, i, l); err != nil {
			return nil, fmt.Errorf("layer %d of %d: %w", i+1, len(layers), err)
		}
	}
	if err := c.bootstrap(); err != nil {
		return nil, fmt.Errorf("bootstrap: %w", err)
	}
	return c.image, nil
}

// converter is an image under construction.
type converter struct {
	dir    string
	o      Options
	enc    *zstd.Encoder
	budget *budget
	table  *chunkTable
	blobs  []format.Blob
	root   *node
	image  *Image
	zeros  []byte
}

func newConverter(dir string, o Options) (*converter, error) {
	// A chunk is checked by its digest: no checksum in the frame. The window is a chunk.
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(o.Workers), zstd.WithEncoderCRC(false),
		zstd.WithWindowSize(o.ChunkSize))
	if err != nil {
		return nil, fmt.Errorf("compressor: %w", err)
	}
	b := &budget{left: o.Limits}
	return &converter{
		dir: dir, o: o, enc: enc, budget: b,
		table: &chunkTable{known: make(map[[32]byte]uint32), budget: b},
		root:  newDir(), image: &Image{}, zeros: make([]byte, o.ChunkSize),
	}, nil
}

// layer converts one layer and puts its tree over the others.
func (c *converter) layer(ctx context.Context, i int, l Layer) (err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r, err := l.Open(ctx)
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	defer r.Close() // it was read to its end, or there is an error already
	archive, err := layer.Open(ctx, r, l.MediaType)
	if err != nil {
		return err
	}
	defer archive.Close()

	f, err := os.CreateTemp(c.dir, "blob-")
	if err != nil {
		return outputError(err)
	}
	defer f.Close()           // a second time
	defer os.Remove(f.Name()) // it has its own name by then, or is of no use
	out := bufio.NewWriterSize(f, 1<<20)
	pack := newPacker(ctx, out, c.enc, c.o.Workers, c.o.ChunkSize)
	data := &blobChunks{
		table: c.table, pack: pack, blob: uint32(len(c.blobs)), first: len(c.table.chunks),
		size: c.o.ChunkSize, zeros: c.zeros, hole: -1,
	}
	src := &source{r: archive}
	a := &applier{ctx: ctx, root: newDir(), bottom: i == 0, data: data, budget: c.budget}
	err = a.apply(src)
	placed, packErr := pack.finish()
	switch {
	case packErr != nil:
		return packErr
	case src.err != nil:
		return src.err
	case err != nil:
		return err
	}
	diffID, size, err := archive.Finish()
	if err != nil {
		return err
	}
	if l.DiffID != "" && diffID != l.DiffID {
		return fmt.Errorf("the archive is %s, the image's config says %s: %w", diffID, l.DiffID, errdefs.ErrDataLoss)
	}
	report := LayerReport{Bytes: size, Entries: a.entries, Chunks: len(placed), Blob: -1}
	chunks := c.table.chunks[data.first:]
	for k := range chunks {
		chunks[k].at, chunks[k].packed = placed[k].at, placed[k].size
		report.Stored += int64(chunks[k].size)
	}
	if len(chunks) > 0 {
		report.Blob = len(c.blobs)
		if err := c.blob(i, chunks, data.device, pack, out, f); err != nil {
			return err
		}
	}
	c.image.Layers = append(c.image.Layers, report)
	merge(c.root, a.root)
	return nil
}

// blob finishes the file of a blob.
func (c *converter) blob(layer int, chunks []chunk, device uint64, pack *packer, out *bufio.Writer, f *os.File) error {
	if len(c.blobs) == format.MaxBlobs {
		return fmt.Errorf("more than %d layers with files: %w", format.MaxBlobs, errdefs.ErrNotImplemented)
	}
	size := pack.size
	if _, err := pack.write(tarHeader(partData, size)); err != nil {
		return err
	}
	tail := newTail(chunks, size, device, [32]byte(pack.sum.Sum(nil)))
	if _, err := pack.write(tail.bytes); err != nil {
		return err
	}
	if err := errors.Join(out.Flush(), f.Chmod(0o644), f.Close()); err != nil {
		return outputError(err)
	}
	id := hex.EncodeToString(pack.sum.Sum(nil))
	path := filepath.Join(c.dir, id)
	if err := os.Rename(f.Name(), path); err != nil {
		return outputError(err)
	}
	c.image.Blobs = append(c.image.Blobs, Blob{
		Digest: digest.NewDigestFromEncoded(digest.SHA256, id), Path: path, Size: int64(pack.size), Layer: layer,
	})
	c.blobs = append(c.blobs, format.Blob{
		ID: id, Index: uint32(len(c.blobs)), ChunkSize: uint32(c.o.ChunkSize), Chunks: uint32(len(chunks)),
		Compressor: format.CompressZstd, Digester: format.DigestBlake3, Features: blobFeatures,
		CompressedSize: pack.size, UncompressedSize: device,
		TOCSize: tail.toc, TOCDigest: tail.tocDigest,
		Meta: format.Region{Offset: tail.metaAt, Size: tail.metaSize}, MetaUncompressed: tail.metaSize,
	})
	return nil
}

// source remembers a failure of the archive's reader, which is none of the archive's.
type source struct {
	r   io.Reader
	err error
}

func (s *source) Read(b []byte) (int, error) {
	n, err := s.r.Read(b)
	if err != nil && err != io.EOF {
		s.err = err
	}
	return n, err
}
