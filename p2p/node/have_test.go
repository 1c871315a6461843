package node

import (
	"slices"
	"testing"

	"github.com/darter-p2p/darter/p2p"
	"github.com/darter-p2p/darter/p2p/exchange"
)

// come gives the node verified pieces, and returns what l is told of them at once.
func (m *mesh) come(l *letterbox, pieces ...p2p.Piece) []p2p.Piece {
	n := m.node
	n.mu.Lock()
	defer n.mu.Unlock()
	t := n.tasks[m.task]
	l.sent = l.sent[:0:0]
	n.flushing = true // by this test
	for _, p := range pieces {
		n.holdLocked(t, p)
	}
	n.flushLocked()
	var told []p2p.Piece
	for _, msg := range l.sent {
		if h, ok := msg.(exchange.Have); ok {
			told = append(told, h.Pieces...)
		}
	}
	return told
}

// What a neighbour holds itself is told with the next piece that it lacks, after a few, or
// when this host holds everything.
func TestHavesThatWait(t *testing.T) {
	m := newMesh(t)
	var most []p2p.Piece
	for p := range p2p.Piece(40) {
		most = append(most, p)
	}
	m.says(m.a, exchange.Have{Task: m.task, Pieces: most})
	check := func(got []p2p.Piece, want ...p2p.Piece) {
		t.Helper()
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("told of %v, want %v", got, want)
		}
	}
	check(m.come(m.a, 1))
	check(m.come(m.b, 2), 2) // who lacks it is told at once
	check(m.come(m.a, 3, 50), 1, 2, 3, 50)
	check(m.come(m.a, most[4:4+untoldMost-1]...))
	check(m.come(m.a, 30), append(slices.Clone(most[4:4+untoldMost-1]), 30)...)
	check(m.come(m.a, 31))
	m.node.Connected(m.a) // a bitmap goes first
	check(m.come(m.a, 32))
	var rest []p2p.Piece
	for p := range p2p.Piece(m.geometry.Pieces()) {
		if p != 33 && !m.node.tasks[m.task].have.Has(p) {
			rest = append(rest, p)
		}
	}
	told := m.come(m.a, rest...)
	if len(told) != len(rest)+1 || !slices.Contains(told, 32) {
		t.Errorf("told of %d pieces, want %d and piece 32", len(told), len(rest))
	}
	check(m.come(m.a, 33), 33) // nothing more will come
}

// A piece is told to a few neighbours at once, the next one to others, and to all who lack
// it when the node looks again, or at once where it will not.
func TestHavesGoRound(t *testing.T) {
	m := newMesh(t)
	all := []*letterbox{m.seed, m.a, m.b}
	for _, name := range []p2p.HostID{"c", "d", "e"} {
		l := &letterbox{host: name}
		m.node.Connected(l)
		m.says(l, exchange.Bitmap{Task: m.task, Geometry: m.geometry, Have: p2p.NewPieceSet(m.geometry.Pieces())})
		all = append(all, l)
	}
	told := map[p2p.HostID][]p2p.Piece{}
	listen := func() {
		for _, l := range all {
			for _, msg := range l.sent {
				if h, ok := msg.(exchange.Have); ok {
					told[l.host] = append(told[l.host], h.Pieces...)
				}
			}
			l.sent = nil
		}
	}
	count := func(p p2p.Piece) (n int) {
		for _, pieces := range told {
			if slices.Contains(pieces, p) {
				n++
			}
		}
		return n
	}
	listen()
	m.come(all[0], 1)
	listen()
	if got := count(1); got != toldAtOnce {
		t.Fatalf("%d of %d neighbours are told of a piece at once, want %d", got, len(all), toldAtOnce)
	}
	m.says(m.a, exchange.Have{Task: m.task, Pieces: []p2p.Piece{1, 2}}) // a needs neither
	m.come(all[0], 2)
	listen()
	if got := count(1); got < len(all)-1 {
		t.Errorf("%d neighbours are told of piece 1 with the next one, want those who were not before", got)
	}
	m.node.lookAgain()
	listen()
	if one, two := count(1), count(2); one < len(all)-1 || two < len(all)-1 {
		t.Errorf("%d and %d neighbours know of the pieces, want all who lack them", one, two)
	}
	m.node.mu.Lock()
	m.node.looking = false
	m.node.mu.Unlock()
	m.come(all[0], 3)
	listen()
	if got := count(3); got != len(all) {
		t.Errorf("%d of %d neighbours are told where nobody looks again, want all", got, len(all))
	}
}
