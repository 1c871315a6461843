package convert

// merge puts the tree of a layer over that of the layers below it, as overlayfs shows
// them. Nothing of upper is used afterwards. The layer's root hides nothing, even where
// it is marked opaque: overlayfs does not look there.
func merge(lower, upper *node) {
	upper.opaque = false
	mergeChildren(lower, upper, false)
}

// mergeChildren merges what two directories hold. Of what is hidden below, directories
// remain that upper has, too: those it does not describe are made as they were.
func mergeChildren(lower, upper *node, hidden bool) {
	if hidden = hidden || upper.opaque; hidden {
		for name, l := range lower.children {
			if u := upper.children[name]; u == nil || !u.isDir() || !l.isDir() {
				delete(lower.children, name)
			}
		}
	}
	for _, name := range upper.names() {
		u, l := upper.children[name], lower.children[name]
		switch {
		case u.isWhiteout():
			delete(lower.children, name)
		case u.isDir() && l != nil && l.isDir():
			mergeAttributes(l, u)
			mergeChildren(l, u, hidden)
		default:
			settle(lower, u)
			lower.set(name, u)
		}
	}
}

// mergeAttributes gives a directory what the layer above says of it: nothing if it was
// made there for something below it only.
func mergeAttributes(lower, upper *node) {
	if upper.implicit && !upper.named {
		return
	}
	if upper.implicit { // described after it was made: the xattrs below remain
		for _, x := range lower.xattrs {
			if !upper.hasXattr(x.Name) {
				upper.xattr(x.Name, x.Value)
			}
		}
	}
	lower.mode, lower.uid, lower.gid = upper.mode, upper.uid, upper.gid
	lower.seconds, lower.nanos, lower.xattrs = upper.seconds, upper.nanos, upper.xattrs
}

// settle prepares a tree that has nothing below: its marks have done their work.
func settle(parent, n *node) {
	if !n.isDir() {
		return
	}
	if n.implicit && !n.named {
		inheritGroup(parent, n)
	}
	for name, c := range n.children {
		if c.isWhiteout() {
			delete(n.children, name)
			continue
		}
		settle(n, c)
	}
}
