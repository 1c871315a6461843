package httpread

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/darter-p2p/darter/fetcher/source"
)

// maxDrained is how many bytes of a redirect's body are read to keep its connection.
const maxDrained = 4 << 10

// IsRedirect reports whether a status sends the reader elsewhere.
func IsRedirect(status int) bool {
	switch status {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther,
		http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		return true
	}
	return false
}

// RedirectTarget reads Location and closes the redirect's body.
func RedirectTarget(resp *http.Response, from *url.URL) (*url.URL, error) {
	if n := resp.ContentLength; n > 0 && n <= maxDrained {
		_, _ = io.CopyN(io.Discard, resp.Body, n) // only to reuse the connection
	}
	_ = resp.Body.Close()
	location := resp.Header.Get("Location")
	if location == "" {
		return nil, errors.New("redirect without a Location")
	}
	to, err := from.Parse(location)
	if err != nil {
		return nil, errors.New("redirect to what is not a URL") // the text may hold a signature
	}
	if to.Scheme != "http" && to.Scheme != "https" || to.Host == "" {
		return nil, fmt.Errorf("redirect to scheme %q", source.Clip(to.Scheme))
	}
	to.User, to.Fragment = nil, ""
	return to, nil
}

// SameOrigin reports whether scheme, host and port are the same.
func SameOrigin(a, b *url.URL) bool {
	return a.Scheme == b.Scheme && strings.EqualFold(a.Hostname(), b.Hostname()) && PortOf(a) == PortOf(b)
}

// PortOf returns the port of a URL, written or not.
func PortOf(u *url.URL) string {
	if p := u.Port(); p != "" {
		return p
	}
	if u.Scheme == "http" {
		return "80"
	}
	return "443"
}

// AnswerError makes the error of a request that got no answer: the ctx's own where the
// caller ended it, else a *source.Error.
func AnswerError(ctx context.Context, host string, err error) error {
	if cause := context.Cause(ctx); errors.Is(cause, ErrSilent) {
		return &source.Error{Host: host, Err: cause}
	}
	if ctx.Err() != nil {
		return fmt.Errorf("read origin %s: %w", host, ctx.Err())
	}
	var already *source.Error
	if errors.As(err, &already) {
		return err
	}
	return &source.Error{Host: host, Err: err}
}

// Limited is the first part of a body whose end is unknown.
type Limited struct {
	io.Reader
	io.Closer
}

// OutOfRange is the refusal of a range that holds no byte of a content of size bytes.
func OutOfRange(host string, size int64) error {
	h := http.Header{"Content-Range": {fmt.Sprintf("bytes */%d", size)}}
	return &source.Error{Status: http.StatusRequestedRangeNotSatisfiable, Header: h, Host: host}
}
