package rafs

import (
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/containerd/errdefs"
	"github.com/darter-p2p/darter/plugin/rafs/format"
)

// Image is an open bootstrap. It may be used by several goroutines at once.
type Image struct {
	r          io.ReaderAt
	size       int64
	limits     Limits
	super      format.Superblock
	ext        format.Extension
	blobs      []*Blob
	prefetch   []uint32
	decompress *decompressor
}

// Open reads the superblocks and the tables of a bootstrap of size bytes. The
// reader must stay readable, from several goroutines, as long as the image is
// used; Open does not close it, and an Image needs no closing.
func Open(r io.ReaderAt, size int64, limits Limits) (*Image, error) {
	limits = limits.orDefault()
	if size > limits.Bytes {
		return nil, limits.exceeded("bytes of the bootstrap", size, limits.Bytes)
	}
	im := &Image{r: r, size: size, limits: limits, decompress: &decompressor{}}
	for _, step := range []func() error{im.readSuperblocks, im.readBlobs, im.readChunks, im.readPrefetch, im.checkRoot} {
		if err := step(); err != nil {
			return nil, fmt.Errorf("bootstrap: %w", err)
		}
	}
	return im, nil
}

func (im *Image) readSuperblocks() error {
	head := make([]byte, format.ExtensionOffset+format.ExtensionSize)
	if int64(len(head)) > im.size {
		head = head[:max(im.size, 0)]
	}
	if err := im.readFull(head, 0); err != nil {
		return err
	}
	if other := foreign(head); other != nil {
		return other
	}
	if len(head) < cap(head) {
		return malformed("%d bytes are too few", im.size)
	}
	if im.size%format.BlockSize != 0 {
		return malformed("cut off: %d bytes are no whole number of blocks", im.size)
	}
	var err error
	if im.super, err = format.ParseSuperblock(head[format.SuperblockOffset:]); err != nil {
		return err
	}
	im.ext, err = format.ParseExtension(head[format.ExtensionOffset:])
	return err
}

func (im *Image) checkRoot() error {
	root, err := im.Root()
	if err != nil {
		return err
	}
	if !root.IsDir() {
		return malformed("the root has mode %#o, it is no directory", root.Mode)
	}
	return nil
}

// Blobs returns the data blobs in the order of the device table, which is the
// order of the device= options of the kernel's mount. Do not change the slice.
func (im *Image) Blobs() []*Blob { return im.blobs }

// ChunkSize returns the length of the chunks that files are cut into; a file's
// last chunk is shorter.
func (im *Image) ChunkSize() uint32 { return im.ext.ChunkSize }

// Inodes returns how many inodes the bootstrap says it has. Nothing checks it.
func (im *Image) Inodes() uint64 { return im.super.Inodes }

// region returns where a table lies, after checking that it is in the file and
// behind the superblocks.
func (im *Image) region(g format.Region, what string) (offset int64, size int64, err error) {
	if g.Size == 0 {
		return 0, 0, nil
	}
	if g.Offset < format.DeviceOffset || g.Offset > uint64(im.size) || g.Size > uint64(im.size)-g.Offset {
		return 0, 0, malformed("cut off: the %s, %d bytes at %d, is not inside the file of %d bytes", what, g.Size, g.Offset, im.size)
	}
	return int64(g.Offset), int64(g.Size), nil
}

// readFull fills b with the bytes at an offset, all of which must exist.
func (im *Image) readFull(b []byte, offset int64) error {
	if offset < 0 || offset > im.size || int64(len(b)) > im.size-offset {
		return malformed("%d bytes at %d are not inside the file of %d bytes", len(b), offset, im.size)
	}
	n, err := im.r.ReadAt(b, offset)
	if n == len(b) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("read %d bytes at %d: %w", len(b), offset, err)
}

// toInt converts a number of the file that is known to be small.
func toInt(n uint64) int {
	if n > math.MaxInt {
		return math.MaxInt
	}
	return int(n)
}

func malformed(text string, args ...any) error {
	return fmt.Errorf(text+": %w", append(args, errdefs.ErrInvalidArgument)...)
}

func unsupported(text string, args ...any) error {
	return fmt.Errorf(text+": %w", append(args, errdefs.ErrNotImplemented)...)
}
