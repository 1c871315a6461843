// Package httpsource reads http and https URLs as a source.Source: presigned ones,
// those that move, those that know no ranges and those that do not say their size.
package httpsource

import (
	"context"
	"crypto/tls"
	"fmt"
	"mime"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/containerd/errdefs"

	"github.com/darter-p2p/darter/fetcher/registry"
	"github.com/darter-p2p/darter/fetcher/source"
	"github.com/darter-p2p/darter/fetcher/source/httpread"
	"github.com/darter-p2p/darter/fetcher/upstream"
)

// maxRedirects is how often an origin may send the reader elsewhere.
const maxRedirects = 10

// Options are what a Source is given beside its bounds.
type Options struct {
	// Policy says which servers may be read; nil = every one. It is asked for each
	// host that a redirect names, and for each address that is connected to.
	Policy *upstream.Policy
	// UserAgent is sent where the reader has none; "" = "darter".
	UserAgent string
	// TLS is nil for the system's authorities.
	TLS *tls.Config
}

// Source is the source.Source of URLs. Make one with New.
type Source struct {
	limits    registry.Limits
	policy    *upstream.Policy
	agent     string
	transport *http.Transport
}

var _ source.Source = (*Source)(nil)

// New returns a Source.
func New(l registry.Limits, o Options) (*Source, error) {
	if err := l.Validate(); err != nil {
		return nil, err
	}
	s := &Source{limits: l, policy: o.Policy, agent: o.UserAgent}
	if s.agent == "" {
		s.agent = "darter"
	}
	if o.TLS == nil {
		o.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	s.transport = &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           s.dial,
		TLSClientConfig:       o.TLS,
		TLSHandshakeTimeout:   l.TLSTimeout.Duration(),
		ResponseHeaderTimeout: l.HeaderTimeout.Duration(),
		MaxIdleConnsPerHost:   16,
		MaxIdleConns:          128,
		IdleConnTimeout:       time.Minute,
		DisableCompression:    true,
		ReadBufferSize:        64 << 10,
	}
	return s, nil
}

// Close closes idle connections. Bodies that are open stay good.
func (s *Source) Close() error {
	s.transport.CloseIdleConnections()
	return nil
}

type targetKey struct{}

// dial connects, and checks the address that a name was found to have. A proxy's is
// the operator's choice and is let through.
func (s *Source) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	d := &net.Dialer{Timeout: s.limits.DialTimeout.Duration(), KeepAlive: 30 * time.Second}
	conn, err := d.DialContext(ctx, network, addr)
	if err != nil || s.policy == nil || ctx.Value(targetKey{}) != addr {
		return conn, err
	}
	host, port, _ := net.SplitHostPort(addr)
	if tcp, ok := conn.RemoteAddr().(*net.TCPAddr); ok {
		if err := s.policy.Address(host, port, tcp.AddrPort().Addr()); err != nil {
			_ = conn.Close()
			return nil, err
		}
	}
	return conn, nil
}

// Open implements source.Source. Where the origin names a generation, an answer of
// another one is a *source.Error of status 412.
func (s *Source) Open(ctx context.Context, r source.Request) (*source.Response, error) {
	u, validator, err := ParseOrigin(r.Origin)
	if err != nil {
		return nil, err
	}
	if r.Offset < 0 || r.Length < -1 {
		return nil, fmt.Errorf("read %s: range %d+%d: %w", u.Host, r.Offset, r.Length, errdefs.ErrInvalidArgument)
	}
	if r.Length == 0 {
		return s.openNothing(ctx, u.Host, r)
	}
	ask := httpread.RangeHeader(r.Offset, r.Length)
	ctx, w := httpread.NewWatch(ctx, s.firstWait())
	resp, err := s.get(ctx, u, s.header(r.Header, ask, validator)) //nolint:bodyclose // b.Close does
	w.Disarm()
	if err != nil {
		w.End()
		return nil, err
	}
	b := httpread.NewBody(ctx, w, s.limits.IdleTimeout.Duration(), resp.Request.URL.Host, resp.Body)
	out, err := s.describe(resp, r, validator, b)
	if err != nil {
		_ = b.Close()
		return nil, err
	}
	return out, nil
}

// Stat implements source.Source. It reads a byte: what HEAD says of a size is often
// wrong, and a presigned URL refuses it. The Response's Ranges say whether a part
// of the content can be had.
func (s *Source) Stat(ctx context.Context, r source.Request) (*source.Response, error) {
	r.Offset, r.Length = 0, 1
	out, err := s.Open(ctx, r)
	if size, empty := emptyContent(err); empty {
		return size, nil
	}
	if err != nil {
		return nil, err
	}
	err = out.Body.Close()
	out.Body, out.Length = nil, 0
	return out, err
}

// openNothing answers a request for no byte, which HTTP cannot ask for.
func (s *Source) openNothing(ctx context.Context, host string, r source.Request) (*source.Response, error) {
	out, err := s.Stat(ctx, r)
	if err != nil {
		return nil, err
	}
	if out.Size >= 0 && r.Offset > out.Size {
		return nil, httpread.OutOfRange(host, out.Size)
	}
	out.Offset, out.Body = r.Offset, http.NoBody
	return out, nil
}

func (s *Source) firstWait() time.Duration {
	return (s.limits.DialTimeout + s.limits.TLSTimeout + s.limits.HeaderTimeout).Duration()
}

// header makes a request's headers from the reader's own. A reader's range, conditions
// and connection are not the origin's affair.
func (s *Source) header(reader http.Header, ask, validator string) http.Header {
	h := reader.Clone()
	if h == nil {
		h = http.Header{}
	}
	for _, name := range []string{
		"Range", "If-Range", "If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since",
		"Connection", "Keep-Alive", "Te", "Trailer", "Transfer-Encoding", "Upgrade", "Proxy-Authorization", "Proxy-Connection", "Host", "Content-Length",
	} {
		h.Del(name)
	}
	if h.Get("User-Agent") == "" {
		h.Set("User-Agent", s.agent)
	}
	h.Set("Accept-Encoding", "identity")
	if ask != "" {
		h.Set("Range", ask)
	}
	if validator != "" {
		condition(h, validator, ask != "")
	}
	return h
}

// get asks for u, follows redirects, and returns an answer of status 200 or 206. The
// reader's own headers go to the first scheme, host and port only.
func (s *Source) get(ctx context.Context, u *url.URL, header http.Header) (*http.Response, error) {
	if user := u.User; user != nil {
		plain := *u
		plain.User = nil
		u = &plain
	}
	for range maxRedirects + 1 {
		resp, err := s.roundTrip(ctx, u, header)
		if err != nil {
			return nil, err
		}
		switch {
		case resp.StatusCode == http.StatusOK, resp.StatusCode == http.StatusPartialContent:
			return resp, nil
		case !httpread.IsRedirect(resp.StatusCode):
			return nil, source.ErrorOf(resp, u.Host, time.Now())
		}
		next, err := httpread.RedirectTarget(resp, u)
		if err == nil && u.Scheme == "https" && next.Scheme == "http" {
			err = fmt.Errorf("redirect from https to http://%s", source.Clip(next.Host))
		}
		if err != nil {
			return nil, &source.Error{Status: resp.StatusCode, Host: u.Host, Err: err}
		}
		if !httpread.SameOrigin(u, next) {
			header = s.stranger(header)
		}
		u = next
	}
	return nil, &source.Error{Host: u.Host, Err: fmt.Errorf("more than %d redirects", maxRedirects)}
}

// stranger keeps of a request's headers what another host may see.
func (s *Source) stranger(h http.Header) http.Header {
	kept := http.Header{}
	for _, name := range []string{"Range", "If-Range", "If-Match", "If-Unmodified-Since", "Accept", "Accept-Encoding", "User-Agent"} {
		if v := h.Values(name); len(v) > 0 {
			kept[name] = v
		}
	}
	return kept
}

func (s *Source) roundTrip(ctx context.Context, u *url.URL, header http.Header) (*http.Response, error) {
	port := httpread.PortOf(u)
	if s.policy != nil {
		if err := s.policy.Host(u.Hostname(), port); err != nil {
			return nil, err
		}
	}
	ctx = context.WithValue(ctx, targetKey{}, net.JoinHostPort(u.Hostname(), port))
	req := (&http.Request{
		Method: http.MethodGet, URL: u, Host: u.Host, Header: header.Clone(),
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
	}).WithContext(ctx)
	resp, err := s.transport.RoundTrip(req)
	if err != nil {
		if errdefs.IsPermissionDenied(err) {
			return nil, err
		}
		return nil, httpread.AnswerError(ctx, u.Host, err)
	}
	return resp, nil
}

func mediaType(h http.Header) string {
	v := h.Get("Content-Type")
	if t, _, err := mime.ParseMediaType(v); err == nil {
		return t
	}
	return ""
}
