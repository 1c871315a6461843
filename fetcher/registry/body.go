package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/darter-p2p/darter/fetcher/source"
)

// errSilent is the cause of a ctx that a watch ended.
var errSilent = errors.New("the origin went silent")

// watch ends a ctx when the origin says nothing for too long while somebody waits for it.
type watch struct {
	cancel context.CancelCauseFunc
	timer  *time.Timer
}

// newWatch returns a watch that is armed for the first wait.
func newWatch(ctx context.Context, first time.Duration) (context.Context, *watch) {
	ctx, cancel := context.WithCancelCause(ctx)
	return ctx, &watch{cancel: cancel, timer: time.AfterFunc(first, func() { cancel(errSilent) })}
}

func (w *watch) arm(d time.Duration) { w.timer.Reset(d) }
func (w *watch) disarm()             { w.timer.Stop() }

func (w *watch) end() {
	w.timer.Stop()
	w.cancel(context.Canceled)
}

// body is a response's bytes from the offset on, no more than were asked for.
type body struct {
	ctx    context.Context
	watch  *watch
	idle   time.Duration
	host   string
	under  io.ReadCloser
	left   int64 // bytes still to come, -1 = unknown
	bound  int64 // most bytes of a body of unknown length
	closed bool
}

var errTooLong = errors.New("longer than allowed")

// Read returns io.ErrUnexpectedEOF where the body ends early.
func (b *body) Read(p []byte) (int, error) {
	if b.left == 0 {
		return 0, io.EOF
	}
	if b.left > 0 {
		p = p[:min(int64(len(p)), b.left)]
	}
	b.watch.arm(b.idle)
	n, err := b.under.Read(p)
	b.watch.disarm()
	if b.left > 0 {
		b.left -= int64(n)
	} else if b.bound -= int64(n); b.bound < 0 {
		return 0, &source.Error{Host: b.host, Err: errTooLong}
	}
	switch {
	case err == nil, b.left == 0:
		return n, nil // the next Read says EOF
	case errors.Is(err, io.EOF) && b.left < 0:
		return n, io.EOF
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return n, fmt.Errorf("read origin %s: %w", b.host, io.ErrUnexpectedEOF)
	}
	return n, answerError(b.ctx, b.host, err)
}

// skip reads n bytes and throws them away.
func (b *body) skip(n int64) error {
	got, err := io.CopyN(io.Discard, b, n)
	if errors.Is(err, io.EOF) && got < n {
		return io.ErrUnexpectedEOF
	}
	return err
}

// Close ends the request.
func (b *body) Close() error {
	if b.closed {
		return nil
	}
	b.closed = true
	err := b.under.Close()
	b.watch.end()
	return err
}
