package layer

import "strings"

// node is a directory that the archive made. Only directories are remembered: memory
// grows with them, not with files.
type node struct {
	parent   *node // nil for the layer's root, and for what was removed
	name     string
	children map[string]*node

	implicit bool // made for something below it, not by an entry
	named    bool // an entry described it, at first or later
	changed  bool // a name was made in it or removed from it
	opaque   bool // its opaque marker has been applied (bottom layers only)
}

// child returns the directory of that name, nil if none is known.
func (n *node) child(name string) *node { return n.children[name] }

// add remembers a new directory.
func (n *node) add(name string) *node {
	if n.children == nil {
		n.children = make(map[string]*node)
	}
	// A clone: the name is cut out of the entry's, which would stay in memory as a whole.
	c := &node{parent: n, name: strings.Clone(name)}
	n.children[c.name] = c
	return c
}

// forget drops a directory and all below it.
func (n *node) forget(name string) {
	if c := n.children[name]; c != nil {
		c.parent = nil
		delete(n.children, name)
	}
}

// path returns the way from the root, "" for the root itself.
func (n *node) path() string {
	if n.parent == nil {
		return ""
	}
	size := -1
	for d := n; d.parent != nil; d = d.parent {
		size += 1 + len(d.name)
	}
	b := make([]byte, size)
	for d := n; d.parent != nil; d = d.parent {
		size -= len(d.name)
		copy(b[size:], d.name)
		if size > 0 {
			size--
			b[size] = '/'
		}
	}
	return string(b)
}

// find follows a clean relative path as far as directories are known. It returns the
// last one and the rest of the path, "" if all of it is known.
func (n *node) find(path string) (*node, string) {
	for path != "" {
		name, rest, _ := strings.Cut(path, "/")
		c := n.children[name]
		if c == nil {
			return n, path
		}
		n, path = c, rest
	}
	return n, ""
}
