package httpsource

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/darter-p2p/darter/fetcher/source"
	"github.com/darter-p2p/darter/fetcher/source/httpread"
)

// errChanged is the cause of a 412 that an origin did not say itself.
var errChanged = errors.New("the content is another one than before")

// describe checks an answer's headers against the request and brings b to the offset.
func (s *Source) describe(resp *http.Response, r source.Request, validator string, b *httpread.Body) (*source.Response, error) {
	unusable := func(err error) error { return &source.Error{Status: resp.StatusCode, Host: b.Host(), Err: err} }
	if enc := resp.Header.Get("Content-Encoding"); enc != "" && !strings.EqualFold(enc, "identity") {
		// Its length and validator are of the encoded form, which nobody asked for.
		return nil, unusable(fmt.Errorf("content is encoded (%s) though identity was asked for", source.Clip(enc)))
	}
	sp, err := httpread.SpanOf(resp, r.Offset, r.Length)
	if err != nil {
		return nil, unusable(err)
	}
	if validator != "" && !proves(resp.Header, sp.Size, validator) {
		return nil, &source.Error{Status: http.StatusPreconditionFailed, Host: b.Host(), Err: errChanged}
	}
	if sp.Size >= 0 && r.Offset >= sp.Size && httpread.RangeHeader(r.Offset, r.Length) != "" {
		return nil, httpread.OutOfRange(b.Host(), sp.Size)
	}
	if sp.Skip > int64(s.limits.MaxSkip) {
		return nil, unusable(fmt.Errorf("ranges are ignored and offset %d is too far to read up to", sp.Skip))
	}
	if err := skip(b, sp.Skip); err != nil {
		return nil, fmt.Errorf("read up to offset %d: %w", sp.Skip, err)
	}
	b.Left = sp.Length
	out := &source.Response{
		Body: b, Size: sp.Size, Offset: r.Offset, Length: sp.Length, MediaType: mediaType(resp.Header),
		Validator: validatorOf(resp.Header, sp.Size), Ranges: resp.StatusCode == http.StatusPartialContent,
	}
	if out.Validator == "" {
		out.Moment = momentOf(resp.Header, sp.Size)
	}
	if sp.Length < 0 && r.Length > 0 {
		out.Body = httpread.Limited{Reader: io.LimitReader(b, r.Length), Closer: b} // size unknown, ranges ignored
	}
	return out, nil
}

func skip(b *httpread.Body, n int64) error {
	if n == 0 {
		return nil
	}
	return b.Skip(n)
}

// emptyContent makes the answer of a 416 that says that there is no byte at all.
func emptyContent(err error) (*source.Response, bool) {
	var said *source.Error
	if !errors.As(err, &said) || said.Status != http.StatusRequestedRangeNotSatisfiable {
		return nil, false
	}
	size, ok := strings.CutPrefix(said.Header.Get("Content-Range"), "bytes */")
	n, perr := strconv.ParseInt(size, 10, 64)
	return &source.Response{}, ok && perr == nil && n == 0
}
