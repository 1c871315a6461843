package registry

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/darter-p2p/darter/fetcher/source/httpread"
	"github.com/darter-p2p/darter/fetcher/upstream"
)

// Idle connections kept for the next request: enough for the parallel range reads of a seed.
const (
	idlePerHost = 16
	idleInAll   = 128
	idleFor     = 60 * time.Second
)

// newTransport returns a transport of HTTP/1.1: one connection per stream keeps
// large bodies apart, where HTTP/2 would share one window among them.
func newTransport(l Limits, conf *tls.Config, proxy proxyFunc) *http.Transport {
	if conf == nil {
		conf = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	dialer := &net.Dialer{Timeout: l.DialTimeout.Duration(), KeepAlive: 30 * time.Second}
	return &http.Transport{
		Proxy:                 proxy,
		DialContext:           GuardDial(dialer.DialContext),
		TLSClientConfig:       conf,
		TLSHandshakeTimeout:   l.TLSTimeout.Duration(),
		ResponseHeaderTimeout: l.HeaderTimeout.Duration(),
		MaxIdleConns:          idleInAll,
		MaxIdleConnsPerHost:   idlePerHost,
		IdleConnTimeout:       idleFor,
		DisableCompression:    true,
		ReadBufferSize:        64 << 10,
	}
}

// errUnreachable is wrapped where a server points to an address it has no business with.
var errUnreachable = errors.New("a remote server may not point to this address")

// reach says to which addresses a server may send us with a redirect or a token realm.
type reach struct {
	target              string // host:port of the request
	loopback, linkLocal bool
}

type reachKey struct{}

// reachOf returns the bounds of what ep may point to: nothing on loopback unless it
// is there itself, nothing link-local (cloud metadata lives there) unless it is too.
func reachOf(ep *Endpoint) reach {
	ip, _ := upstream.Literal(ep.URL.Hostname())
	return reach{loopback: upstream.IsLoopback(ep.URL.Host), linkLocal: ip.IsValid() && upstream.IsLinkLocal(ip)}
}

// bind returns a ctx for a request to u, or an error if u is out of reach by its name.
// Names that resolve to such addresses are caught by GuardDial.
func (r reach) bind(ctx context.Context, u *url.URL) (context.Context, error) {
	host := u.Hostname()
	if strings.ContainsFunc(host, func(r rune) bool { return r > '~' }) {
		// net/http dials another spelling of it, which GuardDial would not know for ours.
		return nil, fmt.Errorf("%s: not an ASCII name: %w", clip(u.Host), errUnreachable)
	}
	if ip, ok := upstream.Literal(host); ok {
		if err := r.check(ip); err != nil {
			return nil, fmt.Errorf("%s: %w", clip(u.Host), err)
		}
	} else if upstream.IsLoopback(host) && !r.loopback {
		return nil, fmt.Errorf("%s: %w", clip(u.Host), errUnreachable)
	}
	r.target = net.JoinHostPort(host, httpread.PortOf(u))
	return context.WithValue(ctx, reachKey{}, r), nil
}

func (r reach) check(ip netip.Addr) error {
	ip = ip.Unmap()
	switch {
	case upstream.IsLinkLocal(ip) && !r.linkLocal:
		return errUnreachable
	case (ip.IsLoopback() || ip.IsUnspecified()) && !r.loopback:
		return errUnreachable
	case ip.IsMulticast():
		return errUnreachable
	}
	return nil
}

// Dial makes a connection, as http.Transport's DialContext does.
type Dial func(ctx context.Context, network, addr string) (net.Conn, error)

// GuardDial refuses connections to loopback and link-local addresses for requests to
// where a remote server pointed (a redirect, a token realm). A Transport of an
// Endpoint made elsewhere should dial with it. Connections to a proxy are let through.
func GuardDial(dial Dial) Dial {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		tcp, ok := conn.RemoteAddr().(*net.TCPAddr)
		if !ok {
			return conn, nil
		}
		if r, ok := ctx.Value(reachKey{}).(reach); ok && r.target == addr {
			if err := r.check(tcp.AddrPort().Addr()); err != nil {
				_ = conn.Close()
				return nil, fmt.Errorf("%s is %v: %w", addr, tcp.IP, err)
			}
		}
		if p, ok := ctx.Value(permitKey{}).(permit); ok {
			if err := p.check(addr, tcp); err != nil {
				_ = conn.Close()
				return nil, err
			}
		}
		return conn, nil
	}
}
