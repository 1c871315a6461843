package source

import (
	"context"
	"errors"
	"io"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/errdefs"
)

// HopHeader names, in every request to an origin, the darter nodes that the request
// went through, separated by commas, so that a mirror that is its own origin by
// mistake refuses the request instead of asking itself for ever.
const HopHeader = "X-Darter-Hop"

// maxErrorBody bounds Error.Body, in bytes.
const maxErrorBody = 8 << 10

// maxRetryAfter bounds what an origin can ask for.
const maxRetryAfter = time.Hour

// keptHeaders are the headers of a refusal that a reader has a use for.
var keptHeaders = []string{
	"WWW-Authenticate", "Retry-After", "Docker-Distribution-Api-Version", "Content-Type", "Content-Range",
	"RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset",
}

// Is reports whether the error is of a class of containerd/errdefs.
func (e *Error) Is(target error) bool { return target == e.class() }

func (e *Error) class() error {
	switch {
	case e.Status == 0 && errors.Is(e.Err, context.Canceled):
		return nil // not the origin's fault
	case e.Status == 0, e.Status >= 500, e.Status == http.StatusRequestTimeout:
		return errdefs.ErrUnavailable
	case e.Status < 400 && e.Err != nil: // an answer that cannot be used
		return errdefs.ErrUnavailable
	}
	switch e.Status {
	case http.StatusBadRequest:
		return errdefs.ErrInvalidArgument
	case http.StatusUnauthorized:
		return errdefs.ErrUnauthenticated
	case http.StatusForbidden, http.StatusUnavailableForLegalReasons:
		return errdefs.ErrPermissionDenied
	case http.StatusNotFound, http.StatusGone:
		return errdefs.ErrNotFound
	case http.StatusPreconditionFailed:
		return errdefs.ErrFailedPrecondition
	case http.StatusRequestedRangeNotSatisfiable:
		return errdefs.ErrOutOfRange
	case http.StatusTooManyRequests:
		return errdefs.ErrResourceExhausted
	}
	return errdefs.ErrUnknown
}

// ErrorOf makes an Error of a response that is a refusal, and closes its body
// after reading at most 8 KiB of it. now is what a Retry-After date is counted from.
func ErrorOf(resp *http.Response, host string, now time.Time) *Error {
	e := &Error{
		Status:     resp.StatusCode,
		Host:       host,
		Header:     http.Header{},
		RetryAfter: RetryAfter(resp.Header.Get("Retry-After"), now),
	}
	for _, name := range keptHeaders {
		if v := resp.Header.Values(name); len(v) > 0 {
			e.Header[http.CanonicalHeaderKey(name)] = append([]string(nil), v...)
		}
	}
	// What cannot be read of an error's text is no loss.
	e.Body, _ = io.ReadAll(io.LimitReader(resp.Body, maxErrorBody))
	_ = resp.Body.Close()
	return e
}

// RetryAfter reads a Retry-After header, a number of seconds or a date, at most an
// hour; 0 where it says nothing that can be understood.
func RetryAfter(v string, now time.Time) time.Duration {
	v = strings.TrimSpace(v)
	if v == "" {
		return 0
	}
	var d time.Duration
	if n, err := strconv.ParseUint(v, 10, 63); err == nil {
		d = time.Duration(min(n, math.MaxInt32)) * time.Second
	} else if at, err := http.ParseTime(v); err == nil {
		d = at.Sub(now)
	}
	return min(max(d, 0), maxRetryAfter)
}

// Clip shortens what a stranger sent, for messages.
func Clip(s string) string {
	if len(s) > 80 {
		return s[:80] + "…"
	}
	return s
}
