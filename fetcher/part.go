package fetcher

import (
	"context"
	"fmt"
	"io"
	"sync"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"

	"github.com/darter-p2p/darter/p2p"
	"github.com/darter-p2p/darter/p2p/node"
)

// Parts gives ranges of contents as neighbours have them, not checked; *node.Node does.
type Parts interface {
	OpenPart(ctx context.Context, w node.Want) (*node.Part, error)
	Accuse(task p2p.TaskID, from p2p.HostID)
}

// part opens a range as one neighbour sends it, for a reader who is blocked on it and
// checks it himself (Content.Verifies). On any error the content is to be opened as for others.
func (l *Local) part(ctx context.Context, w wish, r Range) (*Body, []p2p.Reading, error) {
	ctx, cancel := context.WithCancel(ctx)
	p, err := l.parts.OpenPart(ctx, node.Want{Task: w.task, Offset: r.Offset, Length: r.Length, Class: p2p.Urgent})
	if err != nil {
		cancel()
		return nil, nil, err
	}
	return &Body{
		ReadCloser: &partBody{l: l, ctx: ctx, cancel: cancel, part: p, wish: w, next: r.Offset, left: r.Length},
		Size:       p.Size(), Offset: r.Offset, Length: r.Length, From: "swarm", Unverified: string(p.From()),
	}, p.Readings(), nil
}

// partBody reads a part, and by pieces what a neighbour fails to send.
type partBody struct {
	l          *Local
	ctx        context.Context
	cancel     context.CancelFunc
	part       *node.Part
	wish       wish
	next, left int64 // of the next byte; bytes left of the range
	rest       *Body // by pieces; nil while the neighbour sends
}

// Read implements io.Reader.
func (b *partBody) Read(p []byte) (n int, err error) {
	if b.left == 0 {
		return 0, io.EOF
	}
	if err := b.l.allowed(&b.wish); err != nil {
		return 0, err
	}
	if b.rest == nil {
		n, err = b.part.Read(p)
	}
	if n == 0 && b.left > 0 {
		if b.rest == nil {
			if b.ctx.Err() != nil {
				return 0, b.ctx.Err()
			}
			if derr := b.goOn(); derr != nil {
				return 0, fmt.Errorf("%w; and by pieces: %w", err, derr)
			}
		}
		n, err = b.rest.Read(p)
	} else {
		err = nil // it is said again by the next Read
	}
	b.next, b.left = b.next+int64(n), b.left-int64(n)
	return n, err
}

// copies hold what is between a part and who reads it: large, for each step is two system
// calls and two wake-ups.
var copies = sync.Pool{New: func() any { return new([256 << 10]byte) }}

// WriteTo implements io.WriterTo.
func (b *partBody) WriteTo(w io.Writer) (sent int64, err error) {
	buf, _ := copies.Get().(*[256 << 10]byte)
	defer copies.Put(buf)
	for {
		n, err := b.Read(buf[:])
		if n > 0 {
			m, werr := w.Write(buf[:n])
			if sent += int64(m); werr != nil {
				return sent, werr
			}
		}
		switch {
		case err == io.EOF: //nolint:errorlint // Read itself returns it
			return sent, nil
		case err != nil:
			return sent, err
		}
	}
}

// goOn opens what is left as other readers do.
func (b *partBody) goOn() error {
	w := b.wish
	w.verifies = false
	rest, err := b.l.granted(b.ctx, w, Range{Offset: b.next, Length: b.left})
	if err != nil && !final(b.ctx, err) {
		rest, err = b.l.direct(b.ctx, w, Range{Offset: b.next, Length: b.left})
	}
	b.rest = rest
	return err
}

// Close implements io.Closer.
func (b *partBody) Close() error {
	defer b.cancel()
	if b.rest != nil {
		_ = b.rest.Close()
	}
	return b.part.Close()
}

// Accuse says that a Body's bytes, which host had sent and nobody had verified
// (Body.Unverified), were wrong: the reader found that they do not have their digest, and
// that those of the same range which came verified have it.
func (l *Local) Accuse(d digest.Digest, host string) error {
	task, err := p2p.TaskOfDigest(d)
	if err != nil {
		return fmt.Errorf("%w: %w", err, errdefs.ErrInvalidArgument)
	}
	if l.parts != nil {
		l.parts.Accuse(task, p2p.HostID(host))
	}
	return nil
}
