package format

// Layout says where the content of an inode lies.
type Layout uint8

// The layouts that RAFS uses. EROFS has others, for compressed files.
const (
	LayoutPlain   Layout = 0 // in blocks of this file from Inode.Union on
	LayoutInline  Layout = 2 // the same, but what does not fill a block lies behind the inode
	LayoutChunked Layout = 4 // in the chunks that the indexes behind the inode name
)

// Lengths of an inode without what follows it.
const (
	CompactInodeSize  = 32
	ExtendedInodeSize = 64
)

// The bits of a mode that say what an inode is, and their values.
const (
	ModeType    = 0o170000
	ModeSocket  = 0o140000
	ModeSymlink = 0o120000
	ModeRegular = 0o100000
	ModeBlock   = 0o060000
	ModeDir     = 0o040000
	ModeChar    = 0o020000
	ModeFIFO    = 0o010000
)

// Inode is an EROFS inode, compact (32 bytes) or extended (64 bytes). Behind it
// lie its xattrs (XattrSize bytes), then its chunk indexes, aligned to 8, or the
// inline part of its content.
type Inode struct {
	Extended   bool
	Layout     Layout
	XattrCount uint16 // length of the xattrs, see XattrSize
	Mode       uint16 // type and permission, as in stat(2)
	Size       uint64 // of the content, in bytes
	Union      uint32 // block of the content, device number (Device), or ChunkFormat
	Number     uint32 // what stat(2) shows as st_ino on 32 bits; not the node number
	UID, GID   uint32
	Seconds    int64  // time of modification; in a compact inode after Superblock.BuildTime
	Nanos      uint32 // 0 in a compact inode, which takes Superblock.BuildNanos
	Links      uint32
}

// ParseInode reads an inode from the first 32 or 64 bytes of b.
func ParseInode(b []byte) (Inode, error) {
	if err := need(b, CompactInodeSize, "inode"); err != nil {
		return Inode{}, err
	}
	head := le.Uint16(b)
	i := Inode{
		Extended:   head&1 != 0,
		Layout:     Layout(head >> 1 & 7),
		XattrCount: le.Uint16(b[2:]),
		Mode:       le.Uint16(b[4:]),
	}
	switch {
	case head>>4 != 0:
		return Inode{}, unsupported("inode: format %#x", head)
	case i.Layout != LayoutPlain && i.Layout != LayoutInline && i.Layout != LayoutChunked:
		return Inode{}, unsupported("inode: data layout %d (compressed by EROFS)", i.Layout)
	}
	if !i.Extended {
		i.Links = uint32(le.Uint16(b[6:]))
		i.Size = uint64(le.Uint32(b[8:]))
		i.Seconds = int64(le.Uint32(b[12:]))
		i.Union = le.Uint32(b[16:])
		i.Number = le.Uint32(b[20:])
		i.UID = uint32(le.Uint16(b[24:]))
		i.GID = uint32(le.Uint16(b[26:]))
	} else {
		if err := need(b, ExtendedInodeSize, "inode"); err != nil {
			return Inode{}, err
		}
		i.Size = le.Uint64(b[8:])
		i.Union = le.Uint32(b[16:])
		i.Number = le.Uint32(b[20:])
		i.UID = le.Uint32(b[24:])
		i.GID = le.Uint32(b[28:])
		i.Seconds = int64(le.Uint64(b[32:]))
		i.Nanos = le.Uint32(b[40:])
		i.Links = le.Uint32(b[44:])
	}
	return i, i.check()
}

func (i Inode) check() error {
	if i.Size > 1<<62 {
		return malformed("inode: size %#x", i.Size)
	}
	if i.Nanos >= 1e9 {
		return malformed("inode: time with %d nanoseconds", i.Nanos)
	}
	switch i.Mode & ModeType {
	case ModeRegular:
	case ModeDir, ModeSymlink:
		if i.Layout == LayoutChunked {
			return unsupported("inode: mode %#o with content in chunks", i.Mode)
		}
	case ModeChar, ModeBlock, ModeFIFO, ModeSocket:
	default:
		return malformed("inode: mode %#o is of no type", i.Mode)
	}
	return nil
}

// AppendTo appends the 32 or 64 bytes of the inode to b. A compact inode must
// fit: Size and Seconds below 2^32, owners and links below 2^16.
func (i Inode) AppendTo(b []byte) []byte {
	var o [ExtendedInodeSize]byte
	head := uint16(i.Layout) << 1
	if i.Extended {
		head |= 1
	}
	le.PutUint16(o[0:], head)
	le.PutUint16(o[2:], i.XattrCount)
	le.PutUint16(o[4:], i.Mode)
	le.PutUint32(o[16:], i.Union)
	le.PutUint32(o[20:], i.Number)
	if !i.Extended {
		le.PutUint16(o[6:], uint16(i.Links))
		le.PutUint32(o[8:], uint32(i.Size))
		le.PutUint32(o[12:], uint32(i.Seconds))
		le.PutUint16(o[24:], uint16(i.UID))
		le.PutUint16(o[26:], uint16(i.GID))
		return append(b, o[:CompactInodeSize]...)
	}
	le.PutUint64(o[8:], i.Size)
	le.PutUint32(o[24:], i.UID)
	le.PutUint32(o[28:], i.GID)
	le.PutUint64(o[32:], uint64(i.Seconds))
	le.PutUint32(o[40:], i.Nanos)
	le.PutUint32(o[44:], i.Links)
	return append(b, o[:]...)
}

// HeaderSize returns the length of the inode itself.
func (i Inode) HeaderSize() int {
	if i.Extended {
		return ExtendedInodeSize
	}
	return CompactInodeSize
}

// XattrSize returns the length of the xattrs behind the inode.
func (i Inode) XattrSize() int { return XattrSize(i.XattrCount) }

// ChunksAt returns where the chunk indexes start, counted from the inode, which
// itself starts at a slot.
func (i Inode) ChunksAt() int { return (i.HeaderSize() + i.XattrSize() + 7) &^ 7 }

// Device returns the numbers of a device that a char or block inode stands for.
func (i Inode) Device() (major, minor uint32) {
	return i.Union >> 8 & 0xfff, i.Union&0xff | i.Union>>12&0xfff00
}

// DeviceUnion returns the Union of a device inode. The major number has 12
// bits, the minor number 20.
func DeviceUnion(major, minor uint32) uint32 {
	return minor&0xff | major&0xfff<<8 | minor&0xfff00<<12
}
