package swarmsim

import (
	"github.com/darter-p2p/darter/p2p/download"
	"github.com/darter-p2p/darter/p2p/upload"
	"github.com/darter-p2p/darter/scheduler/swarm"
)

// asked puts a request into the data connection that it came on.
func (s *Sim) asked(n *node, r request) {
	l := n.link(r.from)
	if !n.alive || l == nil || n.have == nil {
		if n.alive {
			s.refuse(n, r, download.NotHeld)
		}
		return
	}
	if r.any {
		n.line.Wait(upload.Waiter{Host: l.node.host.ID, Request: uint32(r.id)})
		s.call(n)
		return
	}
	if l.serving != nil {
		l.queue = append(l.queue, r)
		return
	}
	s.serve(n, l, r)
}

// serve answers a request: with the piece's bytes, or with the reason why not.
func (s *Sim) serve(n *node, l *neighbour, r request) {
	if !n.have.Has(r.piece) {
		s.refuse(n, r, download.NotHeld)
		return
	}
	n.slots.Widen(n.core.Slots())
	if !n.slots.Acquire(l.node.host.ID, r.class) {
		s.refuse(n, r, download.Busy)
		s.tellFree(n)
		return
	}
	s.transfer(n, l, r)
}

// call gives the fresh pieces that n holds to those who wait for them, as long as there
// are slots; when there will be no more, it says so.
func (s *Sim) call(n *node) {
	for n.line.Len() > 0 {
		w, ok := n.line.Call(func(w upload.Waiter) bool {
			l := n.link(s.byHost[w.Host])
			if l == nil || !l.node.alive {
				return true
			}
			if _, ok := n.ledger.Fresh(n.have, l.set); !ok {
				return n.have.Full()
			}
			return l.serving == nil && n.slots.Free() > 0
		})
		if !ok {
			return
		}
		n.line.Answer(w)
		l := n.link(s.byHost[w.Host])
		if l == nil || !l.node.alive {
			continue
		}
		r := request{id: download.RequestID(w.Request), from: l.node.id, any: true}
		if r.piece, ok = n.ledger.Fresh(n.have, l.set); !ok {
			n.line.Missed(w.Host)
			s.refuse(n, r, download.NoFresh)
			continue
		}
		n.slots.Grant()
		s.transfer(n, l, r)
	}
}

// leave takes what to asked for of n's line.
func leave(n, to *node) {
	for {
		w, ok := n.line.Call(func(w upload.Waiter) bool { return w.Host == to.host.ID })
		if !ok {
			return
		}
		n.line.Leave(w)
	}
}

// transfer begins the transfer of a piece for which a slot is taken.
func (s *Sim) transfer(n *node, l *neighbour, r request) {
	n.ledger.Sent(r.piece)
	l.node.core.Began(s.clock(), r.id, r.piece)
	f, changed := s.net.start(s.now, n.id, l.node.id, s.geometry.Length(r.piece))
	l.serving, l.asked, l.began = f, r, s.now
	s.plan(changed)
	if active := n.slots.Active(); active > n.maxUploads {
		s.fail("node %s sends %d pieces at a time", n.host.ID, active)
	}
}

func (s *Sim) refuse(n *node, r request, why download.Refusal) {
	s.after(s.latency, event{kind: evAnswer, node: r.from, peer: n.id, a: uint64(r.id), b: uint64(why)})
}

// plan makes the events for the ends of transfers whose rates changed.
func (s *Sim) plan(changed []*flow) {
	for _, f := range changed {
		if due := f.due(); due < s.limit*2 {
			s.at(max(due, s.now), event{kind: evFlow, node: f.to, peer: f.from, a: f.id, b: f.version})
		}
	}
}

// arrived ends the transfer to n and gives it the piece.
func (s *Sim) arrived(n *node, f *flow) {
	from := s.nodes[f.from]
	l := from.link(n.id)
	r, bytes := l.asked, s.geometry.Length(l.asked.piece)
	if !from.have.Has(r.piece) {
		s.fail("node %s sent piece %d, which it does not hold", from.host.ID, r.piece)
	}
	from.sent += bytes
	if r.any {
		from.line.Took(n.host.ID, s.now-l.began)
	}
	switch {
	case from.liar:
		n.core.Refused(s.clock(), r.id, download.Broken)
		n.core.NeighbourGone(s.task, from.host.ID)
		n.banned[from.id] = true
		s.send(swarm.BadPeer{Task: s.task, Host: from.host.ID, Reporter: n.host.ID})
	default:
		if !from.puller && !from.host.Seed {
			n.fromPeers += bytes
		}
		if n.have.Has(r.piece) {
			n.wasted += bytes
		}
		n.core.Arrived(s.clock(), r.id)
		s.hold(n, r.piece)
	}
	s.stop(from, l, true)
	s.poll(n)
}

// stop takes the transfer on a link off the network, gives its slot to the next
// request that lies ready there, or tells those who wait.
func (s *Sim) stop(from *node, l *neighbour, whole bool) {
	changed := s.net.end(s.now, l.serving)
	if !whole {
		from.ledger.Unsent(l.asked.piece)
	}
	l.serving = nil
	s.plan(changed)
	if !from.alive {
		return
	}
	from.slots.Release(l.node.host.ID)
	s.call(from)
	s.tellFree(from)
	for l.serving == nil && len(l.queue) > 0 {
		r := l.queue[0]
		l.queue = l.queue[1:]
		s.serve(from, l, r)
	}
}

// tellFree tells those who were refused that there is a slot, if there is.
func (s *Sim) tellFree(n *node) {
	for _, h := range n.slots.Vacant() {
		s.after(s.latency, event{kind: evFree, node: s.byHost[h], peer: n.id})
	}
}
