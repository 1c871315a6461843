package fetcher

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/containerd/errdefs"

	"github.com/darter-p2p/darter/fetcher/access"
	"github.com/darter-p2p/darter/internal/block"
	"github.com/darter-p2p/darter/p2p"
	"github.com/darter-p2p/darter/p2p/node"
)

// shared opens a content of the piece network, and waits for its first byte. It returns
// where the content was read, too: nobody has looked yet whether the reader may have it.
func (l *Local) shared(ctx context.Context, w wish, r Range) (*Body, []p2p.Reading, error) {
	if w.verifies && w.urgent && l.parts != nil {
		if body, readings, err := l.part(ctx, w, r); err == nil {
			return body, readings, nil
		}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	class, first := l.urgency(w)
	patience := time.AfterFunc(first, func() {
		cancel(fmt.Errorf("the piece network sent no byte within %v: %w", first, errdefs.ErrUnavailable))
	})
	rd, err := l.swarm.Open(ctx, node.Want{
		Task: w.task, Origin: w.origin, Size: -1, Offset: r.Offset, Length: r.Length, Class: class, Kept: w.kept, Credential: l.lend(w),
	})
	if err == nil {
		if err = rd.Await(ctx); err != nil {
			_ = rd.Close()
		}
	}
	if !patience.Stop() || err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
			if rd != nil {
				_ = rd.Close()
			}
		}
		cancel(nil)
		return nil, nil, err
	}
	from := "swarm"
	if rd.Held() {
		from = "store"
	}
	return &Body{
		ReadCloser: &sharedBody{l: l, ctx: ctx, cancel: cancel, rd: rd, wish: w},
		Size:       rd.Size(), Offset: rd.Offset(), Length: rd.Length(), From: from, Digest: rd.Sum,
	}, rd.Readings(), nil
}

// sharedBody reads from the piece network for as long as bytes come, and what is
// left after that from the origin.
type sharedBody struct {
	l      *Local
	ctx    context.Context
	cancel context.CancelCauseFunc
	rd     *node.Reader
	wish   wish
	rest   *Body // from the origin; nil while the network serves
}

// Read implements io.Reader.
func (b *sharedBody) Read(p []byte) (int, error) {
	if b.rest != nil {
		return b.rest.Read(p)
	}
	err := b.await()
	if err == nil {
		return b.rd.Read(p)
	}
	if b.ctx.Err() != nil {
		return 0, context.Cause(b.ctx)
	}
	if b.wish.origin == "" || b.wish.kept || b.wish.segment || errors.Is(err, node.ErrRevoked) || errors.As(err, new(*block.Error)) || contradicts(err) {
		return 0, err
	}
	left := b.rd.Offset() + b.rd.Length() - b.rd.Position()
	rest, derr := b.l.direct(b.ctx, b.wish, Range{Offset: b.rd.Position(), Length: left})
	if derr != nil {
		return 0, fmt.Errorf("%w; and the origin: %w", err, derr)
	}
	b.rest = rest
	return rest.Read(p)
}

// contradicts reports whether the origin's answers do not fit each other or themselves:
// this reader would get no better one.
func contradicts(err error) bool {
	var said p2p.OriginError
	return errors.As(err, &said) && said.Status >= 200 && said.Status < 300
}

// WriteTo implements io.WriterTo: what the store holds goes to w as a file.
func (b *sharedBody) WriteTo(w io.Writer) (int64, error) {
	var sent int64
	for b.rest == nil && b.rd.Position() < b.rd.Offset()+b.rd.Length() {
		if err := b.await(); err != nil {
			break // Read says why, or goes on at the origin
		}
		n, err := b.rd.WriteSure(w)
		sent += n
		if err != nil {
			return sent, err
		}
	}
	n, err := io.Copy(w, onlyReader{b})
	return sent + n, err
}

// onlyReader hides WriteTo from io.Copy.
type onlyReader struct{ io.Reader }

// await waits for the next byte from the piece network, but not for longer than a stall.
func (b *sharedBody) await() error {
	if err := b.l.allowed(&b.wish); err != nil {
		return err
	}
	if b.rd.Ready() {
		return nil
	}
	patience := b.l.cfg.Stall
	if b.wish.urgent {
		patience = min(patience, b.l.cfg.Urgent)
	}
	stall, cancel := context.WithTimeout(b.ctx, patience.Duration())
	defer cancel()
	if err := b.rd.Await(stall); err != nil || b.wish.open || b.wish.origin == "" {
		return err
	}
	if !access.Vouched(b.wish.origin, b.rd.Readings()) { // another origin has come in
		return fmt.Errorf("%s: %w", b.wish.origin, errElsewhere)
	}
	return nil
}

// Close implements io.Closer.
func (b *sharedBody) Close() error {
	defer b.cancel(nil)
	if b.rest != nil {
		b.rest.Close()
	}
	return b.rd.Close()
}
