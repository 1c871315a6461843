// Package ahead decides which layers of which images are fetched and unpacked before
// containerd asks for them, and when that stops. It has no clock, no goroutine and no
// disk: events go in, effects come out.
//
// A pull asks for its layers one after another, the lowest first. While all are served
// the layers above run ahead, the lowest first, a bounded number at a time; one that a
// pull waits for starts at once. The first layer that is not served makes containerd
// fetch all above it, too: the pull has fallen. Then nothing more starts for it and
// nobody waits; what runs goes on, and is used if it is ready when it is asked for.
package ahead

import (
	"cmp"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"
)

// Pull names an image as one repository has it. Pulls of one name are one pull.
type Pull string

// Layer is a layer at its place in an image.
type Layer struct {
	Chain digest.Digest // its chain ID
	Index int           // 0 is the lowest
}

// Job is a layer to be fetched for a pull, from that pull's repository.
type Job struct {
	Chain digest.Digest
	Pull  Pull
}

// Effects are what the events since the last call ask for, in this order.
type Effects struct {
	Stop   []digest.Digest // jobs to end; Done is called for each
	Drop   []digest.Digest // finished jobs whose result nobody wants
	Forget []Pull
	Start  []Job
}

// Answer is how a layer stands.
type Answer int

// Answers.
const (
	Wait    Answer = iota // it is on its way
	Ready                 // the caller takes it now, and calls Placed
	Failed                // for this pull
	Missing               // it was not planned, or somebody took it
)

type state int

const (
	queued state = iota
	running
	stopping // nobody wants it, its job has not ended
	ready
	placing // somebody took it
)

// Queue is the state. The caller serialises its methods.
type Queue struct {
	parallel int
	keep     time.Duration
	pulls    map[Pull]*pull
	layers   map[digest.Digest]*layer
	asked    map[digest.Digest]int // how many wait for a layer now
	order    int
	effects  Effects
}

type pull struct {
	asking int // calls between Enter and Leave
	used   time.Time
	try    int                    // counted up when it begins anew
	past   map[digest.Digest]bool // layers at and above the one where it fell; nil = it has not
	faults map[digest.Digest]error
}

type layer struct {
	state  state
	index  int
	order  int
	source Pull   // whose repository is read
	try    int    // of the source, when the job was started
	pulls  []Pull // who wants it
}

// New returns an empty queue. At most parallel layers run ahead; what a pull that is
// silent for keep has not taken is dropped.
func New(parallel int, keep time.Duration) *Queue {
	return &Queue{
		parallel: parallel, keep: keep,
		pulls: map[Pull]*pull{}, layers: map[digest.Digest]*layer{}, asked: map[digest.Digest]int{},
	}
}

// Enter says that a pull asks for a layer; parent is the chain ID below it, "" for the
// lowest. It reports whether the pull has fallen below this layer, so that nobody waits
// for it. A pull that asks again for a layer where it fell, or for a lower one, begins
// anew. Every Enter is followed by one Leave.
func (q *Queue) Enter(p Pull, chain, parent digest.Digest, now time.Time) (fallen bool) {
	x := q.pulls[p]
	if x == nil {
		x = &pull{faults: map[digest.Digest]error{}}
		q.pulls[p] = x
	}
	x.asking++
	x.used = now
	q.asked[chain]++
	if x.past[parent] {
		x.past[chain] = true
		return true
	}
	if x.past != nil {
		x.past = nil
		x.try++
		clear(x.faults)
	}
	return false
}

// Plan says which layers a pull that entered will want, the lowest first. Those that are
// known stay as they are; one that failed, and those above it, are left out.
func (q *Queue) Plan(p Pull, layers []Layer) {
	for _, want := range layers {
		if q.pulls[p].faults[want.Chain] != nil {
			break
		}
		l := q.layers[want.Chain]
		if l == nil {
			q.order++
			l = &layer{index: want.Index, order: q.order}
			q.layers[want.Chain] = l
		}
		l.index = min(l.index, want.Index)
		if !slices.Contains(l.pulls, p) {
			l.pulls = append(l.pulls, p)
		}
	}
	q.start()
}

// Ask says how a layer stands for a pull that entered; the error is that of Failed.
func (q *Queue) Ask(p Pull, chain digest.Digest) (Answer, error) {
	l := q.layers[chain]
	switch err := q.pulls[p].faults[chain]; {
	case l != nil && l.state == ready:
		l.state = placing
		return Ready, nil
	case err != nil:
		return Failed, err
	case l == nil:
		return Missing, nil
	}
	return Wait, nil
}

// Placed says that whoever got Ready is done with the layer, well or not.
func (q *Queue) Placed(chain digest.Digest) { delete(q.layers, chain) }

// Done says that a job has ended. Where it failed, and another pull wants the layer,
// it is tried from that one's repository; where its own pull has begun anew since, once more.
func (q *Queue) Done(chain digest.Digest, err error) {
	l := q.layers[chain]
	stopped := l.state == stopping
	switch {
	case err == nil && len(l.pulls) > 0:
		l.state = ready
	case err == nil:
		delete(q.layers, chain)
		q.effects.Drop = append(q.effects.Drop, chain)
	default:
		if x := q.pulls[l.source]; x != nil && !stopped && x.try == l.try {
			x.faults[chain] = err
			l.pulls = slices.DeleteFunc(l.pulls, func(p Pull) bool { return p == l.source })
		}
		l.state = queued
		if len(l.pulls) == 0 {
			delete(q.layers, chain)
		}
	}
	q.start()
}

// Leave says that a pull that entered for a layer has its answer. Where the layer was
// not served the pull has fallen.
func (q *Queue) Leave(p Pull, chain digest.Digest, served bool, now time.Time) {
	x := q.pulls[p]
	x.asking--
	x.used = now
	if q.asked[chain]--; q.asked[chain] == 0 {
		delete(q.asked, chain)
	}
	if !served {
		if x.past == nil {
			x.past = map[digest.Digest]bool{}
		}
		x.past[chain] = true
		for _, c := range q.sorted() {
			if c == chain || q.layers[c].state == queued {
				q.unwant(c, p)
			}
		}
	}
	q.start()
}

// Expire drops what pulls that have been silent for long wanted.
func (q *Queue) Expire(now time.Time) {
	for p, x := range q.pulls {
		if x.asking > 0 || now.Sub(x.used) < q.keep {
			continue
		}
		for _, c := range q.sorted() {
			q.unwant(c, p)
		}
		delete(q.pulls, p)
		q.effects.Forget = append(q.effects.Forget, p)
	}
	slices.Sort(q.effects.Forget)
	q.start()
}

// Effects returns what is to be done, once.
func (q *Queue) Effects() Effects {
	e := q.effects
	q.effects = Effects{}
	return e
}

// Counts returns how many layers run and how many are ready and not taken.
func (q *Queue) Counts() (run, done int) {
	for _, l := range q.layers {
		switch l.state {
		case running, stopping:
			run++
		case ready:
			done++
		}
	}
	return run, done
}

// unwant says that a pull does not want a layer.
func (q *Queue) unwant(chain digest.Digest, p Pull) {
	l := q.layers[chain]
	had := len(l.pulls)
	l.pulls = slices.DeleteFunc(l.pulls, func(x Pull) bool { return x == p })
	if len(l.pulls) > 0 || had == 0 {
		return
	}
	switch l.state {
	case queued:
		delete(q.layers, chain)
	case running:
		l.state = stopping
		q.effects.Stop = append(q.effects.Stop, chain)
	case ready:
		delete(q.layers, chain)
		q.effects.Drop = append(q.effects.Drop, chain)
	case stopping, placing:
	}
}

// start starts what may run: layers that somebody waits for at once, others while
// there is room, the lowest first.
func (q *Queue) start() {
	run, _ := q.Counts()
	for _, c := range q.sorted() {
		l := q.layers[c]
		if l.state != queued || q.asked[c] == 0 && run >= q.parallel {
			continue
		}
		run++
		l.state, l.source = running, l.pulls[0]
		l.try = q.pulls[l.source].try
		q.effects.Start = append(q.effects.Start, Job{c, l.source})
	}
}

// sorted returns the layers in the order in which they are wanted.
func (q *Queue) sorted() []digest.Digest {
	all := make([]digest.Digest, 0, len(q.layers))
	for c := range q.layers {
		all = append(all, c)
	}
	slices.SortFunc(all, func(a, b digest.Digest) int {
		x, y := q.layers[a], q.layers[b]
		return cmp.Or(
			cmp.Compare(min(q.asked[b], 1), min(q.asked[a], 1)),
			cmp.Compare(x.index, y.index),
			cmp.Compare(x.order, y.order),
		)
	})
	return all
}
