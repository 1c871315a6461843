// Package problem answers requests to the manager that are refused or fail: one HTTP status
// for each class of error, and problem+json (RFC 9457).
package problem

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/errdefs"

	"github.com/darter-p2p/darter/manager/access"
)

// Problem is the body of an answer that is an error.
type Problem struct {
	Title  string `json:"title"`  // the status' words
	Status int    `json:"status"` // the HTTP status
	Detail string `json:"detail,omitempty"`
	// Message is Detail, or Title where there is none, on Dragonfly's paths: its clients read that.
	Message string `json:"message,omitempty"`
}

// Fault is an error with a status of its own, whose words are for the caller.
type Fault struct {
	Status int
	Detail string
}

func (f *Fault) Error() string { return f.Detail }

// StatusOf returns an error's status, and whether its words are for the caller.
func StatusOf(err error) (status int, told bool) {
	var f *Fault
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &f):
		return f.Status, true
	case errors.As(err, &large):
		return http.StatusRequestEntityTooLarge, true
	case errdefs.IsInvalidArgument(err), errdefs.IsOutOfRange(err):
		return http.StatusBadRequest, true
	case errdefs.IsUnauthorized(err):
		return http.StatusUnauthorized, true
	case errdefs.IsPermissionDenied(err):
		return http.StatusForbidden, true
	case errdefs.IsNotFound(err):
		return http.StatusNotFound, true
	case errdefs.IsAlreadyExists(err), errdefs.IsFailedPrecondition(err), errdefs.IsConflict(err):
		return http.StatusConflict, true
	case errdefs.IsResourceExhausted(err):
		return http.StatusTooManyRequests, true
	case errdefs.IsNotImplemented(err):
		return http.StatusNotImplemented, true
	case errdefs.IsUnavailable(err), errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return http.StatusServiceUnavailable, false
	}
	return http.StatusInternalServerError, false
}

// Of returns what a caller is told of an error.
func Of(err error) Problem {
	status, told := StatusOf(err)
	p := Problem{Title: http.StatusText(status), Status: status}
	if told {
		p.Detail = Words(err)
	}
	return p
}

// Words are an error's, without those of its class at the end.
func Words(err error) string {
	text := err.Error()
	for e := err; e != nil; e = errors.Unwrap(e) {
		if errors.Unwrap(e) == nil {
			text = strings.TrimSuffix(text, ": "+e.Error())
		}
	}
	return text
}

// retryAfter returns when a caller that was told "too many" may come back.
func retryAfter(err error) time.Duration {
	var many *access.TooMany
	if errors.As(err, &many) {
		return many.After
	}
	return 10 * time.Second
}

// Write answers with a problem; err is the error that it is of, nil where there is none. A
// caller who is not believed is asked for a token, unless a header asks for something else.
func Write(w http.ResponseWriter, p Problem, err error) {
	h := w.Header()
	h.Set("Content-Type", "application/problem+json")
	switch p.Status {
	case http.StatusUnauthorized:
		if h.Get("WWW-Authenticate") == "" {
			h.Set("WWW-Authenticate", `Bearer realm="darter"`)
		}
	case http.StatusTooManyRequests:
		h.Set("Retry-After", strconv.Itoa(int(math.Ceil(retryAfter(err).Seconds()))))
	}
	w.WriteHeader(p.Status)
	body, _ := json.Marshal(p) // texts and a number
	w.Write(body)
}
