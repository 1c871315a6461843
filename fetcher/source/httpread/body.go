package httpread

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"time"

	"github.com/darter-p2p/darter/fetcher/source"
)

// ErrSilent is the cause of a ctx that a watch ended.
var ErrSilent = errors.New("the origin went silent")

// Watch ends a ctx when the origin says nothing for too long while somebody waits for it.
type Watch struct {
	cancel context.CancelCauseFunc
	timer  *time.Timer
}

// NewWatch returns a watch that is armed for the first wait.
func NewWatch(ctx context.Context, first time.Duration) (context.Context, *Watch) {
	ctx, cancel := context.WithCancelCause(ctx)
	return ctx, &Watch{cancel: cancel, timer: time.AfterFunc(first, func() { cancel(ErrSilent) })}
}

// Arm gives the origin d to say something; Disarm ends that wait.
func (w *Watch) Arm(d time.Duration) { w.timer.Reset(d) }

// Disarm ends a wait.
func (w *Watch) Disarm() { w.timer.Stop() }

// End ends the ctx.
func (w *Watch) End() {
	w.timer.Stop()
	w.cancel(context.Canceled)
}

// Body is a response's bytes from the offset on, no more than were asked for.
type Body struct {
	ctx    context.Context
	watch  *Watch
	idle   time.Duration
	host   string
	under  io.ReadCloser
	Left   int64 // bytes still to come, -1 = unknown
	Bound  int64 // most bytes of a body of unknown length
	closed bool
}

// NewBody returns the body of a response that host sent, of a length and bound that are
// not known yet. The ctx is w's; idle is the longest wait for the next bytes. Close
// ends both under and w.
func NewBody(ctx context.Context, w *Watch, idle time.Duration, host string, under io.ReadCloser) *Body {
	return &Body{ctx: ctx, watch: w, idle: idle, host: host, under: under, Left: -1, Bound: math.MaxInt64}
}

// ErrTooLong is the cause where a body of unknown length passes its Bound.
var ErrTooLong = errors.New("longer than allowed")

// Read returns io.ErrUnexpectedEOF where the body ends early.
func (b *Body) Read(p []byte) (int, error) {
	if b.Left == 0 {
		return 0, io.EOF
	}
	if b.Left > 0 {
		p = p[:min(int64(len(p)), b.Left)]
	}
	b.watch.Arm(b.idle)
	n, err := b.under.Read(p)
	b.watch.Disarm()
	if b.Left > 0 {
		b.Left -= int64(n)
	} else if b.Bound -= int64(n); b.Bound < 0 {
		return 0, &source.Error{Host: b.host, Err: ErrTooLong}
	}
	switch {
	case err == nil, b.Left == 0:
		return n, nil // the next Read says EOF
	case errors.Is(err, io.EOF) && b.Left < 0:
		return n, io.EOF
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return n, fmt.Errorf("read origin %s: %w", b.host, io.ErrUnexpectedEOF)
	}
	return n, AnswerError(b.ctx, b.host, err)
}

// Skip reads n bytes and throws them away.
func (b *Body) Skip(n int64) error {
	got, err := io.CopyN(io.Discard, b, n)
	if errors.Is(err, io.EOF) && got < n {
		return io.ErrUnexpectedEOF
	}
	return err
}

// Host returns who sends the body.
func (b *Body) Host() string { return b.host }

// Close ends the request.
func (b *Body) Close() error {
	if b.closed {
		return nil
	}
	b.closed = true
	err := b.under.Close()
	b.watch.End()
	return err
}
