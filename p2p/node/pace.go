package node

import (
	"time"

	"github.com/darter-p2p/darter/p2p"
)

// Neighbours that live and send, but over slow links, are compared with the origin. What
// comes from them is measured while a reader waits. Below Config.SlowRate, and below a
// slowShare of what the origin was seen to give this host, the scheduler is asked to let
// it read the origin. A host that knows nothing of the origin reads a short run first.
const (
	slowShare = 1.0 / 4
	// paceWindow is how long is measured; a swarm that begins is slow in its first.
	paceWindow  = 750 * time.Millisecond
	paceWindows = 2
	// soonWindow is how long is measured where there are at most soonFew neighbours, none of
	// whom has everything: there is no crowd that has to begin, and none to fall upon the origin.
	soonWindow = 250 * time.Millisecond
	soonFew    = 2
	soonShare  = slowShare / 2 // of what the origin gives, where one such window decides
	// slowMemory is how long a host is known to be slow, so that the next task need not
	// measure it.
	slowMemory = 2 * time.Minute
)

// verdict is what a pace says.
type verdict uint8

const (
	paceWait    verdict = iota // nothing yet
	paceGood                   // neighbours are fast enough
	paceSlow                   // the origin is faster
	paceUnknown                // neighbours are slow, and the origin may be
)

// maxBeside is how often a task's origin is read beside neighbours; it may be no better.
const maxBeside = 4

// pace measures what comes in windows of time. The zero pace begins with the next look.
type pace struct {
	began  time.Time
	bytes  int64   // that had come then
	total  int64   // and of all tasks
	slow   int     // windows in a row
	rate   float64 // in the last window, bytes a second
	beside int     // times that the origin was read for this
	fast   bool    // neighbours were, once
}

// due reports whether there is something to look at.
func (p *pace) due(now time.Time, soon bool) bool {
	window := paceWindow
	if soon && !p.fast {
		window = soonWindow
	}
	return p.began.IsZero() || now.Sub(p.began) >= window
}

// look takes how many bytes have come from neighbours so far, of the task and of all tasks
// of the host, how many more neighbours hold, and what the origin gives, in bytes a second,
// 0 = not known. Above slowRate nothing is slow; where all tasks together come faster than
// that, one is slow only because it shares the link, as the layers of an image do. Soon, one
// window in which something came is enough where that is nothing beside the origin.
func (p *pace) look(now time.Time, bytes, total, held int64, origin, slowRate float64, soon bool) verdict {
	age := now.Sub(p.began)
	began := p.began
	was, all := p.bytes, p.total
	p.began, p.bytes, p.total = now, bytes, total
	switch {
	case began.IsZero():
		return paceWait
	case age > 2*paceWindow: // nobody has waited meanwhile
		p.slow = 0
		return paceWait
	}
	p.rate = float64(bytes-was) / age.Seconds()
	fast := func(rate float64) bool { return rate >= slowRate || origin > 0 && rate >= origin*slowShare }
	switch {
	case float64(held) < p.rate: // it is the others who have no more
		p.slow = 0
		return paceWait
	case fast(p.rate):
		p.slow, p.fast = 0, true
		return paceGood
	case fast(float64(total-all) / age.Seconds()):
		p.slow = 0
		return paceWait
	case p.slow+1 < paceWindows && (!soon || p.fast || bytes == was || origin > 0 && p.rate >= origin*soonShare):
		p.slow++
		return paceWait
	case origin == 0:
		p.slow++
		return paceUnknown
	}
	return paceSlow
}

// slowness is how slowly the tasks came whose neighbour a host was.
type slowness struct {
	rate float64 // bytes a second
	seen time.Time
}

// recent reports whether it still counts.
func (s slowness) recent(now time.Time) bool { return !s.seen.IsZero() && now.Sub(s.seen) < slowMemory }

// compareLocked is called when a reader waits for a piece; it asks the scheduler for the
// origin where that is faster.
func (n *Node) compareLocked(t *task, class p2p.Class, first p2p.Piece) {
	now := time.Now()
	waits := t.puller != nil && t.puller.waits
	soon := t.fewBegin()
	if n.cfg.SlowRate == 0 || !t.pace.due(now, soon) || t.puller != nil && !waits || t.relief != nil || t.stream != nil || t.err != nil || class == p2p.Background ||
		t.pace.beside >= maxBeside || n.cfg.Limits.Receiving(t.id, class).Limited() { // it may be that which is slow
		return
	}
	origin := n.rates.of(now, t.origin)
	if !waits && t.pace == (pace{}) && n.knownSlowLocked(t, now, origin) {
		t.pace.began = now
		n.tracker.Starved(t.id, first, false, true)
		return
	}
	switch t.pace.look(now, t.stats.FromPeers+t.stats.FromSeed, n.fed.bytes, t.heldByOthers(), origin, float64(n.cfg.SlowRate), soon) {
	case paceGood:
		for id, nb := range t.neighbours {
			n.hostLocked(id).slow, nb.slow = slowness{}, false
		}
	case paceUnknown:
		t.hungry = time.Time{}
		n.tracker.Starved(t.id, first, false, false)
	case paceSlow:
		n.slowLocked(t, now)
		if waits {
			n.wakeLocked(t)
			return
		}
		n.tracker.Starved(t.id, first, false, true)
	}
}

// heldByOthers returns how many bytes more than this host the neighbour holds who holds
// the most.
func (t *task) heldByOthers() int64 {
	most := 0
	for _, nb := range t.neighbours {
		if nb.set != nil && nb.geometry == t.geometry {
			most = max(most, nb.set.Count())
		}
	}
	return int64(most-t.have.Count()) * t.geometry.PieceLength
}

// probedLocked is called when this host has read a run because it knew nothing of the
// origin. Where few begin, what it saw is compared at once.
func (n *Node) probedLocked(t *task) {
	origin := n.rates.of(time.Now(), t.origin)
	if n.tasks[t.id] != t || n.closed || !t.hungry.IsZero() || t.pace.slow == 0 || t.pace.fast || !t.fewBegin() || t.pace.rate >= origin*slowShare {
		return
	}
	if first, ok := t.have.NextMissing(0); ok {
		n.slowLocked(t, time.Now())
		n.tracker.Starved(t.id, first, false, true)
	}
}

// fewBegin reports whether there are few neighbours, none of whom has everything.
func (t *task) fewBegin() bool {
	for _, nb := range t.neighbours {
		if nb.set != nil && nb.set.Full() {
			return false
		}
	}
	return len(t.neighbours) <= soonFew
}

// slowLocked takes note that the neighbours who hold something of t are slow.
func (n *Node) slowLocked(t *task, now time.Time) {
	for id, nb := range t.neighbours {
		if nb.set != nil {
			nb.slow = true
			n.hostLocked(id).slow = slowness{t.pace.rate, now}
		}
	}
}

// knownSlowLocked reports whether all that t's neighbours were seen to send, in other
// tasks, is little beside what the origin gives.
func (n *Node) knownSlowLocked(t *task, now time.Time, origin float64) bool {
	sum := 0.0
	for id := range t.neighbours {
		s := n.hostLocked(id).slow
		if !s.recent(now) {
			return false
		}
		sum += s.rate
	}
	return len(t.neighbours) > 0 && sum < float64(n.cfg.SlowRate) && sum < origin*slowShare
}

// apart reports whether this host reads t from the origin because its neighbours are slow.
func (t *task) apart() bool { return t.relief != nil && t.relief.part.beside }

// partLocked stops asking t's neighbours while this host reads beside them: what they
// sent would come twice.
func (n *Node) partLocked(t *task) {
	t.pace.beside++
	for id := range t.neighbours {
		n.core.NeighbourGone(t.id, id)
	}
}

// rejoinLocked asks them again.
func (n *Node) rejoinLocked(t *task) {
	if n.tasks[t.id] != t || n.closed {
		return
	}
	for _, nb := range t.neighbours {
		n.bitmapLocked(t, nb)
	}
	n.pollLocked()
}
