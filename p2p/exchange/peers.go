package exchange

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"time"

	"github.com/containerd/errdefs"

	"github.com/darter-p2p/darter/p2p"
)

// Both sides may dial at once, and either may lose a link before the other notices.
// So that both keep the same one, a host numbers its decisions about links with an
// epoch that only grows: one for each dial it starts, one for each link it accepts.
// A dial says "I have no link to you", an acceptance "this is the link now". Of two
// links a host keeps the one of the peer's later word. While a host's own dial is
// out, the host of the smaller name lets an arriving one wait for how that ends.

// peer is what is known of one other host.
type peer struct {
	live *link    // the link, until it is replaced or gone
	last *link    // the latest link; the next one is announced when it is done
	dial *dialing // the dial under way
}

// dialing is a dial under way. Its fields are set when done is closed.
type dialing struct {
	done chan struct{}
	link *link
	err  error
}

// peerLocked returns the peer, made if needed.
func (x *Exchange) peerLocked(h p2p.HostID) *peer {
	p := x.peers[h]
	if p == nil {
		p = &peer{}
		x.peers[h] = p
	}
	return p
}

// liveLocked returns the link to a host that can be used, or nil.
func (p *peer) liveLocked() *link {
	if p == nil || p.live == nil || p.live.isClosing() {
		return nil
	}
	return p.live
}

func (x *Exchange) live(h p2p.HostID) *link {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.peers[h].liveLocked()
}

// dropLocked forgets a peer of which nothing is left.
func (x *Exchange) dropLocked(h p2p.HostID) {
	if p := x.peers[h]; p != nil && p.live == nil && p.last == nil && p.dial == nil {
		delete(x.peers, h)
	}
}

// install makes l the link to its host and starts it, unless the host's later word
// was for another one: errDuplicate. A link that came in is answered.
func (x *Exchange) install(l *link) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.stopping {
		return errStopping
	}
	p := x.peerLocked(l.host)
	if old := p.liveLocked(); old != nil {
		if l.peerEpoch <= old.peerEpoch {
			return errDuplicate
		}
		old.fail(errReplaced)
	}
	if err := l.conn.SetDeadline(time.Time{}); err != nil {
		x.dropLocked(l.host)
		return err
	}
	l.born = time.Now()
	if !l.dialled {
		l.out.raw(appendHello(nil, x.helloLocked()))
	}
	l.before = p.last
	p.live, p.last = l, l
	x.wg.Go(l.run)
	return nil
}

// helloLocked returns a hello with the next epoch.
func (x *Exchange) helloLocked() hello {
	x.epoch++
	h := hello{version: protocolVersion, flags: helloParts, epoch: x.epoch}
	if x.cfg.TLSData {
		h.flags |= helloTLSData
	}
	return h
}

// forget takes a link that has ended out of the table. A link that waits for its
// end has it already.
func (x *Exchange) forget(l *link) {
	x.mu.Lock()
	defer x.mu.Unlock()
	p := x.peers[l.host]
	if p.live == l {
		p.live = nil
	}
	if p.last == l {
		p.last = nil
	}
	x.dropLocked(l.host)
}

// awaitOwnDial waits for the end of a dial to h, if one is under way. It does not
// wait for longer than the one who arrived has patience: h may be out of reach from
// here, but not here from there.
func (x *Exchange) awaitOwnDial(h p2p.HostID) {
	x.mu.Lock()
	var d *dialing
	if p := x.peers[h]; p != nil {
		d = p.dial
	}
	x.mu.Unlock()
	if d == nil {
		return
	}
	patience := time.NewTimer(x.cfg.HandshakeTimeout / 2)
	defer patience.Stop()
	select {
	case <-d.done:
	case <-patience.C:
	}
}

// Connect returns the live link to a host, or makes one. Concurrent calls for one
// host share a dial, to the address of the first. Errors are ErrUnavailable where
// the host is not reached, and ErrPermissionDenied where another one answers at its
// address. The link may be used before the handler's Connected was called for it.
func (x *Exchange) Connect(ctx context.Context, h p2p.Host) (Link, error) {
	if err := h.ID.Validate(); err != nil {
		return nil, fmt.Errorf("connect: %w: %w", err, errdefs.ErrInvalidArgument)
	}
	if h.ID == x.self {
		return nil, fmt.Errorf("connect to %s: that is this host: %w", h.ID, errdefs.ErrInvalidArgument)
	}
	l, d, err := x.dialOnce(h)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", h.ID, err)
	}
	if l != nil {
		return l, nil
	}
	select {
	case <-d.done:
	case <-ctx.Done():
		return nil, fmt.Errorf("connect to %s: %w", h.ID, ctx.Err())
	}
	if d.err != nil {
		return nil, fmt.Errorf("connect to %s at %s: %w", h.ID, h.Addr, d.err)
	}
	return d.link, nil
}

// dialOnce returns the live link, or the dial under way, started if there is none.
func (x *Exchange) dialOnce(h p2p.Host) (*link, *dialing, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.stopping {
		return nil, nil, errStopping
	}
	p := x.peerLocked(h.ID)
	if l := p.liveLocked(); l != nil {
		return l, nil, nil
	}
	if p.dial == nil {
		d := &dialing{done: make(chan struct{})}
		p.dial = d
		first := x.helloLocked()
		x.wg.Go(func() { x.runDial(h, d, first) })
	}
	return nil, p.dial, nil
}

func (x *Exchange) runDial(h p2p.Host, d *dialing, first hello) {
	ctx, cancel := context.WithTimeout(x.ctx, x.cfg.HandshakeTimeout)
	defer cancel()
	l, err := x.dial(ctx, h, first)
	x.mu.Lock()
	p := x.peers[h.ID]
	if errors.Is(err, errDuplicate) {
		// The peer has taken another link, which it has because we have it, too.
		if l = p.liveLocked(); l != nil {
			err = nil
		} else {
			err = fmt.Errorf("the link went while another was made: %w", errdefs.ErrUnavailable)
		}
	}
	p.dial = nil
	d.link, d.err = l, err
	x.dropLocked(h.ID)
	x.mu.Unlock()
	close(d.done)
}

// dial makes a link: TCP, TLS, hellos.
func (x *Exchange) dial(ctx context.Context, h p2p.Host, first hello) (_ *link, err error) {
	raw, err := x.transport.Dial(ctx, h.Addr)
	if err != nil {
		return nil, unavailable(err)
	}
	defer func() {
		if err != nil {
			raw.Close()
		}
	}()
	defer context.AfterFunc(x.ctx, func() { raw.Close() })()
	deadline, _ := ctx.Deadline()
	if err := raw.SetDeadline(deadline); err != nil {
		return nil, unavailable(err)
	}
	conn := tls.Client(raw, secure(x.cfg.Identity.ClientTLS(), protoControl))
	if err := conn.HandshakeContext(ctx); err != nil {
		return nil, unavailable(err)
	}
	l, err := x.newLink(conn, raw, conn.ConnectionState())
	if err != nil {
		return nil, err
	}
	if l.host != h.ID {
		return nil, fmt.Errorf("%s answers: %w", l.host, errdefs.ErrPermissionDenied)
	}
	l.dialled = true
	if _, err := conn.Write(appendHello(nil, first)); err != nil {
		return nil, unavailable(err)
	}
	kind, payload, err := l.frames.next()
	if err != nil {
		return nil, unavailable(err)
	}
	answer, err := parseAnswer(kind, payload)
	if err != nil {
		return nil, err
	}
	l.heed(answer)
	return l, x.install(l)
}

// unavailable classes an error of the network.
func unavailable(err error) error {
	if errdefs.IsPermissionDenied(err) || errdefs.IsUnauthorized(err) {
		return err
	}
	return fmt.Errorf("%w: %w", err, errdefs.ErrUnavailable)
}
