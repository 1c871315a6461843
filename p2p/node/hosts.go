package node

import (
	"context"
	"slices"
	"time"

	"github.com/darter-p2p/darter/p2p"
	"github.com/darter-p2p/darter/p2p/exchange"
)

// host is another node, across tasks.
type host struct {
	id      p2p.HostID
	at      p2p.Host // as the scheduler told last
	link    exchange.Link
	dialing bool
	asker   *asker
	tasks   map[p2p.TaskID]*neighbour
	idle    time.Time // since when no task needs it
	slow    slowness  // of the way from it
	parts   hostParts // that it sends
}

func (n *Node) hostLocked(id p2p.HostID) *host {
	h := n.hosts[id]
	if h == nil {
		h = &host{id: id, at: p2p.Host{ID: id}, tasks: map[p2p.TaskID]*neighbour{}, idle: time.Now()}
		n.hosts[id] = h
	}
	return h
}

// Neighbours is the scheduler's word on whom to exchange a task with.
func (n *Node) Neighbours(id p2p.TaskID, add []p2p.Host, remove []p2p.HostID) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return
	}
	t := n.taskLocked(id)
	if t == nil {
		if !n.cfg.Seed {
			n.tracker.Leave(id)
			return
		}
		t = n.newTaskLocked(id, "")
		t.wantAll, t.joined = true, true
	}
	for _, r := range remove {
		if !slices.ContainsFunc(add, func(h p2p.Host) bool { return h.ID == r }) {
			n.unlinkLocked(t, r)
		}
	}
	for _, a := range add {
		n.neighbourLocked(t, a)
	}
	n.pollLocked()
}

// neighbourLocked makes a host a neighbour in t, or changes what is known of it.
func (n *Node) neighbourLocked(t *task, a p2p.Host) {
	if _, banned := t.banned[a.ID]; banned || a.ID == n.self {
		return
	}
	h := n.hostLocked(a.ID)
	h.at = a
	nb := t.neighbours[a.ID]
	if nb == nil {
		nb = n.addNeighbourLocked(t, h)
	}
	if nb.host = a; nb.set != nil {
		n.bitmapLocked(t, nb)
	}
	switch {
	case h.link != nil:
		n.tellLocked(t, nb)
	case !h.dialing:
		h.dialing = true
		n.goLocked(func() { n.dial(a) })
	}
}

func (n *Node) addNeighbourLocked(t *task, h *host) *neighbour {
	nb := &neighbour{host: h.at, slow: h.slow.recent(time.Now())}
	t.neighbours[h.id], h.tasks[t.id] = nb, nb
	return nb
}

// unlinkLocked ends a neighbourhood in one task.
func (n *Node) unlinkLocked(t *task, id p2p.HostID) {
	nb := t.neighbours[id]
	if nb == nil {
		return
	}
	n.core.NeighbourGone(t.id, id)
	t.stats.gone(id, nb)
	delete(t.neighbours, id)
	n.refuseFreshLocked(t, id)
	if h := n.hosts[id]; h != nil {
		delete(h.tasks, t.id)
		h.idle = time.Now()
	}
}

// The pace of dials: the host of the greater name waits for the other one's first.
const (
	dialPatience = time.Second
	dialTries    = 3
)

// dial makes a link to a host that tasks need.
func (n *Node) dial(a p2p.Host) {
	var err error
	for try := range dialTries {
		if try > 0 || n.self > a.ID {
			if n.linkedWithin(a.ID, dialPatience) {
				return
			}
		}
		ctx, cancel := context.WithTimeout(n.ctx, 5*time.Second)
		_, err = n.exchange.Connect(ctx, a)
		cancel()
		if err == nil || n.ctx.Err() != nil {
			return // Connected follows
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	h := n.hosts[a.ID]
	if h == nil || h.link != nil {
		return
	}
	h.dialing = false
	n.events.HostUnreachable(a, err)
	n.lostLocked(h)
}

// linkedWithin waits for a link that the other side makes.
func (n *Node) linkedWithin(id p2p.HostID, patience time.Duration) bool {
	const step = 10
	for range step {
		n.mu.Lock()
		h := n.hosts[id]
		up := h == nil || h.link != nil || n.closed
		n.mu.Unlock()
		if up {
			return true
		}
		select {
		case <-time.After(patience / step):
		case <-n.ctx.Done():
			return true
		}
	}
	return false
}

// lostLocked asks the scheduler for others in place of a host that cannot be reached.
func (n *Node) lostLocked(h *host) {
	for id := range h.tasks {
		t := n.tasks[id]
		if t == nil {
			continue
		}
		n.unlinkLocked(t, h.id)
		if !t.complete {
			n.tracker.NeighbourLost(id, []p2p.HostID{h.id})
		}
	}
	if len(h.tasks) == 0 && h.link == nil && !h.dialing {
		delete(n.hosts, h.id)
	}
	n.pollLocked()
}

// Connected is called when a link is up.
func (n *Node) Connected(l exchange.Link) {
	n.mu.Lock()
	defer n.mu.Unlock()
	h := n.hostLocked(l.Host())
	h.link, h.dialing = l, false
	for id, nb := range h.tasks {
		if t := n.tasks[id]; t != nil {
			nb.told, nb.pruned = false, false
			n.tellLocked(t, nb)
		}
	}
}

// Disconnected is called when a link is gone.
func (n *Node) Disconnected(l exchange.Link, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	h := n.hosts[l.Host()]
	if h == nil || h.link != l {
		return
	}
	h.link = nil
	if n.closed {
		return
	}
	n.abandonLocked(h.id)
	n.slots.Ended(h.id)
	n.core.HostGone(h.id)
	if err != nil && len(h.tasks) > 0 {
		n.events.HostLost(h.id, err)
	}
	n.lostLocked(h)
}
