package rafs

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
	"github.com/zeebo/blake3"

	"github.com/darter-p2p/darter/plugin/rafs/format"
)

// built is a bootstrap made by hand, with what nydus-image does not write by
// itself: several blobs of different kinds, all kinds of inodes.
type built struct {
	nodes    []*builtNode
	blobs    []format.Blob
	data     [][]byte // of the blobs
	chunks   []format.Chunk
	prefetch []uint32
}

type builtNode struct {
	in     format.Inode
	xattrs []format.Xattr
	tail   []byte          // inline content or chunk indexes
	names  []format.Dirent // of a directory; Node is an index of built.nodes
	parent int
	at     int64
}

const (
	builtMeta  = 2 * format.BlockSize // blocks 0 and 1 are the superblocks and the blob table
	builtChunk = 4 * format.BlockSize // chunk size of the image
)

func (b *built) node(n *builtNode) int {
	n.in.Links = max(n.in.Links, 1)
	b.nodes = append(b.nodes, n)
	return len(b.nodes) - 1
}

func (b *built) dir(names ...format.Dirent) int {
	return b.node(&builtNode{in: format.Inode{Extended: true, Mode: format.ModeDir | 0o755, Layout: format.LayoutInline, Links: 2}, names: names})
}

// blob adds a blob that has some contents, each cut into chunks, and returns the
// chunk indexes of each content.
func (b *built) blob(c format.Compressor, d format.Digester, contents ...[]byte) [][]byte {
	var data []byte
	var device uint64
	index := uint32(0)
	var all [][]byte
	for _, content := range contents {
		var indexes []byte
		for at, part := range slices.Collect(slices.Chunk(content, builtChunk)) {
			packed := pack(c, part)
			k := format.Chunk{
				Blob: uint32(len(b.blobs)), Flags: format.ChunkCompressed, CompressedOffset: uint64(len(data)), CompressedSize: uint32(len(packed)),
				UncompressedSize: uint32(len(part)), DeviceOffset: device, FileOffset: uint64(at) * builtChunk, Index: index,
			}
			if c == format.CompressNone {
				k.Flags = 0
			}
			if d == format.DigestSHA256 {
				k.Digest = sha256.Sum256(part)
			} else {
				k.Digest = digestOf(part)
			}
			indexes = format.ChunkIndex{Device: uint8(len(b.blobs) + 1), Chunk: index, Block: uint32(device >> format.BlockBits)}.AppendTo(indexes)
			b.chunks = append(b.chunks, k)
			data = append(data, packed...)
			device += uint64(len(part)+format.BlockSize-1) &^ (format.BlockSize - 1)
			index++
		}
		all = append(all, indexes)
	}
	b.blobs = append(b.blobs, format.Blob{
		ID: fmt.Sprintf("%x", sha256.Sum256(data)), Index: uint32(len(b.blobs)), ChunkSize: builtChunk, Chunks: index,
		Compressor: c, Digester: d, Features: format.BlobAligned, CompressedSize: uint64(len(data)), UncompressedSize: device,
	})
	b.data = append(b.data, data)
	return all
}

func digestOf(b []byte) [32]byte { return blake3.Sum256(b) }

func pack(c format.Compressor, part []byte) []byte {
	var out bytes.Buffer
	switch c {
	case format.CompressNone:
		return part
	case format.CompressLZ4:
		packed := make([]byte, lz4.CompressBlockBound(len(part)))
		n, err := lz4.CompressBlock(part, packed, nil)
		if err != nil || n == 0 {
			panic(fmt.Sprint("lz4: ", n, err))
		}
		return packed[:n]
	case format.CompressGzip:
		w := gzip.NewWriter(&out)
		_, _ = w.Write(part)
		_ = w.Close()
	case format.CompressZstd:
		w, _ := zstd.NewWriter(nil)
		return w.EncodeAll(part, nil)
	}
	return out.Bytes()
}

func (b *built) file(indexes []byte, size int) int {
	return b.node(&builtNode{
		in: format.Inode{
			Extended: true, Layout: format.LayoutChunked, Mode: format.ModeRegular | 0o644, Size: uint64(size),
			Union: uint32(format.NewChunkFormat(builtChunk)), UID: 1 << 20, GID: 7, Seconds: 1700000000, Nanos: 5,
		},
		tail: indexes,
	})
}

// bytes lays the image out. Node 0 of b.nodes is the root.
func (b *built) bytes() []byte {
	var plain []*builtNode // directories in blocks of their own
	at := int64(builtMeta)
	for _, n := range b.nodes {
		if n.names != nil {
			n.tail = b.dirBytes(n)
			n.in.Size = uint64(len(n.tail))
			if len(n.tail) > format.BlockSize-200 {
				n.in.Layout = format.LayoutPlain
				plain = append(plain, n)
			}
		}
		n.in.XattrCount, _ = format.XattrCount(n.xattrs)
		length := int64(n.in.ChunksAt() + len(n.tail))
		if n.in.Layout == format.LayoutPlain {
			length = int64(n.in.ChunksAt())
		}
		if at/format.BlockSize != (at+length-1)/format.BlockSize && length < format.BlockSize {
			at = (at + format.BlockSize - 1) &^ (format.BlockSize - 1)
		}
		n.at = at
		at = (at + length + format.SlotSize - 1) &^ (format.SlotSize - 1)
	}
	at = (at + format.BlockSize - 1) &^ (format.BlockSize - 1)
	for _, n := range plain {
		n.in.Union = uint32(at >> format.BlockBits)
		at += (int64(len(n.tail)) + format.BlockSize - 1) &^ (format.BlockSize - 1)
	}
	chunksAt := at
	at += (int64(len(b.chunks))*format.ChunkEntrySize + format.BlockSize - 1) &^ (format.BlockSize - 1)
	out := make([]byte, at)
	b.putHead(out, chunksAt)
	for _, n := range b.nodes {
		tail := n.tail
		if n.names != nil {
			tail = b.dirBytes(n) // now with node numbers
		}
		w := format.AppendXattrs(n.in.AppendTo(nil), n.xattrs)
		copy(out[n.at:], w)
		switch n.in.Layout {
		case format.LayoutPlain:
			if len(tail) == 0 {
				break
			}
			copy(out[int64(n.in.Union)<<format.BlockBits:], tail)
		case format.LayoutChunked:
			copy(out[n.at+int64(n.in.ChunksAt()):], tail)
		case format.LayoutInline:
			copy(out[n.at+int64(len(w)):], tail)
		}
	}
	return out
}

func (b *built) number(i int) uint64 { return uint64(b.nodes[i].at-builtMeta)/format.SlotSize + 128 }

func (b *built) dirBytes(n *builtNode) []byte {
	self := slices.Index(b.nodes, n)
	names := []format.Dirent{{Node: uint64(self), Type: format.TypeDir, Name: "."}, {Node: uint64(n.parent), Type: format.TypeDir, Name: ".."}}
	names = append(names, n.names...)
	slices.SortFunc(names, func(x, y format.Dirent) int { return strings.Compare(x.Name, y.Name) })
	for i := range names {
		names[i].Node = b.number(int(names[i].Node))
	}
	return format.AppendDir(nil, names)
}

func (b *built) putHead(out []byte, chunksAt int64) {
	put := func(at int64, what interface{ AppendTo([]byte) []byte }) int64 {
		return at + int64(copy(out[at:], what.AppendTo(nil)))
	}
	put(format.SuperblockOffset, format.Superblock{
		FeatureCompat: format.CompatRAFSv6, FeatureIncompat: format.IncompatChunkedFile | format.IncompatDeviceTable,
		RootNode: uint16(b.number(0)), Inodes: uint64(len(b.nodes)), BuildTime: 1600000000, BuildNanos: 9, Blocks: uint32(len(out) >> format.BlockBits),
		MetaBlock: builtMeta>>format.BlockBits - 1, Devices: uint16(len(b.blobs)), DeviceTable: format.DeviceOffset / format.DeviceSlotSize,
	})
	prefetchAt := int64(format.BlockSize + 15*format.BlobSize)
	put(format.ExtensionOffset, format.Extension{
		Flags: format.FlagCompressZstd | format.FlagBlake3, ChunkSize: builtChunk,
		BlobTable:     format.Region{Offset: format.BlockSize, Size: uint64(len(b.blobs)) * format.BlobSize},
		ChunkTable:    format.Region{Offset: uint64(chunksAt), Size: uint64(len(b.chunks)) * format.ChunkEntrySize},
		PrefetchTable: format.Region{Offset: uint64(prefetchAt), Size: uint64(len(b.prefetch)) * 4},
	})
	slots, table := int64(format.DeviceOffset), int64(format.BlockSize)
	for _, e := range b.blobs {
		slots = put(slots, format.DeviceSlot{ID: e.ID, Blocks: uint32(e.UncompressedSize >> format.BlockBits)})
		table = put(table, e)
	}
	for _, i := range b.prefetch {
		n := b.number(int(i))
		copy(out[prefetchAt:], []byte{byte(n), byte(n >> 8), byte(n >> 16), byte(n >> 24)})
		prefetchAt += 4
	}
	for i, c := range b.chunks {
		put(chunksAt+int64(len(b.chunks)-1-i)*format.ChunkEntrySize, c) // in another order than the device
	}
}

// capability is cap_net_raw+ep, as the kernel checks what it shows.
const capability = "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"

// text returns n bytes that compress.
func text(seed uint64, n int) []byte {
	r := rand.New(rand.NewPCG(seed, 1))
	b := make([]byte, n)
	for i := range b {
		b[i] = "abcdefgh    \n"[r.IntN(13)]
	}
	return b
}

// mixed is an image with four blobs, one of each compressor, and this tree:
//
//	dev/null   a device             lz4, gzip, plain, zstd   files
//	empty      a file of 0 bytes    hole                     a file with a hole, in two blobs
//	hard       another name of zstd    link -> lib/target    lib/... 300 files in a large directory
func mixed(t testing.TB) (*built, map[string][]byte) {
	t.Helper()
	files := map[string][]byte{
		"zstd":  text(1, 3*builtChunk+1),
		"lz4":   text(2, builtChunk),
		"gzip":  text(3, 5000),
		"plain": text(4, 2*builtChunk-1),
	}
	b := &built{}
	root := b.dir()
	entry := func(i int, t format.FileType, name string) format.Dirent {
		return format.Dirent{Node: uint64(i), Type: t, Name: name}
	}
	var entries []format.Dirent
	index := map[string][]byte{}
	for _, k := range []struct {
		name string
		c    format.Compressor
		d    format.Digester
	}{{"plain", format.CompressNone, format.DigestSHA256}, {"lz4", format.CompressLZ4, format.DigestBlake3}, {"gzip", format.CompressGzip, format.DigestSHA256}, {"zstd", format.CompressZstd, format.DigestBlake3}} {
		index[k.name] = b.blob(k.c, k.d, files[k.name])[0]
		n := b.file(index[k.name], len(files[k.name]))
		entries = append(entries, entry(n, format.TypeRegular, k.name))
		b.prefetch = append([]uint32{uint32(n)}, b.prefetch...)
		if k.name == "zstd" {
			entries = append(entries, entry(n, format.TypeRegular, "hard"))
			b.nodes[n].in.Links = 2
			b.nodes[n].xattrs = []format.Xattr{{Name: "security.capability", Value: []byte(capability)}, {Name: "user.a", Value: []byte{}}}
			files["hard"] = files["zstd"]
		}
	}
	hole := append(slices.Clone(index["lz4"]), format.ChunkIndex{Block: format.NoBlock}.AppendTo(nil)...)
	hole = append(hole, index["gzip"]...)
	files["hole"] = slices.Concat(files["lz4"], make([]byte, builtChunk), files["gzip"])
	entries = append(entries, entry(b.file(hole, len(files["hole"])), format.TypeRegular, "hole"))
	files["empty"] = nil
	entries = append(entries, entry(b.node(&builtNode{in: format.Inode{Mode: format.ModeRegular | 0o4711, UID: 3, GID: 4}}), format.TypeRegular, "empty"))
	link := b.node(&builtNode{in: format.Inode{Layout: format.LayoutInline, Mode: format.ModeSymlink | 0o777, Size: 10}, tail: []byte("lib/target")})
	entries = append(entries, entry(link, format.TypeSymlink, "link"))
	null := b.node(&builtNode{in: format.Inode{Mode: format.ModeChar | 0o666, Union: format.DeviceUnion(1, 3)}})
	dev := b.dir(entry(null, format.TypeChar, "null"))
	entries = append(entries, entry(dev, format.TypeDir, "dev"))
	var many []format.Dirent
	for i := range 300 {
		name := fmt.Sprintf("%s-%d", strings.Repeat("n", i%40), i)
		many = append(many, entry(b.node(&builtNode{in: format.Inode{Mode: format.ModeRegular | 0o600}}), format.TypeRegular, name))
		files["lib/"+name] = nil
	}
	lib := b.dir(many...)
	entries = append(entries, entry(lib, format.TypeDir, "lib"))
	b.nodes[root].names = entries
	b.prefetch = append(b.prefetch, uint32(dev), uint32(lib))
	return b, files
}
