package node

import (
	"time"
)

// sweep forgets what has not been needed for a while: complete tasks, which the
// store keeps and a neighbour or reader brings back; neighbourhoods of two that both
// hold everything; and links that no task needs.
func (n *Node) sweep() {
	n.mu.Lock()
	defer n.mu.Unlock()
	now := time.Now()
	held := map[string]bool{}
	for _, i := range n.store.List() {
		held[i.ID.String()] = true
	}
	for _, t := range n.tasks {
		if t.handle != nil && t.stream == nil && !held[t.id.String()] {
			n.evictedLocked(t)
			continue
		}
		if t.haveAll() && !t.final && t.stream == nil && now.Sub(t.stats.Held) > finalPatience {
			n.seekFinalLocked(t)
		}
		if _, owes := n.untold[t]; owes || !t.complete {
			continue // or a neighbour would never hear that nothing is missing here, and not rest
		}
		for id, nb := range t.neighbours {
			if nb.set != nil && nb.set.Full() {
				n.unlinkLocked(t, id)
			}
		}
		if t.readers == 0 && now.Sub(t.used) > n.cfg.IdleAfter && len(t.neighbours) == 0 {
			n.dropLocked(t)
		}
	}
	for id, h := range n.hosts {
		if len(h.tasks) > 0 || now.Sub(h.idle) < n.cfg.IdleAfter || h.dialing {
			continue
		}
		if h.link == nil {
			delete(n.hosts, id)
			continue
		}
		h.link.Close()
	}
}
