package mirror

import (
	"context"
	"errors"
	"time"
)

// errSlow is the cause of a request's ctx that a watch ended.
var errSlow = errors.New("no byte in time")

// watch ends the ctx of a request when it waits too long for the fetcher.
type watch struct {
	client context.Context
	cancel context.CancelCauseFunc
	timer  *time.Timer
}

// newWatch returns a ctx below the client's, and its watch, armed for the first byte.
func newWatch(client context.Context, first time.Duration) (context.Context, *watch) {
	ctx, cancel := context.WithCancelCause(client)
	return ctx, &watch{client: client, cancel: cancel, timer: time.AfterFunc(first, func() { cancel(errSlow) })}
}

func (w *watch) arm(d time.Duration) { w.timer.Reset(d) }
func (w *watch) disarm()             { w.timer.Stop() }

func (w *watch) end() {
	w.timer.Stop()
	w.cancel(context.Canceled)
}

// clientGone reports whether the client closed its connection.
func (w *watch) clientGone() bool { return w.client.Err() != nil }
