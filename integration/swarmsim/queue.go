package swarmsim

import (
	"fmt"
	"time"
)

// event is something that happens at a time of the simulation.
type event struct {
	at   time.Duration
	seq  uint64 // order of making, for events of the same time
	kind eventKind
	node int32  // whom it happens to
	peer int32  // whom it comes from
	a, b uint64 // what the kind says
	data any    // what the kind says, where numbers do not do
}

type eventKind uint8

const (
	evScript  eventKind = iota // a line of the scenario: data is func()
	evPoll                     // the node's own timer
	evRequest                  // data is request
	evAnswer                   // a refusal: a = request id, b = reason
	evFlow                     // the transfer a may have ended; b = its version
	evFlush                    // the node's haves leave now
	evHaves                    // data is []p2p.Piece
	evFree                     // the peer has a slot
	evBitmap                   // the peer is a neighbour: data is *p2p.PieceSet
	evParted                   // the peer took the link down
	evGone                     // the peer is found dead
	evControl                  // a message to the scheduler: data is a swarm event
	evEffect                   // a message from the scheduler: data is a swarm effect
	evOrigin                   // the node has read piece a from the origin
	evTick                     // the scheduler's timer
	evHeld                     // only in the trace: the node holds piece a
	evKilled                   // only in the trace
)

// String names the kinds that are put into the trace.
func (k eventKind) String() string {
	switch k {
	case evHeld:
		return "holds piece"
	case evKilled:
		return "was killed"
	case evAnswer:
		return "was refused, for reason"
	case evControl:
		return "tells the scheduler, message"
	}
	return fmt.Sprintf("event %d", k)
}

// queue is a binary heap of events, by time and then by order of making.
type queue struct {
	heap []event
	seq  uint64
}

func (q *queue) push(e event) {
	q.seq++
	e.seq = q.seq
	q.heap = append(q.heap, e)
	i := len(q.heap) - 1
	for i > 0 {
		up := (i - 1) / 2
		if !q.before(i, up) {
			break
		}
		q.heap[i], q.heap[up] = q.heap[up], q.heap[i]
		i = up
	}
}

func (q *queue) pop() (event, bool) {
	if len(q.heap) == 0 {
		return event{}, false
	}
	top := q.heap[0]
	last := len(q.heap) - 1
	q.heap[0] = q.heap[last]
	q.heap[last] = event{}
	q.heap = q.heap[:last]
	i := 0
	for {
		least := i
		for _, down := range [...]int{2*i + 1, 2*i + 2} {
			if down < last && q.before(down, least) {
				least = down
			}
		}
		if least == i {
			return top, true
		}
		q.heap[i], q.heap[least] = q.heap[least], q.heap[i]
		i = least
	}
}

func (q *queue) before(i, j int) bool {
	a, b := &q.heap[i], &q.heap[j]
	return a.at < b.at || a.at == b.at && a.seq < b.seq
}
