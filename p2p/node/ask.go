package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/darter-p2p/darter/p2p"
	"github.com/darter-p2p/darter/p2p/download"
	"github.com/darter-p2p/darter/p2p/exchange"
	"github.com/darter-p2p/darter/p2p/store"
)

// asker is the data connection on which this host asks another one.
type asker struct {
	n      *Node
	host   p2p.Host
	asks   chan download.Ask
	ctx    context.Context
	cancel context.CancelFunc

	mu      sync.Mutex
	pending map[uint32]download.Ask
}

// askQueue is more than download.Config allows to be outstanding at one host.
const askQueue = 128

// askLocked sends a request, on a connection made for the first one.
func (n *Node) askLocked(a download.Ask) {
	h := n.hosts[a.Host]
	if h == nil {
		n.goLocked(func() { n.refused(a, download.Broken) })
		return
	}
	if h.asker == nil {
		k := &asker{n: n, host: h.at, asks: make(chan download.Ask, askQueue), pending: map[uint32]download.Ask{}}
		k.ctx, k.cancel = context.WithCancel(n.ctx)
		h.asker = k
		n.goLocked(k.run)
	}
	select {
	case h.asker.asks <- a:
	default:
		n.goLocked(func() { n.refused(a, download.Broken) })
	}
}

// abandonLocked closes the data connection to a host; what was asked there has failed.
func (n *Node) abandonLocked(id p2p.HostID) {
	h := n.hosts[id]
	if h == nil {
		return
	}
	h.parts.close()
	if h.asker != nil {
		h.asker.cancel()
		h.asker = nil
	}
}

func (n *Node) refused(a download.Ask, why download.Refusal) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.core.Refused(time.Now(), a.ID, why)
	n.pollLocked()
}

// run sends requests until the connection ends.
func (k *asker) run() {
	defer k.end()
	stream, err := k.n.exchange.OpenStream(k.ctx, k.host)
	if err != nil {
		k.n.events.HostUnreachable(k.host, err)
		return
	}
	var replies sync.WaitGroup
	replies.Go(func() { k.receive(stream) })
	defer replies.Wait()
	defer func() { _ = stream.Close() }()
	for {
		select {
		case <-k.ctx.Done():
			return
		case a := <-k.asks:
			if err := k.send(stream, a); err != nil {
				return
			}
		}
	}
}

func (k *asker) send(stream exchange.Stream, a download.Ask) error {
	r := exchange.Request{ID: uint32(a.ID), Task: a.Task, First: a.Piece, Count: 1, Class: a.Class}
	if a.Any {
		r.First = exchange.AnyPiece
	}
	k.mu.Lock()
	k.pending[r.ID] = a
	k.mu.Unlock()
	return stream.Send(r)
}

// end reports everything that was asked and not answered.
func (k *asker) end() {
	k.cancel()
	n := k.n
	n.mu.Lock()
	defer n.mu.Unlock()
	if h := n.hosts[k.host.ID]; h != nil && h.asker == k {
		h.asker = nil
	}
	for {
		select {
		case a := <-k.asks:
			n.core.Refused(time.Now(), a.ID, download.Broken)
			continue
		default:
		}
		break
	}
	for _, a := range k.pending {
		n.core.Refused(time.Now(), a.ID, download.Broken)
	}
	n.pollLocked()
}

func (k *asker) take(id uint32) (download.Ask, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	a, ok := k.pending[id]
	delete(k.pending, id)
	return a, ok
}

// receive reads replies until the connection ends.
func (k *asker) receive(stream exchange.Stream) {
	defer k.cancel()
	for {
		reply, body, err := stream.Next()
		if err != nil {
			return
		}
		a, ok := k.take(reply.ID)
		if !ok {
			k.n.events.HostLost(k.host.ID, fmt.Errorf("answered request %d, which was not asked", reply.ID))
			return
		}
		if reply.Status == exchange.StatusOK {
			err = k.n.take(k.host.ID, a, reply, body)
		} else {
			k.n.refused(a, refusal(reply.Status))
		}
		if err != nil {
			return
		}
	}
}

func refusal(s exchange.Status) download.Refusal {
	switch s {
	case exchange.StatusBusy:
		return download.Busy
	case exchange.StatusNoFresh:
		return download.NoFresh
	case exchange.StatusNotHeld, exchange.StatusRefused:
		return download.NotHeld
	default:
		return download.Broken
	}
}

// errProtocol ends a connection whose answers are not what was asked for.
var errProtocol = errors.New("answer is not what was asked for")

// take stores and verifies the piece that body brings. An error ends the connection.
func (n *Node) take(from p2p.HostID, a download.Ask, r exchange.Reply, body io.Reader) error {
	t, h, err := n.began(a, r)
	if err != nil {
		n.refused(a, download.Broken)
		if errors.Is(err, errProtocol) {
			n.ban(a.Task, from, err.Error())
			return err
		}
		_, err = io.Copy(io.Discard, body)
		return err
	}
	defer h.Release()
	start := time.Now()
	err = n.write(t, h, r.Piece, n.cfg.Limits.Receiving(t.id, a.Class).Reader(n.ctx, body))
	switch {
	case errors.Is(err, store.ErrDigest):
		n.refused(a, download.Broken)
		n.ban(a.Task, from, fmt.Sprintf("piece %d does not have its digest", r.Piece))
		return err
	case err != nil:
		n.refused(a, download.Broken)
		n.noDisk(t, err)
		return err
	}
	n.arrived(t, from, a, r.Piece, time.Since(start))
	return nil
}

// began checks a reply against its request and tells the downloads which piece it is.
func (n *Node) began(a download.Ask, r exchange.Reply) (*task, store.Task, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	t := n.tasks[a.Task]
	if t == nil || t.handle == nil || n.closed {
		return nil, nil, fmt.Errorf("task %s is not wanted any more", a.Task)
	}
	if int(r.Piece) >= t.geometry.Pieces() || r.Offset != 0 || int64(r.Length) != t.geometry.Length(r.Piece) || !a.Any && r.Piece != a.Piece {
		return nil, nil, fmt.Errorf("piece %d, %d bytes from %d: %w", r.Piece, r.Length, r.Offset, errProtocol)
	}
	if t.have.Has(r.Piece) {
		t.stats.Twice += int64(r.Length)
		return nil, nil, errors.New("piece came another way meanwhile")
	}
	n.core.Began(time.Now(), a.ID, r.Piece)
	h, err := n.openLocked(t)
	return t, h, err
}

// buffers hold what is between the wire and the disk: small, for on ext4 large writes to
// fresh page cache cost several times more CPU a byte (facts/p2p.md 2.2).
var buffers = sync.Pool{New: func() any { return new([64 << 10]byte) }}

// onlyWriter hides a writer's other methods from io.CopyBuffer, which would leave the buffer unused.
type onlyWriter struct{ io.Writer }

// write stores the bytes of a piece, and commits them if they have the piece's digest.
func (n *Node) write(t *task, h store.Task, p p2p.Piece, body io.Reader) error {
	w, err := h.Write(p)
	if err != nil {
		return err
	}
	defer w.Abort()
	if _, err := io.Copy(w, body); err != nil { // the store reads into a buffer of its own
		return err
	}
	want, err := n.digest(t, p)
	if err != nil {
		return err
	}
	_, err = w.Commit(&want)
	return err
}

// digestPatience is how long a piece may be here before its digest, which comes on
// another connection.
const digestPatience = 2 * time.Second

// digest returns the digest of a piece, which may still be on its way.
func (n *Node) digest(t *task, p p2p.Piece) (p2p.PieceDigest, error) {
	var patience <-chan time.Time
	for {
		n.mu.Lock()
		if t.known.Has(p) {
			d := t.digests[p]
			n.mu.Unlock()
			return d, nil
		}
		changed, err := t.changed, t.err
		n.mu.Unlock()
		if err != nil {
			return p2p.PieceDigest{}, err
		}
		if patience == nil {
			timer := time.NewTimer(digestPatience)
			defer timer.Stop()
			patience = timer.C
		}
		select {
		case <-changed:
		case <-patience:
			return p2p.PieceDigest{}, fmt.Errorf("piece %d: no digest came for it", p)
		case <-n.ctx.Done():
			return p2p.PieceDigest{}, n.ctx.Err()
		}
	}
}

// arrived counts a verified piece.
func (n *Node) arrived(t *task, from p2p.HostID, a download.Ask, p p2p.Piece, took time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.tasks[t.id] != t || n.closed {
		return
	}
	bytes := t.geometry.Length(p)
	if n.holdLocked(t, p) {
		t.fed = t.came
		n.fed = fed{n.fed.bytes + bytes, t.came}
		seed := false
		if nb := t.neighbours[from]; nb != nil {
			seed = nb.host.Seed
			nb.stats.Pieces++
			nb.stats.Received += bytes
			nb.stats.Took += took
		}
		t.stats.received(bytes, seed)
		n.events.Received(from, seed, bytes)
	} else {
		t.stats.Twice += bytes
	}
	n.core.Arrived(time.Now(), a.ID)
	if t.stream != nil {
		if n.core.Got(t.id, p); p < t.stream.dropped {
			n.dropPieceLocked(t, p) // it came late
		}
	}
	n.pollLocked()
}

func (n *Node) ban(id p2p.TaskID, host p2p.HostID, reason string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if t := n.tasks[id]; t != nil && !n.closed {
		n.banLocked(t, host, reason)
		n.pollLocked()
	}
}
