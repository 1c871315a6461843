package mirror

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"syscall"
	"time"

	"github.com/containerd/log"

	"github.com/darter-p2p/darter/fetcher"
)

// copyBuffer is the size of the buffers between a body and its client, in bytes.
const copyBuffer = 128 << 10

// response counts what goes to a client.
type response struct {
	http.ResponseWriter
	status  int
	written int64 // bytes of the body
	from    string
	first   time.Time // when the headers went out
	failed  bool      // the client did not take a write
}

// WriteHeader implements http.ResponseWriter.
func (w *response) WriteHeader(status int) {
	if w.status == 0 {
		w.status, w.first = status, time.Now()
	}
	w.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (w *response) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	n, err := w.ResponseWriter.Write(p)
	w.written += int64(n)
	w.failed = w.failed || err != nil
	return n, err
}

// ReadFrom lets a body that is a file go out by sendfile.
func (w *response) ReadFrom(r io.Reader) (int64, error) {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	to, ok := w.ResponseWriter.(io.ReaderFrom)
	if !ok || !isFile(r) {
		return io.Copy(&flushing{w: w}, r)
	}
	n, err := to.ReadFrom(r)
	w.written += n
	w.failed = w.failed || isClosed(err)
	return n, err
}

// isFile reports whether a reader is a file, or the beginning of one, as sendfile takes it.
func isFile(r io.Reader) bool {
	if l, ok := r.(*io.LimitedReader); ok {
		r = l.R
	}
	_, ok := r.(*os.File)
	return ok
}

// flushEvery is how long bytes of a slow body may wait for more before they go out.
const flushEvery = time.Second / 2

// flushing writes to a client who is to see a slow body come, and the first byte at once.
type flushing struct {
	w    *response
	last time.Time
}

// Write implements io.Writer.
func (f *flushing) Write(p []byte) (int, error) {
	n, err := f.w.Write(p)
	if now := time.Now(); err == nil && now.Sub(f.last) > flushEvery {
		f.last = now
		_ = http.NewResponseController(f.w.ResponseWriter).Flush()
	}
	return n, err
}

// isClosed reports whether an error says that the client's connection is gone.
func isClosed(err error) bool {
	return errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, net.ErrClosed)
}

// Unwrap is for http.ResponseController.
func (w *response) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// notModified answers a client that has the content already.
func (w *response) notModified() {
	w.Header().Del("Content-Length")
	w.WriteHeader(http.StatusNotModified)
}

// watched arms a request's watch while it waits for the fetcher, and only then: a
// slow client is not a fault.
type watched struct {
	io.Reader
	watch *watch
	limit time.Duration
}

func (r watched) Read(p []byte) (int, error) {
	r.watch.arm(r.limit)
	n, err := r.Reader.Read(p)
	r.watch.disarm()
	return n, err
}

// copy sends a body whose headers are out. When the fetcher fails in between, it
// breaks the connection, so that the client cannot take the part for the whole.
func (h *Handler) copy(w *response, r *request, body *fetcher.Body) {
	r.watch.disarm()
	var err error
	if direct, ok := body.ReadCloser.(io.WriterTo); ok {
		_, err = direct.WriteTo(w)
	} else {
		buf := h.buffers.Get().(*[]byte)
		_, err = io.CopyBuffer(&flushing{w: w}, watched{io.LimitReader(body, body.Length), r.watch, h.config.StallTimeout.Duration()}, *buf)
		h.buffers.Put(buf)
	}
	if err == nil && w.written < body.Length {
		err = io.ErrUnexpectedEOF
	}
	if err == nil {
		return
	}
	if w.failed || r.watch.clientGone() {
		panic(http.ErrAbortHandler) // the client left, nobody is to blame
	}
	if cause := context.Cause(r.Context()); errors.Is(cause, errSlow) {
		err = cause
	}
	h.broken.add(brokenKey{r.client, r.content.Digest}, body.Offset, body.Offset+w.written, time.Now())
	h.metrics.brokenBodies.Inc()
	log.G(r.Context()).WithError(fmt.Errorf("copy body: %w", err)).WithFields(log.Fields{
		"digest": r.content.Digest, "registry": r.content.Registry, "repository": r.content.Repository,
		"offset": body.Offset, "sent": w.written, "length": body.Length, "from": body.From,
	}).Warn("mirror breaks a body, its client resumes elsewhere")
	panic(http.ErrAbortHandler)
}
