package convert

import (
	"fmt"
	"slices"
	"strings"

	"github.com/darter-p2p/darter/plugin/rafs/format"
)

// firstNode is the node number of the root. Numbers count slots of 32 bytes from one
// block before the inodes, as nydus has it, so that none is 0.
const firstNode = format.BlockSize / format.SlotSize

// place is where an inode lies in the bootstrap.
type place struct {
	node   uint64 // 0 before it has one
	number uint32 // st_ino for those who want 32 bits
	links  uint32
	xattrs uint16 // format.Inode.XattrCount
	layout format.Layout
	size   uint64 // of the content
	block  uint32 // of the content, if any of it is in blocks: counted from the first such
	parent uint64 // of a directory: the node of the directory it is in
}

// placer gives every inode of a tree its place: inodes in the order of a walk with what
// is inline behind each, then the blocks of large directories.
type placer struct {
	order  []*node
	at     uint64 // end of the inodes so far, from the first one
	blocks uint32 // of directories and long links
	dir    []byte // scratch
	xattrs bool   // some inode has some
}

// tree places n and all below it.
func (p *placer) tree(root *node) error {
	return p.node(root, nil)
}

func (p *placer) node(n, parent *node) error {
	n.place.links++
	if n.place.node != 0 {
		return nil // another name of a file that has its place
	}
	if err := p.inode(n); err != nil {
		return err
	}
	if !n.isDir() {
		return nil
	}
	if parent == nil {
		parent = n
	}
	n.place.links++ // its "."
	n.place.parent = parent.place.node
	for _, name := range n.names() {
		c := n.children[name]
		if c.isDir() {
			n.place.links++
		}
		if err := p.node(c, n); err != nil {
			return fmt.Errorf("%s/%w", shown(name), err)
		}
	}
	return nil
}

// inode places one inode.
func (p *placer) inode(n *node) error {
	count, err := format.XattrCount(n.xattrs)
	if err != nil {
		return err
	}
	p.xattrs = p.xattrs || count > 0
	n.place.xattrs = count
	head := uint64(format.ExtendedInodeSize + format.XattrSize(count))
	var inline, body uint64 // what must not cross a block, and what may
	switch {
	case n.isFile():
		n.place.layout, n.place.size = format.LayoutChunked, n.size
		body = alignUp(head, format.ChunkIndexSize) - head + uint64(len(n.chunks))*format.ChunkIndexSize
	case n.isDir():
		p.dir = format.AppendDir(p.dir[:0], direntsOf(n))
		n.place.size = uint64(len(p.dir))
		inline = p.content(n, head)
	case n.isLink():
		n.place.size = uint64(len(n.target))
		inline = p.content(n, head)
	}
	// An inode does not cross a block, nor does it with its xattrs if they fit in one,
	// nor does what is inline.
	whole := head + inline
	if left := format.BlockSize - p.at%format.BlockSize; whole > left && left < format.BlockSize {
		if whole <= format.BlockSize || left < format.ExtendedInodeSize+xattrHeader {
			p.at += left
		}
	}
	n.place.node = firstNode + p.at/format.SlotSize
	n.place.number = uint32(len(p.order))
	p.order = append(p.order, n)
	p.at = alignUp(p.at+whole+body, format.SlotSize)
	return nil
}

// xattrHeader is the length of what stands before the xattrs of an inode.
const xattrHeader = 12

// content decides where the content of a directory or link goes, and returns how much of
// it stands behind the inode.
func (p *placer) content(n *node, head uint64) (inline uint64) {
	rest := n.place.size % format.BlockSize
	n.place.block = p.blocks
	if rest != 0 && head+rest <= format.BlockSize {
		p.blocks += uint32(n.place.size / format.BlockSize)
		n.place.layout = format.LayoutInline
		return rest
	}
	p.blocks += uint32(alignUp(n.place.size, format.BlockSize) / format.BlockSize)
	n.place.layout = format.LayoutPlain
	return 0
}

// direntsOf returns what a directory lists, in order.
func direntsOf(n *node) []format.Dirent {
	list := make([]format.Dirent, 0, len(n.children)+2)
	list = append(list,
		format.Dirent{Node: n.place.node, Type: format.TypeDir, Name: "."},
		format.Dirent{Node: n.place.parent, Type: format.TypeDir, Name: ".."})
	for name, c := range n.children {
		list = append(list, format.Dirent{Node: c.place.node, Type: format.TypeOf(c.mode), Name: name})
	}
	slices.SortFunc(list, func(a, b format.Dirent) int { return strings.Compare(a.Name, b.Name) })
	return list
}
