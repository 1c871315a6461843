package node

import (
	"fmt"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/darter-p2p/darter/p2p"
	"github.com/darter-p2p/darter/p2p/exchange"
)

// maxReadings is how many origins of a task are told apart. Beyond it, where the
// content is from is not known.
const maxReadings = 4

// noteSum notes the sha256 of a content that has another name.
func (p *puller) noteSum(d digest.Digest) {
	if _, named := p.t.id.Digest(); named {
		return
	}
	p.n.mu.Lock()
	defer p.n.mu.Unlock()
	p.n.noteLocked(p.t, p2p.SumReading(d, time.Now().UTC().Truncate(time.Second)), "")
}

// sum returns the content's sha256, "" where nobody said it, or two said different ones.
func (t *task) sum() (d digest.Digest) {
	if d, named := t.id.Digest(); named {
		return d
	}
	for _, r := range t.readings {
		said, ok := r.Sum()
		if !ok || d != "" && d != said {
			return ""
		}
		d = said
	}
	return d
}

// origins returns where the content was read.
func (t *task) origins() []p2p.Reading {
	return slices.DeleteFunc(slices.Clone(t.readings), func(r p2p.Reading) bool {
		_, is := r.Sum()
		return is
	})
}

// readLocked notes that this host's puller got bytes of the origin.
func (p *puller) readLocked() {
	public := p.key == ""
	if _, digest := p.t.id.Digest(); !digest || p.noted != nil && *p.noted == public {
		return // a URL's task is public, and its origin may hold a signature
	}
	p.noted = &public
	p.n.noteLocked(p.t, p2p.Reading{Origin: p.origin, Public: public, Seen: time.Now().UTC().Truncate(time.Second)}, "")
}

// noteLocked takes up where a task was read, keeps it with the task, and passes it on.
// The later word on an origin counts.
func (n *Node) noteLocked(t *task, r p2p.Reading, from p2p.HostID) {
	if now := time.Now(); r.Seen.After(now) { // the clocks differ
		r.Seen = now.UTC().Truncate(time.Second)
	}
	if !t.note(r) {
		return
	}
	n.keepReadingsLocked(t, r)
	for _, l := range n.toldLocked(t) {
		if l.Host() != from {
			l.Send(exchange.Reading{Task: t.id, Reading: r})
		}
	}
}

// note reports whether a reading says something new.
func (t *task) note(r p2p.Reading) bool {
	i := slices.IndexFunc(t.readings, func(x p2p.Reading) bool { return x.Origin == r.Origin })
	switch {
	case i >= 0 && !r.Seen.After(t.readings[i].Seen) && (r.Public || !t.readings[i].Public):
		return false
	case i >= 0:
		t.readings[i] = r
	case len(t.readings) < maxReadings:
		t.readings = append(t.readings, r)
	case t.readings[maxReadings-1] == (p2p.Reading{}):
		return false
	default:
		t.readings[maxReadings-1] = p2p.Reading{}
	}
	return true
}

// keepReadingsLocked keeps readings in the store, beside the digests.
func (n *Node) keepReadingsLocked(t *task, readings ...p2p.Reading) {
	if t.handle == nil {
		return
	}
	for _, r := range readings {
		if err := t.handle.AddProof(r.AppendBinary(nil), false); err != nil {
			n.events.TaskFailed(t.id, fmt.Errorf("keep where it was read: %w", err))
		}
	}
}

// recall takes up a reading that the store kept; what cannot be read is an
// origin that is not known.
func (t *task) recall(proof []byte) {
	r, err := p2p.ReadingFromBinary(proof)
	if err != nil {
		r = p2p.Reading{}
	}
	t.note(r)
}

// receiveReadingLocked takes a host's word on where a task was read. It comes before the
// host's first bitmap, which is what makes a neighbour of one that the scheduler did not
// name yet.
func (n *Node) receiveReadingLocked(from p2p.HostID, m exchange.Reading) {
	t := n.taskLocked(m.Task)
	if t == nil {
		return
	}
	if _, banned := t.banned[from]; banned {
		return
	}
	n.noteLocked(t, m.Reading, from)
}

// Readings returns where the content was read, as far as it is here.
func (r *Reader) Readings() []p2p.Reading {
	r.n.mu.Lock()
	defer r.n.mu.Unlock()
	return r.t.origins()
}

// Sum returns the sha256 that who read the content's origin computed, "" = not known, or
// not yet.
func (r *Reader) Sum() digest.Digest {
	r.n.mu.Lock()
	defer r.n.mu.Unlock()
	return r.t.sum()
}
