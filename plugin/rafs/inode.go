package rafs

import (
	"fmt"
	"time"

	"github.com/darter-p2p/darter/plugin/rafs/format"
)

// Inode is a file, directory, link or device of the image.
type Inode struct {
	Node    uint64 // node number: its place in the bootstrap; equal for hard links
	Mode    uint32 // type and permission, as in stat(2)
	UID     uint32
	GID     uint32
	Size    int64 // of the content, in bytes
	ModTime time.Time
	Links   uint32
	Major   uint32 // of a char or block device
	Minor   uint32

	at   int64 // offset in the bootstrap
	disk format.Inode
}

// IsDir reports whether the inode is a directory.
func (in *Inode) IsDir() bool { return in.Mode&format.ModeType == format.ModeDir }

// IsRegular reports whether the inode is a regular file.
func (in *Inode) IsRegular() bool { return in.Mode&format.ModeType == format.ModeRegular }

// IsSymlink reports whether the inode is a symbolic link.
func (in *Inode) IsSymlink() bool { return in.Mode&format.ModeType == format.ModeSymlink }

// Root returns the root directory.
func (im *Image) Root() (*Inode, error) { return im.Inode(uint64(im.super.RootNode)) }

// Inode reads the inode with a node number, as directory entries and the
// prefetch table name it.
func (im *Image) Inode(node uint64) (*Inode, error) {
	in, err := im.readInode(node)
	if err != nil {
		return nil, fmt.Errorf("node %d: %w", node, err)
	}
	return in, nil
}

func (im *Image) readInode(node uint64) (*Inode, error) {
	at, ok := im.super.NodeOffset(node)
	if !ok || at < format.DeviceOffset || at > im.size-format.CompactInodeSize {
		return nil, malformed("not inside the file of %d bytes", im.size)
	}
	b := make([]byte, min(format.ExtendedInodeSize, im.size-at))
	if err := im.readFull(b, at); err != nil {
		return nil, err
	}
	d, err := format.ParseInode(b)
	if err != nil {
		return nil, err
	}
	in := &Inode{
		Node: node,
		Mode: uint32(d.Mode),
		UID:  d.UID,
		GID:  d.GID,
		Size: int64(d.Size),
		// The kernel, too, counts a compact inode's time from the image's.
		ModTime: time.Unix(d.Seconds, int64(d.Nanos)),
		Links:   d.Links,
		at:      at,
		disk:    d,
	}
	if !d.Extended {
		in.ModTime = time.Unix(int64(im.super.BuildTime)+d.Seconds, int64(im.super.BuildNanos))
	}
	if t := d.Mode & format.ModeType; t == format.ModeChar || t == format.ModeBlock {
		in.Major, in.Minor = d.Device()
	}
	return in, nil
}

// Xattrs returns the extended attributes of an inode, in the order of the file.
func (im *Image) Xattrs(in *Inode) ([]format.Xattr, error) {
	b := make([]byte, in.disk.XattrSize())
	err := im.readFull(b, in.at+int64(in.disk.HeaderSize()))
	var xattrs []format.Xattr
	if err == nil {
		xattrs, err = format.ParseXattrs(b)
	}
	if err != nil {
		return nil, fmt.Errorf("node %d: %w", in.Node, err)
	}
	return xattrs, nil
}

// maxTarget is the longest target of a symbolic link: what readlink(2) gives.
const maxTarget = 4095

// Readlink returns the target of a symbolic link.
func (im *Image) Readlink(in *Inode) (string, error) {
	if !in.IsSymlink() {
		return "", malformed("node %d: mode %#o is no symbolic link", in.Node, in.Mode)
	}
	if in.Size == 0 || in.Size > maxTarget {
		return "", malformed("node %d: a symbolic link of %d bytes", in.Node, in.Size)
	}
	b := make([]byte, in.Size)
	if err := im.readPlain(in, b, 0); err != nil {
		return "", fmt.Errorf("node %d: %w", in.Node, err)
	}
	for _, c := range b {
		if c == 0 {
			return "", malformed("node %d: the target %q of a symbolic link", in.Node, b)
		}
	}
	return string(b), nil
}

// readPlain reads content that lies in the bootstrap: blocks from the inode's
// block on, and for LayoutInline what is left behind the inode.
func (im *Image) readPlain(in *Inode, b []byte, offset int64) error {
	if in.disk.Layout == format.LayoutChunked {
		return malformed("its content is in chunks")
	}
	if offset < 0 || offset > in.Size || int64(len(b)) > in.Size-offset {
		return malformed("%d bytes at %d are not inside %d bytes of content", len(b), offset, in.Size)
	}
	blocks := in.Size
	if in.disk.Layout == format.LayoutInline {
		blocks = in.Size &^ (format.BlockSize - 1)
	}
	if offset < blocks {
		n := min(int64(len(b)), blocks-offset)
		if err := im.readFull(b[:n], int64(in.disk.Union)<<format.BlockBits+offset); err != nil {
			return err
		}
		b, offset = b[n:], offset+n
	}
	if len(b) == 0 {
		return nil
	}
	tail := in.at + int64(in.disk.HeaderSize()+in.disk.XattrSize())
	if length := in.Size - blocks; tail/format.BlockSize != (tail+length-1)/format.BlockSize {
		return malformed("the inline part, %d bytes at %d, crosses a block", length, tail)
	}
	return im.readFull(b, tail+offset-blocks)
}
