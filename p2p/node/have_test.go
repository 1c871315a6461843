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
	l.sent = nil
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
