package node

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"

	"github.com/opencontainers/go-digest"

	"github.com/darter-p2p/darter/p2p"
	"github.com/darter-p2p/darter/p2p/store"
)

// Origins reads the places that content comes from.
type Origins interface {
	// Open reads length bytes of a content from off; -1 = to its end. The size is that
	// of the whole content. What the origin refused is a p2p.OriginError in the chain.
	// The authorization is a reader's, "" = none: it goes to this origin and nowhere else,
	// and is not kept.
	Open(ctx context.Context, o p2p.Origin, authorization p2p.Secret, off, length int64) (body io.ReadCloser, size int64, err error)
}

// readRun reads the pieces [first, end) from the origin and returns how many it got.
func (p *puller) readRun(first, end p2p.Piece) (pieces int, err error) {
	t := p.t
	off, length := int64(0), int64(-1)
	if end > 0 {
		off = t.geometry.Offset(first)
		if last := t.geometry.Offset(end - 1); int(end) < t.geometry.Pieces() {
			length = last + t.geometry.PieceLength - off
		}
	} else if p.part != nil {
		length = int64(p.part.end-p.part.first) * p2p.MaxPreferredPieceLength
	} else {
		length = p.first
	}
	body, err := p.ask(off, length)
	if err != nil {
		return 0, err
	}
	defer body.close()
	if err := p.started(body.opened.size); err != nil {
		return 0, err
	}
	if end == 0 {
		end = p2p.Piece(t.geometry.Pieces())
		if p.part != nil {
			end = min(end, p.part.end)
		} else if length >= 0 {
			end = min(end, p2p.Piece(length/t.geometry.PieceLength)+1) // one too many where the content is longer
			if t.geometry.Offset(end-1)+t.geometry.Length(end-1) > length {
				end--
			}
		}
	}
	signing := p.beginSigning()
	defer func() { err = errors.Join(err, signing()) }()
	limited := p.n.cfg.Limits.Receiving(t.id, p2p.Urgent).Reader(p.ctx, body) // classes are for what others send
	for piece := first; piece < end; piece++ {
		if p.superseded(piece) {
			if piece+1 == end || p.part != nil && !p.part.beside || p.superseded(piece+1) {
				return pieces, nil
			}
			if _, err := io.CopyN(io.Discard, limited, t.geometry.Length(piece)); err != nil {
				return pieces, err
			}
			continue // one piece is cheaper than another answer
		}
		if err := p.readPiece(piece, limited); err != nil {
			return pieces, err
		}
		pieces++
		if p.part != nil {
			p.part.read++
		}
		if err := p.signIfDue(); err != nil {
			return pieces, err
		}
	}
	return pieces, nil
}

// started takes the size from the origin's first answer and tells the scheduler.
func (p *puller) started(size int64) error {
	n, t := p.n, p.t
	n.mu.Lock()
	defer n.mu.Unlock()
	if size < 0 {
		return p2p.OriginError{Message: fmt.Sprintf("%s does not say its size", p.origin), Puller: n.self}
	}
	if err := n.setSizeLocked(t, size); err != nil {
		return err
	}
	p.readLocked()
	switch {
	case p.part == nil && !p.share.Helper:
		n.tracker.PullStarted(t.id, size)
	case p.part != nil && !p.part.known:
		p.part.beginLocked(t)
	}
	return nil
}

// superseded reports whether a piece has come from elsewhere meanwhile.
func (p *puller) superseded(piece p2p.Piece) bool {
	p.n.mu.Lock()
	defer p.n.mu.Unlock()
	return p.t.have.Has(piece) || p.part != nil && p.part.metLocked(p.t, piece)
}

// readPiece reads one piece into the store.
func (p *puller) readPiece(piece p2p.Piece, body io.Reader) error {
	n, t := p.n, p.t
	n.mu.Lock()
	h := t.handle
	var want *p2p.PieceDigest
	if t.known.Has(piece) {
		d := t.digests[piece]
		want = &d
	}
	n.mu.Unlock()
	w, err := h.Write(piece)
	if err != nil {
		return err
	}
	defer w.Abort()
	inOrder, commit := p.sum.next(t.geometry.Offset(piece))
	left := t.geometry.Length(piece)
	buf := buffers.Get().(*[64 << 10]byte)
	defer buffers.Put(buf)
	for left > 0 {
		if p.part != nil && !p.part.beside && p.superseded(piece) {
			return errMet
		}
		k, err := io.ReadFull(body, buf[:min(left, int64(len(buf)))])
		if k > 0 {
			left -= int64(k)
			if _, werr := w.Write(buf[:k]); werr != nil {
				return werr
			}
			inOrder.Write(buf[:k]) //nolint:errcheck // a hash never fails
		}
		if err != nil && left > 0 {
			return &endedEarly{p.origin, piece, left, err}
		}
	}
	d, err := w.Commit(want)
	if err != nil && !errors.Is(err, store.ErrDigest) {
		return err
	}
	if err != nil {
		return fmt.Errorf("%w: piece %d differs from what another reader of the origin signed", errWrongContent, piece)
	}
	commit()
	return p.keep(piece, d)
}

// endedEarly is an answer that ended in the middle of a piece.
type endedEarly struct {
	origin p2p.Origin
	piece  p2p.Piece
	left   int64 // bytes to its end
	err    error
}

func (e *endedEarly) Error() string {
	return fmt.Sprintf("origin %s ended %d bytes before the end of piece %d: %v", e.origin, e.left, e.piece, e.err)
}

func (e *endedEarly) Unwrap() error { return e.err }

// again reports whether an answer ended where the last one did, in the last piece: then
// the content is shorter than its origin says, and asking once more is of no use.
func (p *puller) again(err error) bool {
	var early *endedEarly
	if !errors.As(err, &early) || int(early.piece)+1 != p.t.geometry.Pieces() {
		return false
	}
	was := p.early
	p.early = early
	return was != nil && was.piece == early.piece && was.left == early.left
}

// sum is the sha256 of a content that is read mostly in order.
type sum struct {
	hash hash.Hash
	done int64 // bytes
}

func newSum() sum { return sum{hash: sha256.New()} }

// next returns where the bytes of the piece at off go, and what is called when they
// are known to be right. A piece out of order goes nowhere; whole reads it again.
func (s *sum) next(off int64) (io.Writer, func()) {
	if off != s.done {
		return io.Discard, func() {}
	}
	clone, err := s.hash.(hash.Cloner).Clone()
	if err != nil {
		return io.Discard, func() {}
	}
	counted := &countingWriter{w: clone}
	return counted, func() {
		s.hash, s.done = clone, off+counted.n
	}
}

// whole returns the digest of the content, of which what was not read in order is
// read from the store.
func (s *sum) whole(h store.Task, size int64) (digest.Digest, error) {
	if err := s.upTo(h, size); err != nil {
		return "", err
	}
	return digest.NewDigest(digest.SHA256, s.hash), nil
}

// upTo hashes what is not hashed yet of the bytes before to, all of which are stored.
func (s *sum) upTo(h store.Task, to int64) error {
	if to <= s.done {
		return nil
	}
	n, err := io.Copy(s.hash, io.NewSectionReader(h, s.done, to-s.done))
	s.done += n
	if err != nil {
		return fmt.Errorf("read back to verify: %w", err)
	}
	return nil
}

type countingWriter struct {
	w io.Writer
	n int64
}

func (c *countingWriter) Write(p []byte) (int, error) {
	c.n += int64(len(p))
	return c.w.Write(p)
}
