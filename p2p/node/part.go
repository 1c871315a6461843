package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/containerd/errdefs"

	"github.com/darter-p2p/darter/p2p"
	"github.com/darter-p2p/darter/p2p/exchange"
)

// Part is a range of a content as one neighbour sends it. Nobody has checked it: it is for
// a reader who knows the digest of these very bytes from elsewhere, and looks at them
// no sooner than it matched. It reaches neither the store nor another reader. It is not
// safe for concurrent use.
type Part struct {
	n        *Node
	t        *task
	from     *host
	seed     bool
	readings []p2p.Reading
	size     int64 // of the content
	began    time.Time

	stream exchange.Stream
	raw    io.Reader
	in     io.Reader // raw, at the pace of the limits
	got    int64
	left   int64
	stall  *time.Timer
	unhook func() bool
	over   bool
}

// ErrNoPart is wrapped by OpenPart's error where the bytes are to be read by pieces.
var ErrNoPart = fmt.Errorf("nobody gives a part: %w", errdefs.ErrUnavailable)

const (
	// partsRest is how long a neighbour that kept a reader waiting is asked for no part.
	partsRest = 10 * time.Second
	// crowdRest is how long a task is read by pieces after a neighbour was too busy for a part.
	crowdRest = time.Second
	// partStreams is how many idle connections for parts a host keeps to another.
	partStreams = 2
)

// OpenPart asks one neighbour for exactly the range of w, which has an offset and a length
// and is of a task that was opened before, and waits until its first byte comes. Where no
// neighbour holds all of it, where pieces of it are here or on their way, and where most of
// one has come by parts, it returns ErrNoPart at once. ctx bounds the reading, too.
func (n *Node) OpenPart(ctx context.Context, w Want) (*Part, error) {
	p, r := n.choosePart(w)
	if p == nil {
		return nil, ErrNoPart
	}
	if err := p.ask(ctx, r); err != nil {
		p.end(err)
		return nil, fmt.Errorf("part from %s: %w: %w", p.from.id, ErrNoPart, err)
	}
	return p, nil
}

// choosePart finds whom to ask, and what; nil = nobody.
func (n *Node) choosePart(w Want) (*Part, exchange.Request) {
	n.mu.Lock()
	defer n.mu.Unlock()
	t, now := n.tasks[w.Task], time.Now()
	if t == nil || n.closed || t.err != nil || t.apart() || t.geometry.IsZero() || t.stream != nil || now.Before(t.partsAfter) {
		return nil, exchange.Request{}
	}
	if w.Offset < 0 || w.Length <= 0 || w.Length > exchange.MaxPart || w.Offset > t.geometry.Size-w.Length {
		return nil, exchange.Request{}
	}
	first, end := t.geometry.PieceRange(w.Offset, w.Length)
	for piece := first; piece < end; piece++ {
		if t.have.Has(piece) || n.core.Coming(t.id, piece) || t.parted[piece] >= t.geometry.Length(piece)/2 {
			return nil, exchange.Request{}
		}
	}
	nb := n.partHolderLocked(t, first, end, now)
	if nb == nil {
		return nil, exchange.Request{}
	}
	t.used = now
	t.partedLocked(w.Offset, w.Length)
	t.partedAt = now
	if !t.settles {
		t.settles = true
		n.goLocked(func() { n.settle(t) })
	}
	h := n.hosts[nb.host.ID]
	h.parts.asked++
	p := &Part{
		n: n, t: t, from: h, seed: nb.host.Seed, readings: slices.Clone(t.readings), size: t.geometry.Size,
		left: w.Length, began: now,
	}
	return p, exchange.Request{
		ID: n.partIDLocked(), Task: t.id, First: first, Count: 1, Offset: uint32(w.Offset - t.geometry.Offset(first)), //nolint:gosec // less than a piece
		Class: w.Class, Length: uint32(w.Length),
	}
}

// partIDLocked returns a number that no request for pieces has.
func (n *Node) partIDLocked() uint32 {
	n.partID++
	return 1<<31 | n.partID
}

// partHolderLocked returns the neighbour to ask for a part: one that holds all of it, is
// asked for the least, and no seed if there is another.
func (n *Node) partHolderLocked(t *task, first, end p2p.Piece, now time.Time) (best *neighbour) {
	least := 0
	for id, nb := range t.neighbours {
		h := n.hosts[id]
		if h == nil || h.link == nil || !h.link.Parts() || now.Before(h.parts.after) || nb.slow ||
			nb.host.Addr == "" || nb.geometry != t.geometry || !holds(nb.set, first, end) {
			continue
		}
		cost := 2 * h.parts.asked
		if nb.host.Seed { // its uplink is everybody's
			cost++
		}
		if best == nil || cost < least {
			best, least = nb, cost
		}
	}
	return best
}

// holds reports whether a set has all pieces of [first, end).
func holds(set *p2p.PieceSet, first, end p2p.Piece) bool {
	if set == nil {
		return false
	}
	missing, ok := set.NextMissing(first)
	return !ok || missing >= end
}

// partedLocked notes that a part is asked for. A piece of which half has come so is read
// as a piece from then on: it has readers, here and maybe at neighbours.
func (t *task) partedLocked(off, length int64) {
	if t.parted == nil {
		t.parted = map[p2p.Piece]int64{}
	}
	for length > 0 {
		p := t.geometry.PieceAt(off)
		k := min(length, t.geometry.Offset(p)+t.geometry.Length(p)-off)
		t.parted[p] += k
		off, length = off+k, length-k
	}
}

// settle has the pieces that parts were of fetched when no part is asked for any more: who
// has read a content is to have it for others, also when its origin is gone.
func (n *Node) settle(t *task) {
	timer := time.NewTimer(n.cfg.PartSettle)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-n.ctx.Done():
			return
		}
		if left := n.settled(t, time.Now()); left > 0 {
			timer.Reset(left)
			continue
		}
		return
	}
}

// settled does what settle waits for, or returns how long to wait.
func (n *Node) settled(t *task, now time.Time) time.Duration {
	n.mu.Lock()
	defer n.mu.Unlock()
	if left := t.partedAt.Add(n.cfg.PartSettle).Sub(now); left > 0 {
		return left
	}
	t.settles = false
	if n.tasks[t.id] == t && t.err == nil && t.stream == nil {
		for p := range t.parted {
			n.core.Want(t.id, p, p+1)
		}
		n.pollLocked()
	}
	return 0
}

// ask sends the request and waits for the answer. A connection that was left from an
// earlier part may have ended meanwhile: then another is made.
func (p *Part) ask(ctx context.Context, r exchange.Request) error {
	n := p.n
	n.mu.Lock()
	p.stream = p.from.parts.take()
	at := p.from.at
	n.mu.Unlock()
	if p.stream != nil {
		err := p.begin(ctx, r)
		if err == nil || !errors.Is(err, errBroken) {
			return err
		}
		p.unhang()
		_ = p.stream.Close()
	}
	patience, cancel := context.WithTimeout(ctx, n.cfg.PartStall)
	stream, err := n.exchange.OpenStream(patience, at)
	cancel()
	if err != nil {
		return err
	}
	p.stream = stream
	return p.begin(ctx, r)
}

// errBroken is a connection that ended before it answered, and not by a time-out here.
var errBroken = errors.New("the connection is gone")

// begin sends the request on the stream and reads the answer's head.
func (p *Part) begin(ctx context.Context, r exchange.Request) error {
	stream := p.stream
	p.unhook = context.AfterFunc(ctx, func() { _ = stream.Close() })
	p.stall = time.AfterFunc(p.n.cfg.PartStall, func() { _ = stream.Close() })
	err := stream.Send(r)
	var reply exchange.Reply
	if err == nil {
		reply, p.raw, err = stream.Next()
	}
	switch {
	case !p.stall.Stop():
		return fmt.Errorf("no answer within %v: %w", p.n.cfg.PartStall, errdefs.ErrUnavailable)
	case err != nil && ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		return fmt.Errorf("%w: %w", errBroken, err)
	case reply.Status != exchange.StatusOK:
		p.left = 0
		return refusedPart(reply.Status)
	}
	p.in = p.n.cfg.Limits.Receiving(p.t.id, r.Class).Reader(ctx, partBytes{p})
	return nil
}

// refusedPart is the error of an answer without bytes.
type refusedPart exchange.Status

// Error implements error.
func (r refusedPart) Error() string { return fmt.Sprintf("refused with status %d", uint8(r)) }

// partBytes reads what the wire brings, and ends the connection when that takes too long.
type partBytes struct{ p *Part }

// Read implements io.Reader.
func (b partBytes) Read(to []byte) (int, error) {
	p := b.p
	p.stall.Reset(p.n.cfg.PartStall)
	k, err := p.raw.Read(to[:min(int64(len(to)), p.left)])
	stopped := p.stall.Stop()
	p.got, p.left = p.got+int64(k), p.left-int64(k)
	if err == nil && !stopped {
		err = fmt.Errorf("nothing for %v: %w", p.n.cfg.PartStall, errdefs.ErrUnavailable)
	}
	return k, err
}

// From is who sends the part.
func (p *Part) From() p2p.HostID { return p.from.id }

// Size returns the size of the whole content in bytes.
func (p *Part) Size() int64 { return p.size }

// Left returns how many bytes are not read yet.
func (p *Part) Left() int64 { return p.left }

// Readings returns where the content was read.
func (p *Part) Readings() []p2p.Reading { return p.readings }

// Read implements io.Reader. An error is ErrUnavailable; what is left can be read by pieces.
func (p *Part) Read(b []byte) (int, error) {
	if p.left == 0 {
		return 0, io.EOF
	}
	k, err := p.in.Read(b)
	if p.left == 0 {
		p.end(nil)
		return k, nil
	}
	if err != nil {
		err = fmt.Errorf("part from %s: %d bytes are missing: %w: %w", p.from.id, p.left, err, errdefs.ErrUnavailable)
		p.end(err)
	}
	return k, err
}

// Close ends the reading.
func (p *Part) Close() error {
	p.end(context.Canceled)
	return nil
}

// unhang takes back what would close the stream, and reports whether nothing has.
func (p *Part) unhang() bool {
	if p.stall == nil {
		return false
	}
	p.stall.Stop()
	return p.unhook()
}

// end counts what came, and keeps the connection if it is fit for another part.
func (p *Part) end(err error) {
	if p.over {
		return
	}
	p.over = true
	fit := p.unhang() && p.left == 0
	n, t := p.n, p.t
	n.mu.Lock()
	defer n.mu.Unlock()
	parts := &p.from.parts
	parts.asked--
	if p.stream != nil && (!fit || n.closed || n.hosts[p.from.id] != p.from || !parts.put(p.stream)) {
		_ = p.stream.Close()
	}
	var refused refusedPart
	switch {
	case err == nil || errors.Is(err, context.Canceled):
	case errors.As(err, &refused):
		t.partsAfter = time.Now().Add(crowdRest)
	default:
		parts.after = time.Now().Add(partsRest)
	}
	if p.got == 0 {
		return
	}
	if nb := t.neighbours[p.from.id]; nb != nil {
		nb.gave = true
		nb.stats.Received += p.got
		nb.stats.Took += time.Since(p.began)
	}
	t.stats.received(p.got, p.seed)
	n.events.Received(p.from.id, p.seed, p.got)
}

// Accuse says that a host sent wrong bytes in a part: its reader found that they did not
// have their digest, and that the bytes of the same range which came by pieces have it. A
// host serves verified bytes only, so that is banned as one that sends a wrong piece.
func (n *Node) Accuse(id p2p.TaskID, from p2p.HostID) {
	n.mu.Lock()
	defer n.mu.Unlock()
	t := n.tasks[id]
	if t == nil || n.closed {
		return
	}
	if nb := t.neighbours[from]; nb != nil && nb.gave {
		n.banLocked(t, from, "a part does not have its digest")
		n.pollLocked()
	}
}

// hostParts is what this host has to do with parts that another one sends.
type hostParts struct {
	idle  []exchange.Stream // at most partStreams
	asked int               // parts under way
	after time.Time         // it is not asked before
}

func (h *hostParts) take() exchange.Stream {
	if len(h.idle) == 0 {
		return nil
	}
	s := h.idle[len(h.idle)-1]
	h.idle = h.idle[:len(h.idle)-1]
	return s
}

func (h *hostParts) put(s exchange.Stream) bool {
	if len(h.idle) >= partStreams {
		return false
	}
	h.idle = append(h.idle, s)
	return true
}

// close ends the idle connections.
func (h *hostParts) close() {
	for _, s := range h.idle {
		_ = s.Close()
	}
	h.idle = nil
}
