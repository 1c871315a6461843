// Package source is the contract of an origin: the place that content comes from
// when no node has it. Implementations live beside it (fetcher/registry) and pass
// sourcetest.
package source

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/darter-p2p/darter/p2p"
)

// Request asks for bytes of an origin's content.
type Request struct {
	Origin p2p.Origin
	// Offset and Length are the range in bytes; Length -1 = to the end. 0, -1 asks
	// for the whole content without a Range header. A Length that reaches beyond the
	// end is cut; an Offset at or beyond the end is ErrOutOfRange, a negative one ErrInvalidArgument.
	Offset, Length int64
	// Header holds the reader's own headers (Authorization, Accept). Nil asks
	// anonymously. They never go to another host on a redirect.
	Header http.Header
}

// Response is an origin's answer. The caller closes Body.
type Response struct {
	Body io.ReadCloser // nil for Stat
	// Size is the size of the whole content in bytes, -1 where it is unknown.
	Size int64
	// Offset and Length are what Body holds; an origin that ignores ranges is read
	// past the offset by the source, so they are always as asked for, cut at the
	// end of the content. Length is -1 where the size is unknown. A Body that is
	// shorter than Length ends in io.ErrUnexpectedEOF.
	Offset, Length int64
	MediaType      string
	Digest         string // the registry's Docker-Content-Digest; "" = not said
	Validator      string // strong ETag, or Last-Modified and size; "" = none
	// Moment is what answers of the same few seconds have in common where no validator
	// names the content; "" = the answer is for one reader.
	Moment string
	// Ranges says that the origin was seen to give a part of the content. A source
	// that always may be asked for parts (a registry) leaves it unset.
	Ranges bool
}

// Source reads an origin. Methods may be called concurrently. They retry nothing
// but a token that expired. What the origin refused is an *Error; where the caller's
// ctx ended the call, it is the ctx's error.
type Source interface {
	// Open begins to read. It returns when the first headers are there; ctx bounds the whole read.
	Open(ctx context.Context, r Request) (*Response, error)
	// Stat asks for size and media type only; Length and Offset are ignored.
	Stat(ctx context.Context, r Request) (*Response, error)
}

// Error is an origin's refusal or failure. It maps to a class of containerd/errdefs
// by errors.Is (404 ErrNotFound, 401 ErrUnauthenticated, 403 ErrPermissionDenied,
// 416 ErrOutOfRange, 429 ErrResourceExhausted, 5xx and no answer ErrUnavailable).
type Error struct {
	Status     int           // HTTP status; 0 = no answer
	Header     http.Header   // WWW-Authenticate, Retry-After, Docker-Distribution-Api-Version, Content-Type; nil = none
	Body       []byte        // at most 8 KiB of the origin's own words
	RetryAfter time.Duration // 0 = not said
	Host       string        // who was asked
	Err        error         // the cause where there was no answer, or none that can be used
}

// Error names the host and what it said.
func (e *Error) Error() string {
	switch {
	case e.Status == 0:
		return fmt.Sprintf("origin %s: no answer: %v", e.Host, e.Err)
	case e.Err != nil:
		return fmt.Sprintf("origin %s: %d %s: %v", e.Host, e.Status, http.StatusText(e.Status), e.Err)
	}
	return fmt.Sprintf("origin %s: %d %s", e.Host, e.Status, http.StatusText(e.Status))
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }
