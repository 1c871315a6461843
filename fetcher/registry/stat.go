package registry

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"net/http"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/darter-p2p/darter/fetcher/source"
	"github.com/darter-p2p/darter/fetcher/source/httpread"
)

// Stat implements source.Source. For a tag it also finds the digest where the
// registry does not say it, by reading the manifest.
func (s *Source) Stat(ctx context.Context, r source.Request) (*source.Response, error) {
	return s.each(ctx, r, func(ep *Endpoint, ref Ref) (*source.Response, error) {
		return s.stat(ctx, ep, ref, r)
	})
}

// stat asks one endpoint for a content's size and type.
func (s *Source) stat(ctx context.Context, ep *Endpoint, ref Ref, r source.Request) (*source.Response, error) {
	hctx, w := httpread.NewWatch(ctx, s.firstWait())
	resp, err := s.ask(hctx, ep, ref, http.MethodHead, "", r.Header)
	w.End()
	if err == nil {
		_ = resp.Body.Close()
		out := attributes(resp, resp.ContentLength)
		if out.Size >= 0 && (ref.Kind == Blobs || out.Digest != "" || strings.Contains(ref.Reference, ":")) {
			return out, nil
		}
	} else if !headRefused(ep, err) {
		return nil, err
	}
	return s.statByGet(ctx, ep, ref, r)
}

// headRefused reports whether GET may work where HEAD did not: some registries lack
// it, and a signed URL to which they redirect is good for GET only.
func headRefused(ep *Endpoint, err error) bool {
	var e *source.Error
	if !errors.As(err, &e) {
		return false
	}
	switch e.Status {
	case http.StatusMethodNotAllowed, http.StatusNotImplemented:
		return true
	case http.StatusForbidden, http.StatusBadRequest:
		return e.Host != ep.URL.Host
	}
	return false
}

// statByGet learns what HEAD does not say: from a manifest's bytes, from a blob's first byte.
func (s *Source) statByGet(ctx context.Context, ep *Endpoint, ref Ref, r source.Request) (*source.Response, error) {
	r.Offset, r.Length = 0, -1
	if ref.Kind == Blobs {
		r.Length = 1
	}
	out, err := s.open(ctx, ep, ref, r)
	var e *source.Error
	if errors.As(err, &e) && e.Status == http.StatusRequestedRangeNotSatisfiable && emptyContent(e) {
		return &source.Response{Size: 0}, nil
	}
	if err != nil {
		return nil, err
	}
	body := out.Body
	defer body.Close()
	out.Body = nil
	if ref.Kind == Manifests {
		h := sha256.New()
		if out.Size, err = io.Copy(h, body); err != nil {
			return nil, err
		}
		out.Digest = digest.NewDigest(digest.SHA256, h).String()
	}
	out.Length = 0
	return out, nil
}

func emptyContent(e *source.Error) bool { return e.Header.Get("Content-Range") == "bytes */0" }
