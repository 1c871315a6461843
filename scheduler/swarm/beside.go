package swarm

import (
	"slices"

	"github.com/darter-p2p/darter/p2p"
)

// A peer to whom pieces come, but a small part of what it knows the origin to give, reads
// all that it lacks from the origin, whatever its neighbours hold: its links to them are
// slow, and only it can know. Few of a task do so at a time.

// minBeside is how many peers of a task may do so in any case: more than one, so that a
// site or two behind slow links do not wait for each other.
const minBeside = 2

// besideShare is the peers that take a task for each more that may do so.
const besideShare = 8

// mayRead lets a peer whose neighbours are slow read from first on.
func (c *Core) mayRead(p *peer, first p2p.Piece) {
	t := p.task
	t.beside = slices.DeleteFunc(t.beside, func(q *peer) bool { return q.state != wanting })
	from, ok := c.reliefOrigin(t)
	switch {
	case !ok || t.held || t.size < 0 || t.pull != nil && (t.pull.puller == p || !t.pull.started):
		return
	case slices.Contains(t.beside, p) || t.relief != nil && t.relief.peer == p:
		return
	case len(t.beside) >= max(minBeside, t.count[wanting]/besideShare):
		return
	}
	pieces := p2p.Piece(p2p.GeometryFor(t.size).Pieces())
	if first >= pieces {
		return
	}
	t.beside = append(t.beside, p)
	c.emit(p.host, Relief{
		Task: t.id, Origin: from, Size: t.size, Token: !p.host.Seed, First: first, Count: pieces - first, Beside: true,
	})
}

// readBeside reports whether a peer's Relief was one of these, which has ended now.
func (t *task) readBeside(p *peer) bool {
	i := slices.Index(t.beside, p)
	if i >= 0 {
		t.beside = slices.Delete(t.beside, i, i+1)
	}
	return i >= 0
}
