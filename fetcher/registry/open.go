package registry

import (
	"context"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"

	"github.com/darter-p2p/darter/fetcher/source"
	"github.com/darter-p2p/darter/fetcher/source/httpread"
)

// Open implements source.Source.
func (s *Source) Open(ctx context.Context, r source.Request) (*source.Response, error) {
	if r.Offset < 0 || r.Length < -1 {
		return nil, fmt.Errorf("read %s: range %d+%d: %w", r.Origin, r.Offset, r.Length, errdefs.ErrInvalidArgument)
	}
	if r.Length == 0 {
		return s.openNothing(ctx, r)
	}
	return s.each(ctx, r, func(ep *Endpoint, ref Ref) (*source.Response, error) {
		return s.open(ctx, ep, ref, r)
	})
}

// openNothing answers a request for no byte, which HTTP cannot ask for.
func (s *Source) openNothing(ctx context.Context, r source.Request) (*source.Response, error) {
	resp, err := s.Stat(ctx, r)
	if err != nil {
		return nil, err
	}
	if resp.Size >= 0 && r.Offset > resp.Size {
		return nil, httpread.OutOfRange(string(r.Origin), resp.Size)
	}
	resp.Offset, resp.Body = r.Offset, http.NoBody
	return resp, nil
}

// firstWait bounds the time until an answer's headers, with a token in between.
func (s *Source) firstWait() time.Duration {
	return 2 * (s.limits.DialTimeout + s.limits.TLSTimeout + s.limits.HeaderTimeout).Duration()
}

// open reads from one endpoint. r.Length is not 0.
func (s *Source) open(ctx context.Context, ep *Endpoint, ref Ref, r source.Request) (*source.Response, error) {
	ctx, w := httpread.NewWatch(ctx, s.firstWait())
	resp, err := s.ask(ctx, ep, ref, http.MethodGet, httpread.RangeHeader(r.Offset, r.Length), r.Header) //nolint:bodyclose // b.Close does
	w.Disarm()
	if err != nil {
		w.End()
		return nil, err
	}
	host := resp.Request.URL.Host
	b := httpread.NewBody(ctx, w, s.limits.IdleTimeout.Duration(), host, resp.Body)
	out, err := s.describe(resp, ref, r, b)
	if err != nil {
		_ = b.Close()
		return nil, err
	}
	return out, nil
}

// describe checks an answer's headers against the request and brings b to the offset.
func (s *Source) describe(resp *http.Response, ref Ref, r source.Request, b *httpread.Body) (*source.Response, error) {
	unusable := func(err error) error {
		return &source.Error{Status: resp.StatusCode, Host: b.Host(), Err: err}
	}
	if enc := resp.Header.Get("Content-Encoding"); enc != "" && enc != "identity" {
		return nil, unusable(fmt.Errorf("content is encoded (%s)", clip(enc)))
	}
	sp, err := httpread.SpanOf(resp, r.Offset, r.Length)
	if err != nil {
		return nil, unusable(err)
	}
	if sp.Size >= 0 && r.Offset >= sp.Size && httpread.RangeHeader(r.Offset, r.Length) != "" {
		return nil, httpread.OutOfRange(b.Host(), sp.Size)
	}
	if ref.Kind == Manifests {
		b.Bound = MaxManifest
		if sp.Size > MaxManifest {
			return nil, unusable(fmt.Errorf("manifest of %d bytes: %w", sp.Size, httpread.ErrTooLong))
		}
	}
	if sp.Skip > int64(s.limits.MaxSkip) {
		return nil, unusable(fmt.Errorf("ranges are ignored and offset %d is too far to read up to", sp.Skip))
	}
	if sp.Skip > 0 {
		if err := b.Skip(sp.Skip); err != nil {
			return nil, fmt.Errorf("read up to offset %d: %w", sp.Skip, err)
		}
	}
	b.Left = sp.Length
	out := attributes(resp, sp.Size)
	out.Body, out.Offset, out.Length = b, r.Offset, sp.Length
	if sp.Length < 0 && r.Length > 0 {
		out.Body = httpread.Limited{Reader: io.LimitReader(b, r.Length), Closer: b} // size unknown, ranges ignored
	}
	return out, nil
}

// attributes reads what an answer's headers say about the content.
func attributes(resp *http.Response, size int64) *source.Response {
	out := &source.Response{Size: size, MediaType: resp.Header.Get("Content-Type")}
	if t, _, err := mime.ParseMediaType(out.MediaType); err == nil {
		out.MediaType = t
	}
	if d := resp.Header.Get("Docker-Content-Digest"); digest.Digest(d).Validate() == nil {
		out.Digest = d
	}
	switch etag, modified := resp.Header.Get("ETag"), resp.Header.Get("Last-Modified"); {
	case strings.HasPrefix(etag, `"`):
		out.Validator = etag
	case modified != "" && size >= 0:
		out.Validator = modified + " " + strconv.FormatInt(size, 10)
	}
	return out
}
