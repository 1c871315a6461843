package swarmsim

import (
	"slices"
	"time"

	"github.com/darter-p2p/darter/p2p"
	"github.com/darter-p2p/darter/p2p/download"
	"github.com/darter-p2p/darter/p2p/upload"
	"github.com/darter-p2p/darter/scheduler/swarm"
)

// node is one darterd of the simulation: the real pure packages, and around them
// what p2p/node does with sockets and disks.
type node struct {
	id     int32
	host   p2p.Host
	alive  bool
	joined bool
	slow   bool // its links are slower than those of others
	liar   bool // what it sends does not verify
	puller bool // reads the origin

	core       *download.Core
	slots      *upload.Slots
	maxUploads int           // more pieces than that are not sent at a time
	stallAt    time.Duration // phase of its stalls
	ledger     *upload.Ledger
	line       upload.Line
	have       *p2p.PieceSet // nil until the geometry is known
	known      *p2p.PieceSet // pieces whose digest it has

	named  map[int32]bool // whom the scheduler named, and whether as a seed
	links  []*neighbour   // with whom a link is up, in the order they came up
	banned map[int32]bool

	pending   []p2p.Piece // haves that were not sent yet
	flushing  bool
	flushed   time.Duration // when haves left last
	pollAt    time.Duration // when the next timer is due; 0 = none
	share     p2p.Stripe    // of the origin, for a puller
	readPiece p2p.Piece     // where the in-order consumer is

	started, done time.Duration // done is 0 while incomplete
	sent          int64         // bytes
	fromPeers     int64
	fromOrigin    int64
	wasted        int64
}

// haves reach all neighbours at one time: one event for all of them.
type haves struct {
	pieces []p2p.Piece
	to     []*neighbour // the sender's links when they left
}

// neighbour is the other end of a link, as this end knows it.
type neighbour struct {
	node    *node
	back    *neighbour    // this end, as the other one knows it
	set     *p2p.PieceSet // what it said it holds
	gone    bool          // the link is down at this end
	heard   bool          // it said so at all
	serving *flow         // the piece on its way to it
	asked   request       // what serving answers
	began   time.Duration // when serving did
	queue   []request     // what it asked after that
}

// request is what crosses a data connection.
type request struct {
	id    download.RequestID
	from  int32
	piece p2p.Piece
	any   bool
	class p2p.Class
}

func (n *node) link(to int32) *neighbour {
	for _, l := range n.links {
		if l.node.id == to {
			return l
		}
	}
	return nil
}

func (n *node) unlink(to int32) {
	n.links = slices.DeleteFunc(n.links, func(l *neighbour) bool {
		if l.node.id == to {
			l.gone = true
		}
		return l.gone
	})
}

// knows gives the node the task's geometry.
func (s *Sim) knows(n *node) {
	if n.have != nil || !n.joined {
		return
	}
	pieces := s.geometry.Pieces()
	n.have, n.known = p2p.NewPieceSet(pieces), p2p.NewPieceSet(pieces)
	n.ledger = upload.NewLedger(pieces)
	n.core.Add(s.task, s.geometry, n.have)
	n.core.Want(s.task, 0, p2p.Piece(pieces))
	n.core.Read(s.task, 1, 0, p2p.Piece(pieces), p2p.Window)
	for _, l := range n.links {
		s.tellBitmap(n, l.node)
	}
}

// hold gives the node a verified piece.
func (s *Sim) hold(n *node, p p2p.Piece) {
	if !n.have.Add(p) {
		return
	}
	s.record(n, evHeld, uint64(p))
	for n.have.Has(n.readPiece) {
		n.readPiece++
	}
	n.core.Read(s.task, 1, n.readPiece, p2p.Piece(s.geometry.Pieces()), p2p.Window)
	n.pending = append(n.pending, p)
	s.call(n)
	if !n.flushing {
		n.flushing = true
		s.at(max(s.now, n.flushed+s.haveDelay), event{kind: evFlush, node: n.id})
	}
	if n.have.Full() {
		n.done = s.now
		if !n.liar {
			s.incomplete--
		}
		s.send(swarm.Done{Task: s.task, Host: n.host.ID})
		if n.puller {
			s.send(swarm.PullDone{Task: s.task, Host: n.host.ID})
		}
	}
}

// flush tells every neighbour what came since the last time.
func (s *Sim) flush(n *node) {
	n.flushing, n.flushed = false, s.now
	pieces := n.pending
	n.pending = nil
	if len(n.links) == 0 {
		return
	}
	first := s.rng.IntN(len(n.links)) // nobody always hears first
	to := append(slices.Clone(n.links[first:]), n.links[:first]...)
	s.after(s.latency, event{kind: evHaves, node: n.id, data: haves{pieces, to}})
}

// poll carries out what the node's downloads say.
func (s *Sim) poll(n *node) {
	if !n.alive || n.have == nil {
		return
	}
	out := n.core.Poll(s.clock())
	for _, a := range out.Asks {
		to := s.byHost[a.Host]
		s.after(s.latency, event{kind: evRequest, node: to, peer: n.id,
			data: request{id: a.ID, from: n.id, piece: a.Piece, any: a.Any, class: a.Class}})
	}
	for _, h := range out.Abandon {
		s.abandon(n, s.byHost[h])
	}
	if n.core.Outstanding() > s.maxOutstanding {
		s.fail("node %s has %d requests outstanding", n.host.ID, n.core.Outstanding())
	}
	if !n.have.Full() && n.pollAt <= s.now {
		n.pollAt = s.now + s.pollEvery
		s.at(n.pollAt, event{kind: evPoll, node: n.id})
	}
}

// abandon closes the data connection on which n asks to.
func (s *Sim) abandon(n *node, to int32) {
	l := s.nodes[to].link(n.id)
	if l == nil {
		return
	}
	l.queue = nil
	if l.serving != nil {
		s.stop(s.nodes[to], l, false)
	}
}
