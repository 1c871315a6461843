package registry

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

const (
	maxRedirects = 10
	maxDrained   = 4 << 10 // bytes of a redirect's body read to keep its connection
)

// follow makes a request of ep, or of the token server that it names, and goes where
// it is redirected. Authorization, Cookie and ep's own headers stay with the first
// scheme, host and port. The response may have any status but a redirect's; the
// caller closes its body. No answer is a *source.Error.
func (s *Source) follow(ctx context.Context, ep *Endpoint, method string, u *url.URL, header http.Header) (*http.Response, error) {
	header = header.Clone()
	if sameOrigin(u, ep.URL) {
		for k, v := range ep.Header {
			header[http.CanonicalHeaderKey(k)] = v
		}
	}
	header.Set("Accept-Encoding", "identity")
	bounds := reachOf(ep)
	for range maxRedirects + 1 {
		resp, err := s.roundTrip(ctx, ep, bounds, method, u, header)
		if err != nil {
			return nil, answerError(ctx, u.Host, err)
		}
		if !isRedirect(resp.StatusCode) {
			return resp, nil
		}
		next, err := redirectTarget(resp, u)
		if err == nil {
			err = s.checkDowngrade(u, next)
		}
		if err != nil {
			return nil, &source.Error{Status: resp.StatusCode, Host: u.Host, Err: err}
		}
		if !sameOrigin(u, next) {
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

func (s *Source) roundTrip(ctx context.Context, ep *Endpoint, bounds reach, method string, u *url.URL, header http.Header) (*http.Response, error) {
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
	req := (&http.Request{
		Method: method, URL: u, Host: u.Host, Header: header.Clone(),
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
	}).WithContext(ctx)
	return transport.RoundTrip(req)
}

func isRedirect(status int) bool {
	switch status {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther,
		http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		return true
	}
	return false
}

// redirectTarget reads Location and closes the redirect's body.
func redirectTarget(resp *http.Response, from *url.URL) (*url.URL, error) {
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
		return nil, fmt.Errorf("redirect to scheme %q", clip(to.Scheme))
	}
	to.User, to.Fragment = nil, ""
	return to, nil
}

// checkDowngrade refuses to leave https for http, unless a table says plain_http for the target.
func (s *Source) checkDowngrade(from, to *url.URL) error {
	if from.Scheme != "https" || to.Scheme != "http" || isLoopback(from.Host) && isLoopback(to.Host) {
		return nil
	}
	if own, ok := s.siteOf(to.Host); ok && own.root.Scheme == "http" {
		return nil
	}
	return fmt.Errorf("redirect from https to http://%s", clip(to.Host))
}

func sameOrigin(a, b *url.URL) bool {
	return a.Scheme == b.Scheme && strings.EqualFold(a.Hostname(), b.Hostname()) && portOf(a) == portOf(b)
}

// answerError makes the error of a request that got no answer: the ctx's own where the
// caller ended it, else a *source.Error.
func answerError(ctx context.Context, host string, err error) error {
	if cause := context.Cause(ctx); errors.Is(cause, errSilent) {
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
