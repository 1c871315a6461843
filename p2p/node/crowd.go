package node

import (
	"time"

	"github.com/darter-p2p/darter/p2p"
	"github.com/darter-p2p/darter/p2p/exchange"
)

// crowd knows which hosts read parts of a task here. What parts bring cannot be passed
// on, so that many readers of one content are to take pieces, and share them. The zero
// crowd is empty.
type crowd struct{ last map[p2p.HostID]time.Time }

const (
	// crowdHosts is how many hosts may read parts of one task at a time.
	crowdHosts = 3
	// crowdFor is how long a host counts after its last part.
	crowdFor = time.Second
)

// admit reports whether a host may have a part now.
func (c *crowd) admit(from p2p.HostID, now time.Time) bool {
	for id, at := range c.last {
		if now.Sub(at) > crowdFor {
			delete(c.last, id)
		}
	}
	if _, in := c.last[from]; !in && len(c.last) >= crowdHosts {
		return false
	}
	if c.last == nil {
		c.last = map[p2p.HostID]time.Time{}
	}
	c.last[from] = now
	return true
}

// servePartLocked answers a neighbour's request for a part: bytes of pieces that are all
// here and verified.
func (n *Node) servePartLocked(t *task, from p2p.HostID, r exchange.Request) exchange.Answer {
	g, none := t.geometry, exchange.Answer{Status: exchange.StatusNotHeld, Piece: r.First}
	if int(r.First) >= g.Pieces() || int64(r.Offset) >= g.Length(r.First) {
		return none
	}
	start, length := g.Offset(r.First)+int64(r.Offset), int64(r.Length)
	if length > g.Size-start {
		return none
	}
	if first, end := g.PieceRange(start, length); !t.hasRange(first, end) {
		return none
	}
	if !t.crowd.admit(from, time.Now()) || !n.slots.Acquire(from, p2p.Urgent) {
		return exchange.Answer{Status: exchange.StatusBusy, Piece: r.First}
	}
	h, err := n.store.Open(t.id)
	if err != nil {
		n.slots.Release(from)
		n.evictedLocked(t)
		return none
	}
	t.used = time.Now()
	a := exchange.Answer{
		Status: exchange.StatusOK, Piece: r.First, File: h.File(), Reader: h, Start: start, Length: length,
		Done: func(sent int64, err error) {
			h.Release()
			n.sentPart(t, from, sent, err)
		},
	}
	if f := n.cfg.Limits.Sending(t.id); f.Limited() {
		a.Pace = f.Wait
	}
	return a
}

// sentPart gives the slot of a part back.
func (n *Node) sentPart(t *task, to p2p.HostID, sent int64, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.slots.Release(to)
	if err != nil {
		n.slots.Ended(to)
	}
	t.stats.Sent += sent
	if nb := t.neighbours[to]; nb != nil {
		nb.stats.Sent += sent
	}
	n.events.Sent(to, sent)
	n.callLocked()
	n.tellVacantLocked()
}
