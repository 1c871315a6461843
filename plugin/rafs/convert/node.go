package convert

import (
	"maps"
	"slices"

	"github.com/darter-p2p/darter/plugin/rafs/format"
)

// node is an inode of the tree. A file with several names is one node with several
// parents; a directory has one.
type node struct {
	mode     uint16 // type and permission, as in stat(2); 0 for a whiteout
	uid, gid uint32
	seconds  int64 // time of modification
	nanos    uint32
	xattrs   []format.Xattr // sorted by name
	device   uint32         // of a device: format.DeviceUnion
	target   string         // of a symbolic link
	size     uint64         // of a regular file
	chunks   []uint32       // of a regular file: places in the chunk table
	children map[string]*node

	implicit bool // a directory made for something below it
	named    bool // an entry described it, at first or later
	opaque   bool // hides what lower layers have in it

	place place
}

// whiteout is a node that hides a name of the layers below.
func whiteout() *node { return &node{} }

func (n *node) isWhiteout() bool { return n.mode == 0 }
func (n *node) isDir() bool      { return n.mode&format.ModeType == format.ModeDir }
func (n *node) isLink() bool     { return n.mode&format.ModeType == format.ModeSymlink }
func (n *node) isFile() bool     { return n.mode&format.ModeType == format.ModeRegular }

// newDir returns a directory with the attributes of one that no entry describes.
func newDir() *node { return &node{mode: format.ModeDir | 0o755} }

// set puts a child into a directory, in the place of what has its name.
func (n *node) set(name string, c *node) {
	if n.children == nil {
		n.children = make(map[string]*node)
	}
	n.children[name] = c
}

// names returns the names in a directory in order.
func (n *node) names() []string { return slices.Sorted(maps.Keys(n.children)) }

// xattr sets an extended attribute.
func (n *node) xattr(name string, value []byte) {
	i, found := slices.BinarySearchFunc(n.xattrs, name, compareXattr)
	if found {
		n.xattrs[i].Value = value
		return
	}
	n.xattrs = slices.Insert(n.xattrs, i, format.Xattr{Name: name, Value: value})
}

// hasXattr reports whether the attribute is set.
func (n *node) hasXattr(name string) bool {
	_, found := slices.BinarySearchFunc(n.xattrs, name, compareXattr)
	return found
}

func compareXattr(x format.Xattr, name string) int {
	switch {
	case x.Name < name:
		return -1
	case x.Name > name:
		return 1
	}
	return 0
}
