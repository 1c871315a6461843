package exchange

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/containerd/errdefs"

	"github.com/darter-p2p/darter/p2p"
)

// stream is the asking end of a data connection.
type stream struct {
	link    *link
	conn    net.Conn // what is read and written
	raw     net.Conn // under it
	stall   time.Duration
	buffers *bufferPool

	sending sync.Mutex
	frame   [requestLen + partLen]byte

	mu     sync.Mutex
	due    []due    // what was asked and not answered, in order
	any    []uint32 // requests of AnyPiece that were not answered
	idle   bool     // Next waits and nothing is due
	closed bool

	// Of Next and the body's reader alone.
	in    *bufio.Reader
	large *gatherer // reads bodies past in; nil where it cannot
	head  [replyLen]byte
	body  body
	armed time.Time // when the read deadline was set
}

// due is what is left of a request.
type due struct {
	id     uint32
	piece  p2p.Piece
	offset uint32
	count  uint16
	length uint32 // of a part; 0 = to the piece's end
}

// OpenStream opens a data connection to a host that has a live link; without one it
// is ErrFailedPrecondition. A host that does not accept it closes it: Next says so.
func (x *Exchange) OpenStream(ctx context.Context, h p2p.Host) (Stream, error) {
	s, err := x.openStream(ctx, h)
	if err != nil {
		return nil, fmt.Errorf("open a stream to %s: %w", h.ID, err)
	}
	return s, nil
}

func (x *Exchange) openStream(ctx context.Context, h p2p.Host) (_ *stream, err error) {
	l := x.live(h.ID)
	if l == nil {
		return nil, errNoLink
	}
	ctx, cancel := context.WithTimeout(ctx, x.cfg.HandshakeTimeout)
	defer cancel()
	raw, err := x.transport.Dial(ctx, h.Addr)
	if err != nil {
		return nil, unavailable(err)
	}
	defer func() {
		if err != nil {
			raw.Close()
		}
	}()
	defer context.AfterFunc(ctx, func() { raw.Close() })()
	s := &stream{link: l, raw: raw, conn: raw, stall: x.cfg.StallTimeout, buffers: &x.buffers}
	s.body.s = s
	if x.cfg.TLSData || l.peerTLSData {
		if s.conn, err = x.dialTLSData(ctx, raw, h.ID); err != nil {
			return nil, unavailable(err)
		}
	}
	frame := appendGrant(nil, l.grants.key, x.self, h.ID, time.Since(l.born)+grantLife)
	if _, err := s.conn.Write(frame); err != nil {
		return nil, unavailable(err)
	}
	s.in = bufio.NewReaderSize(s.conn, 4<<10)
	s.large = newGatherer(s.conn)
	return s, l.attach(s)
}

func (x *Exchange) dialTLSData(ctx context.Context, raw net.Conn, want p2p.HostID) (net.Conn, error) {
	conn := tls.Client(raw, secure(x.cfg.Identity.ClientTLS(), protoData))
	if err := conn.HandshakeContext(ctx); err != nil {
		return nil, err
	}
	host, err := x.peerOf(conn.ConnectionState(), protoData)
	if err == nil && host != want {
		err = fmt.Errorf("%s answers: %w", host, errdefs.ErrPermissionDenied)
	}
	return conn, err
}

// Close ends the connection.
func (s *stream) Close() error {
	s.link.detach(s)
	s.sever()
	return nil
}

func (s *stream) sever() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.closed = true
		s.raw.Close()
	}
}

// Send writes a request. Errors are ErrInvalidArgument, and ErrUnavailable once the
// connection is gone.
func (s *stream) Send(r Request) error {
	if err := r.validate(); err != nil {
		return err
	}
	if r.Length > 0 && !s.link.peerParts {
		return fmt.Errorf("%s does not answer requests for parts: %w", s.link.host, errdefs.ErrInvalidArgument)
	}
	s.sending.Lock()
	defer s.sending.Unlock()
	if err := s.expect(r); err != nil {
		return s.broken("send a request", err)
	}
	if err := s.conn.SetWriteDeadline(time.Now().Add(s.stall)); err != nil {
		return s.broken("send a request", err)
	}
	if _, err := s.conn.Write(appendRequest(s.frame[:0], r)); err != nil {
		return s.broken("send a request", err)
	}
	return nil
}

// expect notes what will be answered, before it is asked.
func (s *stream) expect(r Request) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return net.ErrClosed
	}
	if r.First == AnyPiece {
		s.any = append(s.any, r.ID)
		return nil
	}
	s.due = append(s.due, due{id: r.ID, piece: r.First, offset: r.Offset, count: r.Count, length: r.Length})
	if s.idle {
		s.idle = false
		return s.conn.SetReadDeadline(time.Now().Add(s.stall))
	}
	return nil
}

// Next reads the next reply, waiting for a request to be sent if need be. Its reader
// also implements io.WriterTo. Errors are ErrUnavailable, ErrProtocol, and
// ErrFailedPrecondition while the last reply's bytes are not read; but for the last
// the connection is closed.
func (s *stream) Next() (Reply, io.Reader, error) {
	if s.body.left > 0 {
		return Reply{}, nil, fmt.Errorf("next reply: %d bytes of the last one are not read: %w", s.body.left, errdefs.ErrFailedPrecondition)
	}
	err := s.armHead()
	if err == nil && s.large != nil {
		err = s.large.await(1)
	}
	if err != nil {
		return Reply{}, nil, s.broken("read a reply", err)
	}
	if _, err := io.ReadFull(s.in, s.head[:]); err != nil {
		return Reply{}, nil, s.broken("read a reply", err)
	}
	r, err := parseReply(s.head[:])
	if err == nil {
		err = s.match(r)
	}
	if err != nil {
		return Reply{}, nil, s.broken("read a reply", err)
	}
	s.body.begin(int64(r.Length))
	return r, &s.body, nil
}

// armHead sets the deadline of a reply's header: none while nothing is due.
func (s *stream) armHead() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return net.ErrClosed
	}
	s.idle = len(s.due) == 0
	if s.idle {
		return s.conn.SetReadDeadline(time.Time{})
	}
	s.armed = time.Now()
	return s.conn.SetReadDeadline(s.armed.Add(s.stall))
}

// match takes a reply off what is due. A reply out of turn is an error, but for one of
// AnyPiece.
func (s *stream) match(r Reply) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := slices.Index(s.any, r.ID); i >= 0 && (r.Status != StatusOK || r.Offset == 0) {
		s.any = slices.Delete(s.any, i, i+1)
		return nil
	}
	if len(s.due) == 0 {
		return protocolError("reply %d was not asked for", r.ID)
	}
	d := &s.due[0]
	if r.ID != d.id || r.Piece != d.piece || r.Status == StatusOK && r.Offset != d.offset {
		return protocolError("reply %d with piece %d+%d, want reply %d with piece %d+%d", r.ID, r.Piece, r.Offset, d.id, d.piece, d.offset)
	}
	if r.Status == StatusOK && d.length > 0 && r.Length != d.length {
		return protocolError("reply %d with a part of %d bytes, want %d", r.ID, r.Length, d.length)
	}
	d.piece++
	d.offset = 0
	if d.count--; d.count == 0 {
		s.due = append(s.due[:0], s.due[1:]...)
	}
	return nil
}

// broken closes the stream and classes the error.
func (s *stream) broken(doing string, err error) error {
	_ = s.Close()
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		err = fmt.Errorf("no progress for %v: %w", s.stall, errdefs.ErrUnavailable)
	case errors.Is(err, io.EOF):
		err = fmt.Errorf("%w: %w", io.ErrUnexpectedEOF, errdefs.ErrUnavailable)
	case !errors.Is(err, ErrProtocol):
		err = unavailable(err)
	}
	return fmt.Errorf("%s: stream to %s: %w", doing, s.link.host, err)
}

// body reads the bytes of the reply that Next returned last.
type body struct {
	s            *stream
	length, left int64
	began        time.Time
	least        int64 // bytes that are read at a time, if there are as many left
}

const (
	// gatherMost is how many bytes gather in the socket before they are read: a whole piece
	// of a small content. A node is woken once for it; with all that came, a piece of
	// 512 KiB took 41 reads.
	gatherMost = 256 << 10
	// gatherFor is for how long they may gather at the pace of the last body, so that the
	// stall time-out is not about them.
	gatherFor = 50 * time.Millisecond
)

func (b *body) begin(length int64) {
	b.length, b.left, b.began = length, length, time.Now()
}

// end sets how the next body is read by the pace of this one.
func (b *body) end() {
	took := max(time.Since(b.began), time.Microsecond)
	b.least = min(int64(float64(b.length)*float64(gatherFor)/float64(took)), gatherMost)
}

// take reads at most len(p) bytes: from what came with the header, then from the socket.
func (b *body) take(p []byte) (int, error) {
	s := b.s
	if s.large == nil || b.least <= 1 || s.in.Buffered() > 0 {
		return s.in.Read(p)
	}
	return s.large.read(p, int(min(b.least, b.left)))
}

func (b *body) Read(p []byte) (int, error) {
	if b.left == 0 {
		return 0, io.EOF
	}
	if len(p) == 0 {
		return 0, nil
	}
	s := b.s
	if now := time.Now(); now.Sub(s.armed) > s.stall/8 {
		if err := s.conn.SetReadDeadline(now.Add(s.stall)); err != nil {
			return 0, s.broken("read a piece", err)
		}
		s.armed = now
	}
	n, err := b.take(p[:min(int64(len(p)), b.left)])
	if b.left -= int64(n); b.left == 0 {
		b.end()
	}
	if err != nil && (b.left > 0 || n == 0) {
		return n, s.broken("read a piece", err)
	}
	return n, nil
}

// WriteTo copies what is left to w through a pooled buffer.
func (b *body) WriteTo(w io.Writer) (written int64, err error) {
	buf := b.s.buffers.get()
	defer b.s.buffers.put(buf)
	for b.left > 0 {
		n, err := b.Read(*buf)
		if n > 0 {
			m, err := w.Write((*buf)[:n])
			written += int64(m)
			if err != nil {
				return written, err
			}
			if m < n {
				return written, io.ErrShortWrite
			}
		}
		if err != nil {
			return written, err
		}
	}
	return written, nil
}
