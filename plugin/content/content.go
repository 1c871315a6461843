// Package content is the door for programs of this host that want the bytes of a URL:
// what darterd answers at ContentPath of api/darterd/v1. The program darter get is its user.
package content

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/textproto"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/containerd/log"
	"github.com/opencontainers/go-digest"
	"golang.org/x/net/http/httpguts"

	darterdv1 "github.com/darter-p2p/darter/api/darterd/v1"
	"github.com/darter-p2p/darter/fetcher"
	"github.com/darter-p2p/darter/fetcher/source"
)

// Opener gives the bytes of URLs; *fetcher.Local is one.
type Opener interface {
	OpenURL(ctx context.Context, u fetcher.URL, r fetcher.Range) (*fetcher.Body, error)
}

// Handler is the door. It breaks a body that cannot be finished by a panic with
// http.ErrAbortHandler.
type Handler struct{ Opener Opener }

// ServeHTTP implements http.Handler.
func (h Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	u, want, partial, err := parse(r)
	if err != nil {
		refuse(w, err)
		return
	}
	h.answer(w, r, u, want, partial)
}

// ServeURL answers a request with the content of u; of the request itself only the
// Range counts.
func (h Handler) ServeURL(w http.ResponseWriter, r *http.Request, u fetcher.URL) {
	want, partial, err := rangeOf(r.Header.Get("Range"))
	if err != nil {
		refuse(w, err)
		return
	}
	h.answer(w, r, u, want, partial)
}

// answer answers with what the fetcher has of a URL's content.
func (h Handler) answer(w http.ResponseWriter, r *http.Request, u fetcher.URL, want fetcher.Range, partial bool) {
	body, err := h.Opener.OpenURL(r.Context(), u, want)
	if err != nil {
		refuse(w, err)
		return
	}
	defer body.Close()
	status := http.StatusOK
	if partial {
		if body.Length < 0 {
			refuse(w, fmt.Errorf("the origin does not say the size, so that a part cannot be had: %w", errdefs.ErrNotImplemented))
			return
		}
		status = http.StatusPartialContent
		whole := "*"
		if body.Size >= 0 {
			whole = strconv.FormatInt(body.Size, 10)
		}
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%s", body.Offset, body.Offset+body.Length-1, whole))
	}
	set := func(name, value string) {
		if value != "" {
			w.Header().Set(name, value)
		}
	}
	set("Content-Type", body.MediaType)
	set(darterdv1.ValidatorHeader, body.Validator)
	set(darterdv1.FromHeader, body.From)
	sum := digest.Digest("")
	if body.Digest != nil {
		sum = body.Digest()
	}
	set(darterdv1.DigestHeader, sum.String())
	if body.Length >= 0 {
		set("Content-Length", strconv.FormatInt(body.Length, 10))
	} else if sum == "" && body.Digest != nil {
		set("Trailer", darterdv1.DigestHeader)
	}
	w.WriteHeader(status)
	flush := http.NewResponseController(w).Flush
	_ = flush() // so that a cut body is seen as one; Copy says what is wrong
	if n, err := io.Copy(w, body.ReadCloser); err != nil {
		if r.Context().Err() == nil {
			log.G(r.Context()).WithError(err).WithField("sent", n).Warn("a URL's content could not be finished")
		}
		_ = flush() // what came is the client's to keep, it goes on from there
		panic(http.ErrAbortHandler)
	}
	if sum == "" && body.Digest != nil && body.Length < 0 {
		set(darterdv1.DigestHeader, body.Digest().String())
	}
}

// parse reads a request.
func parse(r *http.Request) (u fetcher.URL, want fetcher.Range, partial bool, err error) {
	q := r.URL.Query()
	u = fetcher.URL{
		URL: q.Get(darterdv1.URLParam), Tag: q.Get(darterdv1.TagParam), Application: q.Get(darterdv1.ApplicationParam),
		Digest: digest.Digest(q.Get(darterdv1.DigestParam)), Validator: q.Get(darterdv1.ValidatorParam), Header: http.Header{},
	}
	if u.Digest != "" && (u.Digest.Validate() != nil || u.Digest.Algorithm() != digest.SHA256) {
		return u, want, false, fmt.Errorf("digest %q: want sha256:<64 hex digits>: %w", source.Clip(u.Digest.String()), errdefs.ErrInvalidArgument)
	}
	for _, line := range q[darterdv1.HeaderParam] {
		name, value, ok := strings.Cut(line, ":")
		value = textproto.TrimString(value)
		if !ok || !httpguts.ValidHeaderFieldName(name) || !httpguts.ValidHeaderFieldValue(value) {
			return u, want, false, fmt.Errorf("a header is not \"Name: value\": %w", errdefs.ErrInvalidArgument) // it may be a secret
		}
		u.Header.Add(name, value)
	}
	want, partial, err = rangeOf(r.Header.Get("Range"))
	return u, want, partial, err
}

// rangeOf reads a Range header of one part; without one, the whole is wanted.
func rangeOf(s string) (r fetcher.Range, partial bool, err error) {
	if s == "" {
		return fetcher.All, false, nil
	}
	bad := fmt.Errorf("range %q: want bytes=<first>-[<last>]: %w", source.Clip(s), errdefs.ErrInvalidArgument)
	first, last, ok := strings.Cut(strings.TrimPrefix(s, "bytes="), "-")
	off, err := strconv.ParseInt(first, 10, 63)
	if !ok || err != nil || off < 0 || !strings.HasPrefix(s, "bytes=") || strings.HasPrefix(first, "+") {
		return r, false, bad
	}
	if last == "" {
		return fetcher.Range{Offset: off, Length: -1}, true, nil
	}
	end, err := strconv.ParseInt(last, 10, 63)
	if err != nil || end < off || strings.HasPrefix(last, "+") {
		return r, false, bad
	}
	return fetcher.Range{Offset: off, Length: end - off + 1}, true, nil
}

// refuse answers with what went wrong.
func refuse(w http.ResponseWriter, err error) {
	status, code := classOf(err)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(darterdv1.Error{Message: err.Error(), Code: code}) // a client that has gone
}

func classOf(err error) (status int, code string) {
	var said *source.Error
	origin := errors.As(err, &said)
	switch {
	case errdefs.IsInvalidArgument(err) && !origin:
		return http.StatusBadRequest, darterdv1.CodeInvalid
	case errdefs.IsNotImplemented(err):
		return http.StatusNotImplemented, darterdv1.CodeFailed
	case errdefs.IsUnauthorized(err):
		return http.StatusUnauthorized, darterdv1.CodeUnauthorized
	case errdefs.IsPermissionDenied(err) && !origin:
		return http.StatusForbidden, darterdv1.CodeDenied
	case errdefs.IsPermissionDenied(err):
		return http.StatusForbidden, darterdv1.CodeUnauthorized
	case errdefs.IsNotFound(err):
		return http.StatusNotFound, darterdv1.CodeNotFound
	case errdefs.IsFailedPrecondition(err):
		return http.StatusPreconditionFailed, darterdv1.CodeChanged
	case errdefs.IsOutOfRange(err):
		return http.StatusRequestedRangeNotSatisfiable, darterdv1.CodeOutOfRange
	case errdefs.IsUnavailable(err), errdefs.IsResourceExhausted(err):
		return http.StatusBadGateway, darterdv1.CodeUnavailable
	}
	return http.StatusInternalServerError, darterdv1.CodeFailed
}
