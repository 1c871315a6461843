package upload

import (
	"slices"
	"time"

	"github.com/darter-p2p/darter/p2p"
)

// Line is who waits at a seed for a piece of one task that nobody was sent before. The
// host that was given least is next, and of hosts given alike the one that has waited
// longest: pieces that come one at a time, as from an origin, then spread over the
// swarm instead of going to whoever asks first. Hosts that take much longer over a piece
// than others come last: everybody waits for what they have. The zero Line is empty; it
// is not safe for concurrent use.
type Line struct {
	waiting []Waiter // in the order they came
	called  []Waiter // by Call, and not seen since
	given   map[p2p.HostID]int
	all     Given                        // of the lines that share it with this one; nil = only this one
	took    map[p2p.HostID]time.Duration // a running mean of each host's time over a piece
	mean    time.Duration                // of all hosts
}

// Given counts what hosts were given in the Lines that share it. The layers of an image come
// at once, and the host that came first to each of their lines is the same: counted apart,
// it would be next in all of them.
type Given map[p2p.HostID]int

// Share has a line count in g, with what it gave so far.
func (l *Line) Share(g Given) {
	l.Unshare()
	l.all = g
	for h, n := range l.given {
		g[h] += n
	}
}

// Unshare takes what a line gave out of what it shares, and has it count alone.
func (l *Line) Unshare() {
	for h, n := range l.given {
		l.all.add(h, -n)
	}
	l.all = nil
}

func (g Given) add(h p2p.HostID, n int) {
	if g == nil {
		return
	}
	if g[h] += n; g[h] == 0 {
		delete(g, h)
	}
}

// gave returns what a host was given, as it counts here.
func (l *Line) gave(h p2p.HostID) int {
	if l.all != nil {
		return l.all[h]
	}
	return l.given[h]
}

// A host is slow that takes so many times the mean over a piece.
const slowFactor = 3

// forgive is how a host comes to be tried again that was slow for a moment only: each
// time that it is passed over its time counts for that much less. At four times the mean
// that is after some 150 pieces for others, at ten times after 600.
const forgive = 512

// Took says how long a host took over a piece.
func (l *Line) Took(h p2p.HostID, d time.Duration) {
	if l.took == nil {
		l.took = map[p2p.HostID]time.Duration{}
	}
	average := func(old time.Duration) time.Duration {
		if old == 0 {
			return d
		}
		return old + (d-old)/4
	}
	l.took[h] = average(l.took[h])
	if !l.slow(h) || l.mean == 0 {
		l.mean = average(l.mean)
	}
}

func (l *Line) slow(h p2p.HostID) bool { return l.mean > 0 && l.took[h] > slowFactor*l.mean }

// before reports whether one host is to be called before another.
func (l *Line) before(a, b p2p.HostID) bool {
	if sa, sb := l.slow(a), l.slow(b); sa != sb {
		return sb
	}
	return l.gave(a) < l.gave(b)
}

// Waiter is one request in a Line.
type Waiter struct {
	Host    p2p.HostID
	Request uint32
}

// Wait puts a request at the end of the line.
func (l *Line) Wait(w Waiter) { l.waiting = append(l.waiting, w) }

// Call takes the next request that may be served out of the line, and false if there is
// none. Its host counts as given a piece until Missed says otherwise.
func (l *Line) Call(may func(Waiter) bool) (Waiter, bool) {
	best := -1
	for i, w := range l.waiting {
		if (best < 0 || l.before(w.Host, l.waiting[best].Host)) && may(w) {
			best = i
		}
	}
	if best < 0 {
		return Waiter{}, false
	}
	w := l.waiting[best]
	for _, q := range l.waiting {
		if l.slow(q.Host) && !l.slow(w.Host) {
			l.took[q.Host] -= l.took[q.Host] / forgive
		}
	}
	l.waiting = slices.Delete(l.waiting, best, best+1)
	l.called = append(l.called, w)
	if l.given == nil {
		l.given = map[p2p.HostID]int{}
	}
	l.given[w.Host]++
	l.all.add(w.Host, 1)
	return w, true
}

// Answer reports whether a request was called and not seen since: it is now.
func (l *Line) Answer(w Waiter) bool {
	i := slices.Index(l.called, w)
	if i >= 0 {
		l.called = slices.Delete(l.called, i, i+1)
	}
	return i >= 0
}

// Missed says that a host did not get the piece that it was called for.
func (l *Line) Missed(h p2p.HostID) {
	if l.given[h] > 0 {
		l.given[h]--
		l.all.add(h, -1)
	}
}

// Leave takes a request out of the line that its host wants no more.
func (l *Line) Leave(w Waiter) {
	if l.Answer(w) {
		l.Missed(w.Host)
	}
	l.waiting = slices.DeleteFunc(l.waiting, func(q Waiter) bool { return q == w })
}

// Called returns how many requests were called and not seen since.
func (l *Line) Called() int { return len(l.called) }

// Len returns how many requests wait.
func (l *Line) Len() int { return len(l.waiting) }
