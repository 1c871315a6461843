package convert

import (
	"fmt"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// maxDepth is how deep directories may lie, less than what readers of a bootstrap bear.
const maxDepth = 1000

// maxLinks is how many symbolic links a name may lead through, as in containerd.
const maxLinks = 255

// resolve returns where name, as an archive gives it, lies in the tree of its layer:
// clean and relative, every symbolic link of it followed inside the root, "" for the
// root. What does not exist is taken for a directory to come.
func resolve(root *node, name string) (string, error) {
	if len(name) >= unix.PathMax {
		return "", unix.ENAMETOOLONG
	}
	rel, links := path.Clean("/" + name)[1:], 0
	dir, done := root, 0 // dir is what rel[:done] leads to
	for done < len(rel) {
		part, rest, _ := strings.Cut(rel[done:], "/")
		c := dir.children[part]
		if c == nil || !c.isDir() && !c.isLink() {
			return rel, nil // nothing, or nothing that leads on
		}
		if c.isDir() {
			dir, done = c, min(done+len(part)+1, len(rel))
			continue
		}
		if links++; links > maxLinks {
			return "", unix.ELOOP
		}
		to := c.target
		if !path.IsAbs(to) {
			to = rel[:done] + to
		}
		if len(to)+1+len(rest) >= 2*unix.PathMax {
			return "", unix.ENAMETOOLONG
		}
		rel = path.Clean("/" + to + "/" + rest)[1:]
		dir, done = root, 0
	}
	return rel, nil
}

// find returns the node of a resolved path, nil if there is none.
func find(root *node, rel string) *node {
	n := root
	for rel != "" && n != nil {
		part, rest, _ := strings.Cut(rel, "/")
		n, rel = n.children[part], rest
	}
	return n
}

// reach returns the directory of a resolved path and makes what is missing of it.
func (a *applier) reach(rel string, seconds int64, nanos uint32) (*node, error) {
	n := a.root
	if strings.Count(rel, "/") >= maxDepth {
		return nil, unix.ENAMETOOLONG
	}
	for rel != "" {
		name, rest, _ := strings.Cut(rel, "/")
		rel = rest
		c := n.children[name]
		if c == nil {
			if len(name) > nameMax {
				return nil, unix.ENAMETOOLONG
			}
			if err := a.count(name); err != nil {
				return nil, err
			}
			c = newDir()
			c.implicit, c.seconds, c.nanos = true, seconds, nanos
			inheritGroup(n, c)
			n.set(strings.Clone(name), c)
		}
		if !c.isDir() {
			return nil, fmt.Errorf("make parent %q: %w", shown(name), unix.ENOTDIR)
		}
		n = c
	}
	return n, nil
}

// inheritGroup does what the kernel does when a directory is made in one with setgid.
func inheritGroup(parent, made *node) {
	if parent.mode&unix.S_ISGID != 0 {
		made.gid = parent.gid
	}
}
