package node

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/containerd/errdefs"

	"github.com/darter-p2p/darter/p2p"
	"github.com/darter-p2p/darter/p2p/store"
	"github.com/darter-p2p/darter/p2p/trust"
)

// puller is this host's reading of a task's origin for the swarm.
type puller struct {
	n      *Node
	t      *task
	origin p2p.Origin // as its source reads it
	lent   bool       // readers have a credential for it
	signer *trust.Signer
	ctx    context.Context
	cancel context.CancelFunc
	sum    sum           // of the content, as far as it was read in order
	batch  batch         // what was read and is not signed; guarded by Node.mu
	signs  sync.Mutex    // held while a batch is signed and published
	due    chan struct{} // the batch is to be signed now
	signed bool          // a batch was; guarded by Node.mu
	stalls int           // of the origin so far
	early  *endedEarly   // the last answer that ended in the last piece
	part   *part         // the only pieces to read; nil = all that the swarm lacks
	share  p2p.Stripe    // of the content, which others read too; guarded by Node.mu
	held   int           // pieces when the last one came that this puller waits for
	heldAt time.Time
	first  int64 // bytes to ask for while the size is not known; -1 = all
	waits  bool  // for neighbours that hold what is missing; guarded by Node.mu

	key     p2p.Secret   // the Authorization shown to the origin; "" = none
	refused []p2p.Secret // by the origin
	search  *search      // for a key; nil = none is under way
	noted   *bool        // what was noted: read without a key
}

// Pull is the scheduler's word to read from the origin what the swarm lacks of a
// task, a share of it, or to stop doing so. The token is an acting seed's right to sign.
func (n *Node) Pull(id p2p.TaskID, origin p2p.Origin, size int64, token []byte, share p2p.Stripe, stop bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return
	}
	t := n.taskLocked(id)
	switch {
	case stop:
		if t != nil && t.puller != nil {
			t.puller.cancel()
		}
		return
	case t == nil:
		t = n.newTaskLocked(id, origin)
	case t.complete:
		n.tracker.PullDone(id)
		return
	case t.stream != nil:
		n.tracker.PullFailed(id, p2p.OriginError{Message: "its disk is full", Puller: n.self})
		return
	case t.puller != nil:
		t.puller.reshareLocked(share)
		return
	}
	signer, err := n.security.Signer(token)
	if err != nil {
		n.tracker.PullFailed(id, p2p.OriginError{Message: err.Error(), Puller: n.self})
		return
	}
	t.origin, t.joined = origin, true
	if share.Helper && size >= 0 { // the puller heard it of the origin
		if err := n.setSizeLocked(t, size); err != nil {
			n.tracker.PullFailed(id, p2p.OriginError{Message: err.Error(), Puller: n.self})
			return
		}
	}
	n.wantAllLocked(t)
	p := &puller{n: n, t: t, signer: signer, sum: newSum(), share: share, due: make(chan struct{}, 1)}
	p.origin, p.lent = origin.Bare()
	p.ctx, p.cancel = context.WithCancel(n.ctx)
	t.puller = p
	n.goLocked(p.run)
}

// wantAllLocked makes a task one that this host wants whole.
func (n *Node) wantAllLocked(t *task) {
	t.wantAll = true
	if !t.geometry.IsZero() {
		n.core.Want(t.id, 0, p2p.Piece(t.geometry.Pieces()))
	}
}

// errWrongContent says that an origin's bytes are not those of the task's digest.
var errWrongContent = errors.New("served bytes that do not have the digest asked for")

func (p *puller) run() {
	defer p.cancel()
	err := p.read()
	for err == nil && !p.t.full(p.n) {
		if p.leave() {
			return
		}
		err = p.read()
	}
	if err == nil {
		if p.leave() {
			return
		}
		err = p.finish()
	}
	p.report(err)
	p.n.noDisk(p.t, err)
	if errors.Is(err, errWrongContent) {
		p.revoke(err)
	}
}

// report tells the scheduler how the reading of the origin ended.
func (p *puller) report(err error) {
	n, t := p.n, p.t
	n.mu.Lock()
	defer n.mu.Unlock()
	if t.puller == p {
		t.puller = nil
	}
	switch {
	case err == nil:
		n.tracker.PullDone(t.id)
	case p.ctx.Err() != nil:
	default:
		said := p2p.OriginError{Message: fmt.Sprintf("%s %v", p.origin, err), Wrong: errors.Is(err, errWrongContent)}
		errors.As(err, &said)
		said.Puller = n.self
		n.events.PullFailed(t.id, p.origin, err)
		n.tracker.PullFailed(t.id, said)
	}
}

// read reads every piece that neither this host nor a neighbour holds, until this
// host holds all: those of neighbours come from them.
func (p *puller) read() error {
	tries := 0
	for {
		if err := p.sumUp(); err != nil {
			return err
		}
		first, end, state, changed := p.gap()
		switch state {
		case gapNone:
			return nil
		case gapElsewhere:
			select {
			case <-changed:
			case <-time.After(time.Second): // a neighbour may have gone
			case <-p.ctx.Done():
				return p.ctx.Err()
			}
			continue
		}
		pieces, err := p.readRun(first, end)
		if pieces > 0 {
			tries, p.refused = 0, nil
		}
		if err == nil {
			continue
		}
		if errors.Is(err, errMet) {
			return err
		}
		if p.again(err) {
			return fmt.Errorf("%w: %w", p2p.OriginError{Status: 200, Message: fmt.Sprintf("%s says that it is longer than it is", p.origin), Puller: p.n.self}, err)
		}
		if refusal := err; p.ctx.Err() == nil {
			if err = p.unlock(refusal); err == nil {
				continue
			}
		}
		if tries++; p.ctx.Err() != nil || tries >= p.n.cfg.OriginTries || !retryable(err) {
			return err
		}
		p.n.events.OriginRetry(p.t.id, p.origin, err)
		var said p2p.OriginError
		errors.As(err, &said)
		select {
		case <-time.After(max(time.Duration(tries)*200*time.Millisecond, min(said.RetryAfter, maxRetryAfter))):
		case <-p.ctx.Done():
			return p.ctx.Err()
		}
	}
}

// maxRetryAfter is how long a puller waits where an origin says when to come again. One
// that wants more of it has refused.
const maxRetryAfter = 2 * time.Second

// retryable reports whether an origin may say something else when asked again soon.
func retryable(err error) bool {
	var said p2p.OriginError
	if diskFails(err) || errors.Is(err, errNoCredential) || errors.Is(err, errWrongContent) || errors.Is(err, p2p.ErrBadGeometry) {
		return false
	}
	if errors.As(err, &said) && said.Status == 429 {
		return said.RetryAfter > 0 && said.RetryAfter <= maxRetryAfter
	}
	return said.Status == 0 && !errdefs.IsPermissionDenied(err) || said.Status >= 500
}

type gapState uint8

const (
	gapHere      gapState = iota // to be read from the origin
	gapElsewhere                 // what is missing is held by neighbours
	gapNone                      // nothing is missing
)

// gap returns the next run of pieces to read; end is 0 while the size is unknown.
func (p *puller) gap() (first, end p2p.Piece, state gapState, changed <-chan struct{}) {
	n, t := p.n, p.t
	n.mu.Lock()
	defer n.mu.Unlock()
	if t.geometry.IsZero() {
		if p.first = -1; !p.share.Whole() {
			p.first = p.share.Run
		}
		return 0, 0, gapHere, nil
	}
	if t.have.Full() {
		return 0, 0, gapNone, nil
	}
	if p.part != nil {
		first, end, state = p.part.gapLocked(t)
		return first, end, state, nil
	}
	first, end, ok := p.gapLocked()
	switch {
	case ok:
		p.heldAt, p.waits = time.Time{}, false
		return first, end, gapHere, nil
	case p.share.Helper:
		return 0, 0, gapNone, nil
	}
	if first, end, ok = p.stealLocked(time.Now()); ok {
		return first, end, gapHere, nil
	}
	p.waits = true
	return 0, 0, gapElsewhere, t.changed
}

// elsewhere reports whether a neighbour holds a piece, and can be waited for.
func (t *task) elsewhere(p p2p.Piece) bool {
	for _, nb := range t.neighbours {
		if !nb.slow && nb.set != nil && nb.geometry == t.geometry && nb.set.Has(p) {
			return true
		}
	}
	return false
}

// finish checks the whole content and signs the final map.
func (p *puller) finish() error {
	n, t := p.n, p.t
	n.mu.Lock()
	h, final := t.handle, t.final
	n.mu.Unlock()
	if final {
		return nil
	}
	got, err := p.sum.whole(h, t.geometry.Size)
	if err != nil {
		return err
	}
	if want, ok := t.id.Digest(); ok && got != want {
		return fmt.Errorf("%w: %s, not %s", errWrongContent, got, want)
	}
	p.noteSum(got)
	n.mu.Lock()
	b := trust.Batch{Task: t.id, Geometry: t.geometry, Digests: t.held(h), Final: true}
	n.mu.Unlock()
	return p.publish(b)
}

// held returns the digests of all pieces. Of those that another reading here has not
// signed yet the store knows them.
func (t *task) held(h store.Task) []p2p.PieceDigest {
	digests := slices.Clone(t.digests)
	for p := range digests {
		if !t.known.Has(p2p.Piece(p)) {
			digests[p], _ = h.Digest(p2p.Piece(p))
		}
	}
	return digests
}

// revoke takes back what this host signed: the content is not what its digest says.
func (p *puller) revoke(cause error) {
	n, t := p.n, p.t
	r, err := p.signer.Revocation(trust.Revocation{Task: t.id, Origin: p.origin, Signer: n.self, Reason: cause.Error()}, time.Now())
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.tasks[t.id] != t {
		return
	}
	if err == nil {
		n.spreadRevocationLocked(t, r)
	}
	n.events.Revoked(t.id, p.origin, cause.Error())
	n.revokeLocked(t, fmt.Errorf("task %s: origin %s %w: %w", t.id, p.origin, cause, ErrRevoked))
}
