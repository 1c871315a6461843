package exchange

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/containerd/errdefs"

	"github.com/darter-p2p/darter/p2p"
)

const (
	// maxQueued is how many requests of a data connection are read ahead.
	maxQueued = 64
	// gatherLimit is how many bytes of replies without a body may wait for the next write.
	gatherLimit = 4 << 10
)

// server is the answering end of a data connection. One goroutine reads requests
// ahead, so that a Cancel finds them; one answers them in order, but for those that the
// handler lets wait.
type server struct {
	link *link
	conn net.Conn // what is read and written
	raw  net.Conn // under it
	out  sender
	ctx  context.Context // of the answers; ends with the connection
	end  context.CancelFunc

	mu     sync.Mutex
	change sync.Cond // of what follows
	queue  []queued
	parked []queued // whose answers wait
	busy   queued   // being answered
	closed bool
}

type queued struct {
	Request
	cancelled bool
	gone      func() // its answer waited
}

// arriveData serves a data connection, of which the magic byte was read. owner is
// the host of its certificate, "" where it came in clear.
func (x *Exchange) arriveData(conn net.Conn, owner p2p.HostID, arrived func()) error {
	g, err := readGrant(conn)
	if err != nil {
		return err
	}
	if owner != "" && g.host != owner {
		return protocolError("%s shows a grant of %s", owner, g.host)
	}
	l := x.live(g.host)
	if l == nil {
		return fmt.Errorf("data connection of %s: %w", g.host, errNoLink)
	}
	if err := l.grants.admit(g, time.Since(l.born)); err != nil {
		return err
	}
	s := &server{link: l, conn: conn, raw: underTLS(conn)}
	s.change.L = &s.mu
	s.ctx, s.end = context.WithCancel(x.ctx)
	defer s.end()
	s.out = newSender(conn, &x.buffers, x.cfg.StallTimeout)
	if err := l.serve(s); err != nil {
		return err
	}
	defer l.served(s)
	arrived()
	if err := conn.SetDeadline(time.Time{}); err != nil {
		return err
	}
	select {
	case <-l.up:
	case <-l.closing:
		conn.Close()
		return nil
	}
	s.run()
	return nil
}

// underTLS returns the connection that can be closed without a word: closing one of
// TLS may wait to say goodbye.
func underTLS(conn net.Conn) net.Conn {
	if t, ok := conn.(*tls.Conn); ok {
		return t.NetConn()
	}
	return conn
}

func readGrant(r io.Reader) (grant, error) {
	b := make([]byte, grantFront, grantFront+p2p.MaxHostIDLen+grantTail)
	b[0] = grantMagic
	if _, err := io.ReadFull(r, b[1:]); err != nil {
		return grant{}, fmt.Errorf("read the grant: %w", err)
	}
	n, err := parseGrantFront(b[1], b[2])
	if err != nil {
		return grant{}, err
	}
	b = b[:grantFront+n]
	if _, err := io.ReadFull(r, b[grantFront:]); err != nil {
		return grant{}, fmt.Errorf("read the grant: %w", err)
	}
	return parseGrant(b)
}

// serve makes a data connection part of the link: it ends before the link does.
func (l *link) serve(s *server) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.serving) >= maxDataConns {
		return fmt.Errorf("%s has %d data connections: %w", l.host, maxDataConns, errdefs.ErrResourceExhausted)
	}
	if err := l.attachLocked(s); err != nil {
		return err
	}
	if l.serving == nil {
		l.serving = map[*server]struct{}{}
	}
	l.serving[s] = struct{}{}
	l.uploads.Add(1)
	return nil
}

func (l *link) served(s *server) {
	l.mu.Lock()
	delete(l.serving, s)
	delete(l.data, s)
	l.mu.Unlock()
	l.uploads.Done()
}

// withdraw takes back the peer's requests with an ID.
func (l *link) withdraw(id uint32) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for s := range l.serving {
		s.withdraw(id)
	}
}

func (s *server) withdraw(id uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.busy.ID == id {
		s.busy.cancelled = true
	}
	for i := range s.queue {
		if s.queue[i].ID == id {
			s.queue[i].cancelled = true
		}
	}
	if i := slices.IndexFunc(s.parked, func(q queued) bool { return q.ID == id }); i >= 0 {
		q := s.parked[i]
		q.cancelled = true
		s.queue = append(s.queue, q)
		s.parked = slices.Delete(s.parked, i, i+1)
		s.change.Broadcast()
	}
}

// maxParked is how many answers of a data connection may wait.
const maxParked = 64

// park sets a request aside and reports whether there was room for it.
func (s *server) park(r Request, gone func()) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.parked) >= maxParked {
		return false
	}
	s.parked = append(s.parked, queued{Request: r, gone: gone})
	return true
}

// abandon says of every request whose answer waited that it is gone.
func (s *server) abandon() {
	s.mu.Lock()
	left := append(s.parked, s.queue...)
	s.parked, s.queue = nil, nil
	s.mu.Unlock()
	for _, q := range left {
		if q.gone != nil {
			q.gone()
		}
	}
}

// again puts a request that was set aside before all others, and reports whether it was
// still there.
func (s *server) again(id uint32) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.IndexFunc(s.parked, func(q queued) bool { return q.ID == id })
	if s.closed || i < 0 {
		return false
	}
	q := s.parked[i]
	s.parked = slices.Delete(s.parked, i, i+1)
	s.queue = slices.Insert(s.queue, 0, q)
	s.change.Broadcast()
	return true
}

// sever ends the connection at once.
func (s *server) sever() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	s.end()
	s.change.Broadcast()
	s.raw.Close()
}

// run serves until the connection ends.
func (s *server) run() {
	defer context.AfterFunc(s.link.x.ctx, s.sever)()
	var reader sync.WaitGroup
	reader.Go(func() {
		_ = s.read() // a peer that goes, and one that talks nonsense, are both just gone
		s.sever()
	})
	_ = s.answerAll() // what went wrong was said to Done
	s.sever()
	reader.Wait()
	s.abandon()
}

// read queues requests.
func (s *server) read() error {
	r := bufio.NewReaderSize(s.conn, 4<<10)
	var b [requestLen + partLen]byte
	for {
		head := b[:requestLen]
		if _, err := io.ReadFull(r, head); err != nil {
			return err
		}
		if isPart(head) {
			head = b[:]
			if _, err := io.ReadFull(r, head[requestLen:]); err != nil {
				return err
			}
		}
		req, err := parseRequest(head)
		if err != nil {
			return err
		}
		if err := s.push(req); err != nil {
			return err
		}
	}
}

func (s *server) push(r Request) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.queue) >= maxQueued && !s.closed {
		s.change.Wait()
	}
	if s.closed {
		return net.ErrClosed
	}
	s.queue = append(s.queue, queued{Request: r})
	s.change.Broadcast()
	return nil
}

// pop moves the next request to busy. Before it waits for one, it flushes.
func (s *server) pop() (Request, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.busy = queued{}
	for len(s.queue) == 0 && !s.closed {
		s.mu.Unlock()
		err := s.out.flush()
		s.mu.Lock()
		if err != nil {
			return Request{}, err
		}
		if len(s.queue) == 0 && !s.closed {
			s.change.Wait()
		}
	}
	if s.closed {
		return Request{}, net.ErrClosed
	}
	s.busy = s.queue[0]
	s.queue = append(s.queue[:0], s.queue[1:]...)
	s.change.Broadcast()
	return s.busy.Request, nil
}

// withdrawn reports whether the request that is being answered was withdrawn.
func (s *server) withdrawn() bool {
	s.mu.Lock()
	q := s.busy
	s.mu.Unlock()
	if q.cancelled && q.gone != nil {
		q.gone()
	}
	return q.cancelled
}

// answerAll answers until the connection ends. It always returns an error.
func (s *server) answerAll() error {
	for {
		r, err := s.pop()
		if err != nil {
			return err
		}
		for left := r.Count; left > 0; left-- {
			r.Count = left
			if err := s.answer(r); err != nil {
				return err
			}
			r.First++
			r.Offset = 0
		}
	}
}

// answer answers the first piece of r.
func (s *server) answer(r Request) error {
	reply := Reply{ID: r.ID, Piece: r.First}
	if s.withdrawn() {
		reply.Status = StatusCancelled
		return s.out.reply(reply)
	}
	a := s.link.x.handler.Serve(s.link.host, r)
	if a.Wait != nil && r.First == AnyPiece {
		if s.park(r, a.Gone) {
			a.Wait(func() bool { return s.again(r.ID) })
			return nil
		}
		a = Answer{Status: StatusBusy}
	}
	sent, err := int64(0), checkAnswer(r, a)
	if err == nil {
		reply.Status = a.Status
		if a.Status == StatusOK {
			reply.Piece, reply.Offset, reply.Length = a.Piece, r.Offset, uint32(a.Length)
			sent, err = s.out.body(reply, a, s.pacer(a))
		} else {
			err = s.out.reply(reply)
		}
	}
	if a.Done != nil {
		a.Done(sent, err)
	}
	return err
}

// pacer returns the pacer of an answer, which ends with the connection.
func (s *server) pacer(a Answer) pacer {
	if a.Pace == nil {
		return nil
	}
	return func(n int) error { return a.Pace(s.ctx, n) }
}

// checkAnswer reports a handler's answer that cannot be sent.
func checkAnswer(r Request, a Answer) error {
	switch {
	case a.Wait != nil:
		return fmt.Errorf("serve: the answer to a request for piece %d waits: %w", r.First, errdefs.ErrInternal)
	case a.Status > StatusRefused:
		return fmt.Errorf("serve: unknown status %d: %w", a.Status, errdefs.ErrInternal)
	case a.Status != StatusOK:
		return nil
	case a.Piece != r.First && r.First != AnyPiece || a.Piece >= maxPieces:
		return fmt.Errorf("serve: piece %d for piece %d: %w", a.Piece, r.First, errdefs.ErrInternal)
	case a.Length < 0 || a.Length+int64(r.Offset) > maxPieceLength:
		return fmt.Errorf("serve: %d bytes from offset %d: %w", a.Length, r.Offset, errdefs.ErrInternal)
	case r.Length > 0 && a.Length != int64(r.Length):
		return fmt.Errorf("serve: %d bytes for a part of %d: %w", a.Length, r.Length, errdefs.ErrInternal)
	case a.File == nil && a.Reader == nil:
		return errors.Join(errors.New("serve: neither file nor reader"), errdefs.ErrInternal)
	}
	return nil
}
