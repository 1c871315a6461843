package convert

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/containerd/errdefs"

	"github.com/darter-p2p/darter/plugin/rafs/format"
)

// bootstrapFlags are the flags of the RAFS superblock that this package writes, but for
// that of xattrs.
const bootstrapFlags = format.FlagBlake3 | format.FlagExplicitOwners | format.FlagCompressZstd | format.FlagInlinedDigests

// shape says where the parts of a bootstrap are, in bytes. All but the slots of devices
// start at blocks.
type shape struct {
	blobs  uint64 // blob table
	inodes uint64
	blocks uint64 // contents of large directories and long links
	chunks uint64 // chunk table
	wishes uint64 // prefetch table
	end    uint64
}

// shapeOf lays a bootstrap out.
func shapeOf(blobs, chunks, wishes int, p *placer) shape {
	var s shape
	s.blobs = alignUp(format.DeviceOffset+uint64(blobs)*format.DeviceSlotSize, format.BlockSize)
	s.inodes = alignUp(s.blobs+uint64(blobs)*format.BlobSize, format.BlockSize)
	s.blocks = alignUp(s.inodes+p.at, format.BlockSize)
	s.chunks = s.blocks + uint64(p.blocks)*format.BlockSize
	s.wishes = alignUp(s.chunks+uint64(chunks)*format.ChunkEntrySize, format.BlockSize)
	s.end = alignUp(s.wishes+uint64(wishes)*format.PrefetchEntrySize, format.BlockSize)
	return s
}

// bootstrap writes the merged tree and the tables.
func (c *converter) bootstrap() error {
	var p placer
	if err := p.tree(c.root); err != nil {
		return err
	}
	c.image.Inodes = len(p.order)
	wishes, absent := c.prefetch()
	c.image.Prefetch, c.image.Absent = len(wishes), absent
	c.image.Bootstrap = filepath.Join(c.dir, "image.boot")
	f, err := os.OpenFile(c.image.Bootstrap, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return outputError(err)
	}
	w := &writer{out: bufio.NewWriterSize(f, 1<<20)}
	c.write(w, &p, shapeOf(len(c.blobs), len(c.table.chunks), len(wishes), &p), wishes)
	if err := errors.Join(w.err, w.out.Flush(), f.Close()); err != nil {
		return outputError(err)
	}
	return nil
}

func (c *converter) write(w *writer, p *placer, s shape, wishes []uint64) {
	c.head(w, p, s)
	w.padTo(s.blobs)
	for _, b := range c.blobs {
		w.write(b.AppendTo(w.buf[:0]))
	}
	w.padTo(s.inodes)
	for _, n := range p.order {
		w.padTo(s.inodes + (n.place.node-firstNode)*format.SlotSize)
		c.inode(w, n, s)
	}
	w.padTo(s.blocks)
	for _, n := range p.order {
		if n.isDir() || n.isLink() {
			w.write(content(n, w.buf[:0])[:n.blocks()])
			w.padTo(alignUp(w.at, format.BlockSize))
		}
	}
	w.padTo(s.chunks)
	for _, k := range c.table.chunks {
		e := format.Chunk{
			Digest: k.digest, Blob: k.blob, CompressedSize: k.packed, UncompressedSize: k.size,
			CompressedOffset: k.at, DeviceOffset: k.device, FileOffset: k.file, Index: k.index,
		}
		if k.packed < k.size {
			e.Flags = format.ChunkCompressed
		}
		w.write(e.AppendTo(w.buf[:0]))
	}
	w.padTo(s.wishes)
	for _, node := range wishes {
		w.write(binary.LittleEndian.AppendUint32(w.buf[:0], uint32(node)))
	}
	w.padTo(s.end)
}

// head writes both superblocks and the device table.
func (c *converter) head(w *writer, p *placer, s shape) {
	var deviceBlocks uint32
	var slots []byte
	for _, b := range c.blobs {
		blocks := uint32(b.UncompressedSize / format.BlockSize)
		deviceBlocks += blocks
		slots = format.DeviceSlot{ID: b.ID, Blocks: blocks}.AppendTo(slots)
	}
	w.padTo(format.SuperblockOffset)
	w.write(format.Superblock{
		FeatureCompat: format.CompatRAFSv6, FeatureIncompat: format.IncompatChunkedFile | format.IncompatDeviceTable,
		RootNode: firstNode, Inodes: uint64(len(p.order)), Blocks: deviceBlocks + uint32(s.end/format.BlockSize),
		MetaBlock: uint32(s.inodes/format.BlockSize) - 1,
		Devices:   uint16(len(c.blobs)), DeviceTable: format.DeviceOffset / format.DeviceSlotSize,
	}.AppendTo(nil))
	ext := format.Extension{
		Flags: bootstrapFlags, ChunkSize: uint32(c.o.ChunkSize),
		BlobTable:  format.Region{Offset: s.blobs, Size: uint64(len(c.blobs)) * format.BlobSize},
		ChunkTable: format.Region{Offset: s.chunks, Size: uint64(len(c.table.chunks)) * format.ChunkEntrySize},
	}
	if n := uint64(c.image.Prefetch); n > 0 {
		ext.PrefetchTable = format.Region{Offset: s.wishes, Size: n * format.PrefetchEntrySize}
	}
	if p.xattrs {
		ext.Flags |= format.FlagXattrs
	}
	w.write(ext.AppendTo(nil))
	w.write(slots)
}

// inode writes an inode and what stands behind it.
func (c *converter) inode(w *writer, n *node, s shape) {
	i := format.Inode{
		Extended: true, Layout: n.place.layout, XattrCount: n.place.xattrs, Mode: n.mode, Size: n.place.size,
		Number: n.place.number, UID: n.uid, GID: n.gid, Seconds: n.seconds, Nanos: n.nanos, Links: n.place.links,
	}
	switch {
	case n.isFile():
		i.Union = uint32(format.NewChunkFormat(uint64(c.o.ChunkSize)))
	case n.isDir(), n.isLink():
		i.Union = uint32(s.blocks/format.BlockSize) + n.place.block
	default:
		i.Union = n.device
	}
	start := w.at
	w.write(format.AppendXattrs(i.AppendTo(w.buf[:0]), n.xattrs))
	switch {
	case n.isFile() && len(n.chunks) > 0:
		w.padTo(start + uint64(i.ChunksAt()))
		for _, ref := range n.chunks {
			k := &c.table.chunks[ref]
			w.write(format.ChunkIndex{
				Device: uint8(k.blob + 1), Chunk: k.index, Block: uint32(k.device / format.BlockSize),
			}.AppendTo(w.buf[:0]))
		}
	case n.isDir(), n.isLink():
		w.write(content(n, w.buf[:0])[n.blocks():])
	}
}

// blocks returns how many bytes of a directory's or link's content are in blocks.
func (n *node) blocks() uint64 {
	if n.place.layout == format.LayoutInline {
		return n.place.size / format.BlockSize * format.BlockSize
	}
	return n.place.size
}

// content appends the content of a directory or link.
func content(n *node, b []byte) []byte {
	if n.isLink() {
		return append(b, n.target...)
	}
	return format.AppendDir(b, direntsOf(n))
}

// writer writes in sequence and knows where it is. It keeps its first error.
type writer struct {
	out *bufio.Writer
	at  uint64
	err error
	buf [format.BlobSize]byte // scratch
}

func (w *writer) write(b []byte) {
	if w.err == nil {
		_, w.err = w.out.Write(b)
	}
	w.at += uint64(len(b))
}

// padTo writes zeros up to an offset.
func (w *writer) padTo(offset uint64) {
	var zeros [format.BlockSize]byte
	if w.at > offset && w.err == nil {
		w.err = fmt.Errorf("at %d, past %d: %w", w.at, offset, errdefs.ErrInternal)
	}
	for w.at < offset && w.err == nil {
		w.write(zeros[:min(offset-w.at, uint64(len(zeros)))])
	}
}
