package node

import "github.com/darter-p2p/darter/p2p"

// maxHistory is how many tasks that are not in memory any more are remembered for explaining.
const maxHistory = 4096

// history is where the bytes of tasks that rest came from, the latest maxHistory of them.
type history struct {
	records map[p2p.TaskID]record
	order   []p2p.TaskID // as they were put
}

type record struct {
	Stats
	origin p2p.Origin
	err    error // why it ended; nil = it rests
}

func newHistory() *history { return &history{records: map[p2p.TaskID]record{}} }

func (h *history) put(id p2p.TaskID, r record) {
	if _, ok := h.records[id]; !ok {
		h.order = append(h.order, id)
	}
	h.records[id] = r
	for len(h.order) > maxHistory {
		delete(h.records, h.order[0])
		h.order = h.order[1:]
	}
}

// get returns what is remembered of a task.
func (h *history) get(id p2p.TaskID) (record, bool) {
	r, ok := h.records[id]
	return r, ok
}

// Past returns where the bytes of a task came from that this host holds but has not
// in memory, and its origin; false where that is not known.
func (n *Node) Past(id p2p.TaskID) (Stats, p2p.Origin, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	r, ok := n.past.get(id)
	return r.Stats, r.origin, ok
}
