package exchange

import (
	"fmt"
	"sync"

	"github.com/darter-p2p/darter/p2p"
)

// maxOpen is how many tasks have Haves waiting to be merged.
const maxOpen = 32

// outbox is a link's queue: messages are encoded as they come, behind one another,
// and the writer takes all of them at once. Haves of one task that wait together
// become one frame.
//
// Haves may be overtaken by messages that do not depend on them (a batch of digests
// may come earlier than it must), but never overtake one, and keep their order with
// the Bitmap, Leave and Revoke messages around them.
type outbox struct {
	limit int           // bytes
	wake  chan struct{} // holds a token while something waits

	mu   sync.Mutex
	enc  encoder
	buf  []byte
	open []waiting // Haves behind buf
	held int       // pieces in open
}

// waiting is a task's Haves that are not encoded yet.
type waiting struct {
	task   p2p.TaskID
	pieces []p2p.Piece
}

func newOutbox(limit int) *outbox {
	return &outbox{limit: limit, wake: make(chan struct{}, 1)}
}

// add queues a message. It fails with errQueueFull, or ErrInvalidArgument.
func (o *outbox) add(m Message) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch m := m.(type) {
	case Have:
		if err := o.addHave(m); err != nil {
			return err
		}
	case Digests, Prune, Graft, Free, Cancel, Ping, Pong:
		if err := o.encode(m); err != nil {
			return err
		}
	default:
		o.closeHaves()
		if err := o.encode(m); err != nil {
			return err
		}
	}
	return o.queued()
}

// raw queues bytes that are frames already.
func (o *outbox) raw(frames []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.buf = append(o.buf, frames...)
	_ = o.queued()
}

func (o *outbox) encode(m Message) (err error) {
	o.buf, err = o.enc.message(o.buf, m)
	return err
}

func (o *outbox) addHave(m Have) error {
	if len(m.Pieces) == 0 {
		return nil
	}
	if err := validPieces(m.Pieces); err != nil {
		return fmt.Errorf("send a have: %w", err)
	}
	o.held += len(m.Pieces)
	for i := range o.open {
		if o.open[i].task == m.Task {
			o.open[i].pieces = append(o.open[i].pieces, m.Pieces...)
			return nil
		}
	}
	if len(o.open) == maxOpen {
		o.closeHaves()
		o.held = len(m.Pieces)
	}
	if len(o.open) < cap(o.open) {
		o.open = o.open[:len(o.open)+1] // the slot's pieces are used again
	} else {
		o.open = append(o.open, waiting{})
	}
	w := &o.open[len(o.open)-1]
	w.task, w.pieces = m.Task, append(w.pieces[:0], m.Pieces...)
	return nil
}

// closeHaves encodes the Haves that wait, so that what is added next comes after them.
func (o *outbox) closeHaves() {
	for i := range o.open {
		o.buf = o.enc.have(o.buf, o.open[i].task, o.open[i].pieces)
		if cap(o.open[i].pieces)*4 > keepBuffer {
			o.open[i].pieces = nil
		}
	}
	o.open, o.held = o.open[:0], 0
}

// queued wakes the writer, or reports that too much waits.
func (o *outbox) queued() error {
	if len(o.buf)+4*o.held > o.limit {
		return errQueueFull
	}
	select {
	case o.wake <- struct{}{}:
	default:
	}
	return nil
}

// take returns everything that waits and gives the outbox spare to fill next.
func (o *outbox) take(spare []byte) []byte {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closeHaves()
	b := o.buf
	if cap(spare) > keepBuffer {
		spare = nil
	}
	o.buf = spare[:0]
	return b
}
