package convert

import (
	"fmt"

	"github.com/containerd/errdefs"

	"github.com/darter-p2p/darter/plugin/rafs/format"
)

// checkPrefetch refuses a list that readers would not read.
func checkPrefetch(names []string) error {
	if len(names) > format.MaxPrefetch {
		return fmt.Errorf("%d names to prefetch, at most %d: %w", len(names), format.MaxPrefetch, errdefs.ErrInvalidArgument)
	}
	return nil
}

// prefetch returns the nodes of Options.Prefetch in its order, each once, and the names
// that the image does not have. Symbolic links are followed inside the image.
func (c *converter) prefetch() (nodes []uint64, absent []string) {
	seen := map[uint64]bool{}
	for _, name := range c.o.Prefetch {
		var n *node
		if rel, err := resolve(c.root, name); err == nil {
			n = find(c.root, rel)
		}
		switch {
		case n == nil:
			absent = append(absent, name)
		case (n.isFile() || n.isDir()) && !seen[n.place.node]:
			seen[n.place.node] = true
			nodes = append(nodes, n.place.node)
		}
	}
	return nodes, absent
}
