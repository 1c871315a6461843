package registry

import (
	"context"
	"net"
	"net/url"

	"github.com/darter-p2p/darter/fetcher/source/httpread"
	"github.com/darter-p2p/darter/fetcher/upstream"
)

// A seed reads what any node names. Registries that its operator did not write down, in a
// table or a hosts.toml, and whatever these point to, pass the policy of upstreams: by name
// before they are looked up, and by the address that was found.

type permitKey struct{}

// permit is what a connection must pass.
type permit struct {
	policy     *upstream.Policy
	host, port string
}

// permitted returns a ctx for a request to u, or the policy's refusal, of class
// ErrPermissionDenied.
func permitted(ctx context.Context, p *upstream.Policy, u *url.URL) (context.Context, error) {
	host, port := u.Hostname(), httpread.PortOf(u)
	if err := p.Host(host, port); err != nil {
		return nil, err
	}
	return context.WithValue(ctx, permitKey{}, permit{p, host, port}), nil
}

// check looks at the address of a new connection; one to a proxy is let through.
func (p permit) check(addr string, tcp *net.TCPAddr) error {
	if addr != net.JoinHostPort(p.host, p.port) {
		return nil
	}
	return p.policy.Address(p.host, p.port, tcp.AddrPort().Addr())
}
