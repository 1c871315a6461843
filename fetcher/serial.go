package fetcher

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/containerd/errdefs"
	"github.com/containerd/log"
	"github.com/opencontainers/go-digest"

	"github.com/darter-p2p/darter/fetcher/httpsource"
	"github.com/darter-p2p/darter/fetcher/serial"
	"github.com/darter-p2p/darter/fetcher/source"
	"github.com/darter-p2p/darter/p2p"
)

// serialBody is a content that one seed reads in order: segment after segment from the
// piece network, each opened while the one before it is read.
type serialBody struct {
	l      *Local
	ctx    context.Context
	cancel context.CancelFunc
	wish   wish                         // of the content itself
	name   func(part string) p2p.TaskID // of its segments
	head   serial.Head                  // of the segment that is read
	body   *Body                        // the rest of it
	ahead  chan segment                 // the one behind it; nil = there is none
	at     int64                        // bytes given
	limit  int64                        // bytes wanted; -1 = all
	rest   *Body                        // from the origin; nil while the network serves
}

// segment is one that was opened, and its head read.
type segment struct {
	head serial.Head
	body *Body
	err  error
}

// openSerial opens the first length bytes, -1 = all, of a content that is read in order,
// or reads it from its origin where the network does not give its beginning.
func (l *Local) openSerial(ctx context.Context, w wish, at *source.Response, name func(string) p2p.TaskID, length int64) (*Body, error) {
	b := &serialBody{l: l, wish: w, name: name, limit: length}
	b.ctx, b.cancel = context.WithCancel(ctx)
	first := b.open(name("first"), serial.First(w.origin, at.Moment))
	if first.err == nil && (first.head.Index != 0 || first.head.Offset != 0) {
		_ = first.body.Close()
		first.err = fmt.Errorf("%s is no first segment: %w", name("first"), errdefs.ErrDataLoss)
	}
	if first.err != nil {
		b.cancel()
		if final(ctx, first.err) || contradicts(first.err) {
			return nil, first.err
		}
		log.G(ctx).WithField("task", name("first")).WithError(first.err).Info("piece network does not give the content: read from its origin")
		return l.direct(ctx, w, Range{Offset: 0, Length: length})
	}
	b.begin(first)
	out := &Body{ReadCloser: b, Size: at.Size, Length: -1, MediaType: at.MediaType, Validator: at.Validator, From: first.body.From, Digest: b.digest}
	if out.Size < 0 {
		out.Size = first.head.Size
	}
	if out.Size >= 0 {
		out.Length = out.Size
		if length >= 0 {
			out.Length = min(length, out.Size)
		}
	}
	return out, nil
}

// open opens a segment and reads its head.
func (b *serialBody) open(task p2p.TaskID, origin p2p.Origin) (s segment) {
	w := b.wish
	w.task, w.origin, w.segment = task, origin, true
	if s.body, _, s.err = b.l.shared(b.ctx, w, All); s.err != nil {
		return s
	}
	var head [serial.HeadLen]byte
	if _, s.err = io.ReadFull(s.body, head[:]); s.err == nil {
		s.head, s.err = serial.ParseHead(head[:])
	}
	if s.err != nil {
		_ = s.body.Close()
		s.err = fmt.Errorf("segment %s: %w", task, s.err)
	}
	return s
}

// begin reads on in a segment, and has the next one opened.
func (b *serialBody) begin(s segment) {
	b.head, b.body, b.ahead = s.head, s.body, nil
	if s.head.End {
		return
	}
	index := s.head.Index + 1
	ahead := make(chan segment, 1)
	b.ahead = ahead
	go func() { // Close and next wait for it
		ahead <- b.open(b.name(fmt.Sprintf("%s %d", s.head.Reading, index)), serial.Later(b.wish.origin, s.head.Reading, index))
	}()
}

// next goes on with the segment behind the one that was read.
func (b *serialBody) next() error {
	_ = b.body.Close()
	b.body = nil
	s := <-b.ahead
	b.ahead = nil
	if s.err != nil {
		return s.err
	}
	h := s.head
	if h.Reading != b.head.Reading || h.Index != b.head.Index+1 || h.Offset != b.at {
		_ = s.body.Close()
		return fmt.Errorf("segment %d of %s does not follow: %w", b.head.Index+1, b.wish.task, errdefs.ErrDataLoss)
	}
	b.begin(s)
	return nil
}

// Read implements io.Reader. Where the segments end early and a validator names the
// content, what is left comes from the origin.
func (b *serialBody) Read(p []byte) (int, error) {
	if b.limit >= 0 {
		p = p[:min(int64(len(p)), b.limit-b.at)]
		if b.at == b.limit {
			return 0, io.EOF
		}
	}
	for {
		if b.rest != nil {
			return b.rest.Read(p)
		}
		var err error
		if b.body == nil {
			err = fmt.Errorf("%s: read after an error: %w", b.wish.task, errdefs.ErrUnavailable)
		} else if n, rerr := b.body.Read(p); n > 0 {
			b.at += int64(n)
			return n, nil
		} else if err = rerr; errors.Is(rerr, io.EOF) {
			if b.head.End {
				return 0, b.ended()
			}
			err = b.next()
		}
		if err == nil {
			continue
		}
		if rerr := b.goOn(err); rerr != nil {
			return 0, rerr
		}
	}
}

// ended checks that the last segment ended where the content does.
func (b *serialBody) ended() error {
	if b.at != b.head.Size {
		return fmt.Errorf("%s: %d of %d bytes: %w", b.wish.task, b.at, b.head.Size, errdefs.ErrDataLoss)
	}
	return io.EOF
}

// goOn opens the rest of the content at its origin, or says why not.
func (b *serialBody) goOn(cause error) error {
	if b.ctx.Err() != nil {
		return b.ctx.Err()
	}
	if _, validator, err := httpsource.ParseOrigin(b.wish.origin); err != nil || validator == "" || final(b.ctx, cause) || contradicts(cause) || errdefs.IsDataLoss(cause) {
		return cause
	}
	left := int64(-1)
	if b.limit >= 0 {
		left = b.limit - b.at
	}
	rest, err := b.l.direct(b.ctx, b.wish, Range{Offset: b.at, Length: left})
	if err != nil {
		return fmt.Errorf("%w; and the origin: %w", cause, err)
	}
	b.rest = rest
	return nil
}

// digest returns the content's sha256 once the head of its last segment is here.
func (b *serialBody) digest() digest.Digest { return b.head.Digest() }

// Close implements io.Closer.
func (b *serialBody) Close() error {
	b.cancel()
	if b.ahead != nil {
		if s := <-b.ahead; s.err == nil {
			_ = s.body.Close()
		}
		b.ahead = nil
	}
	for _, open := range []*Body{b.body, b.rest} {
		if open != nil {
			_ = open.Close()
		}
	}
	return nil
}
