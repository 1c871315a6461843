package registry

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"github.com/darter-p2p/darter/fetcher/source"
	"github.com/darter-p2p/darter/fetcher/source/httpread"
	"github.com/darter-p2p/darter/fetcher/upstream"
)

const maxRedirects = 10

// follow makes a request of ep, or of the token server that it names, and goes where
// it is redirected. Authorization, Cookie and ep's own headers stay with the first
// scheme, host and port. The response may have any status but a redirect's; the
// caller closes its body. No answer is a *source.Error.
func (s *Source) follow(ctx context.Context, ep *Endpoint, method string, u *url.URL, header http.Header) (*http.Response, error) {
	header = header.Clone()
	if httpread.SameOrigin(u, ep.URL) {
		for k, v := range ep.Header {
			header[http.CanonicalHeaderKey(k)] = v
		}
	}
	header.Set("Accept-Encoding", "identity")
	bounds := reachOf(ep)
	for range maxRedirects + 1 {
		resp, err := s.roundTrip(ctx, ep, bounds, method, u, header, nil)
		if err != nil {
			return nil, httpread.AnswerError(ctx, u.Host, err)
		}
		if !httpread.IsRedirect(resp.StatusCode) {
			return resp, nil
		}
		next, err := httpread.RedirectTarget(resp, u)
		if err == nil {
			err = s.checkDowngrade(u, next)
		}
		if err != nil {
			return nil, &source.Error{Status: resp.StatusCode, Host: u.Host, Err: err}
		}
		if !httpread.SameOrigin(u, next) {
			header.Del("Authorization")
			header.Del("Cookie")
			for k := range ep.Header {
				header.Del(k)
			}
		}
		u = next
	}
	return nil, &source.Error{Host: u.Host, Err: fmt.Errorf("more than %d redirects", maxRedirects)}
}

func (s *Source) roundTrip(ctx context.Context, ep *Endpoint, bounds reach, method string, u *url.URL, header http.Header, body []byte) (*http.Response, error) {
	transport := ep.Transport
	if u.Host != ep.URL.Host {
		// Elsewhere: a configured registry is known to be good, others are kept within bounds.
		if own, ok := s.siteOf(u.Host); ok {
			transport = own.transport
		} else {
			var err error
			if ctx, err = bounds.bind(ctx, u); err != nil {
				return nil, err
			}
		}
	}
	if s.policy != nil && transport == http.RoundTripper(s.common) {
		var err error
		if ctx, err = permitted(ctx, s.policy, u); err != nil {
			return nil, err
		}
	}
	req := (&http.Request{
		Method: method, URL: u, Host: u.Host, Header: header.Clone(),
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
	}).WithContext(ctx)
	if body != nil {
		req.Body, req.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	}
	return transport.RoundTrip(req)
}

// checkDowngrade refuses to leave https for http, unless a table says plain_http for the target.
func (s *Source) checkDowngrade(from, to *url.URL) error {
	if from.Scheme != "https" || to.Scheme != "http" || upstream.IsLoopback(from.Host) && upstream.IsLoopback(to.Host) {
		return nil
	}
	if own, ok := s.siteOf(to.Host); ok && own.root.Scheme == "http" {
		return nil
	}
	return fmt.Errorf("redirect from https to http://%s", clip(to.Host))
}
