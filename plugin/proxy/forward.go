package proxy

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/containerd/log"

	"github.com/darter-p2p/darter/fetcher/upstream"
)

// policyKey is where the ctx of a request has its client's policy.
type policyKey struct{}

// newForward makes what sends a request on to where it was going.
func (h *Handler) newForward() {
	h.transport = &http.Transport{
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			policy, ok := ctx.Value(policyKey{}).(*upstream.Policy)
			if !ok {
				policy = h.others
			}
			return h.dialBy(ctx, policy, network, addr)
		},
		TLSHandshakeTimeout: 10 * time.Second, ResponseHeaderTimeout: time.Minute,
		// A connection was allowed to the client that it was made for.
		DisableKeepAlives: true, DisableCompression: true, ForceAttemptHTTP2: false,
	}
	h.forward = &httputil.ReverseProxy{
		Transport: h.transport, FlushInterval: -1,
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.Host = r.In.Host
			if r.In.URL.Scheme == "http" && matches(h.useTLS, r.In.URL) {
				r.Out.URL.Scheme = "https"
			}
			for name := range r.Out.Header {
				if strings.HasPrefix(name, "X-Dragonfly-") {
					r.Out.Header.Del(name)
				}
			}
			r.Out.Header.Add("Via", via) // the mirror door lends nothing to what has it
		},
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			status := http.StatusBadGateway
			if errdefs.IsPermissionDenied(err) {
				status = http.StatusForbidden
			}
			if r.Context().Err() == nil {
				log.G(r.Context()).WithError(err).WithField("host", r.URL.Host).Warn("proxy cannot forward a request")
			}
			refuse(w, status, fmt.Sprintf("proxy: %s cannot be reached", r.URL.Host))
		},
	}
}

const via = "1.1 darter"

// dialBy connects to addr if policy lets it, by the address that the name turns out to have.
func (h *Handler) dialBy(ctx context.Context, policy *upstream.Policy, network, addr string) (net.Conn, error) {
	conn, err := h.dial(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	tcp, ok := conn.RemoteAddr().(*net.TCPAddr)
	if !ok {
		return conn, nil
	}
	host, port, err := net.SplitHostPort(addr)
	if err == nil {
		err = policy.Address(host, port, tcp.AddrPort().Addr())
	}
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	return conn, nil
}

// hopByHop are headers between a client and its proxy.
var hopByHop = map[string]bool{
	"Connection": true, "Proxy-Connection": true, "Keep-Alive": true, "Proxy-Authenticate": true, "Proxy-Authorization": true,
	"Te": true, "Trailer": true, "Transfer-Encoding": true, "Upgrade": true,
}

// passedOn are a reader's own headers for an origin. Accept-Encoding is not one: what is
// shared is the content itself.
func passedOn(h http.Header) http.Header {
	drop := map[string]bool{"Range": true, "If-Range": true, "Accept-Encoding": true, "Host": true, "Content-Length": true}
	for _, line := range h.Values("Connection") {
		for name := range strings.SplitSeq(line, ",") {
			drop[http.CanonicalHeaderKey(strings.TrimSpace(name))] = true
		}
	}
	out := http.Header{}
	for name, values := range h {
		if !drop[name] && !hopByHop[name] && !strings.HasPrefix(name, "X-Dragonfly-") {
			out[name] = values
		}
	}
	return out
}
