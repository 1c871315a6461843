package proxy

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/darter-p2p/darter/fetcher"
	"github.com/darter-p2p/darter/fetcher/upstream"
	"github.com/darter-p2p/darter/plugin/content"
	"github.com/darter-p2p/darter/plugin/mirror"
)

// Options are what a Handler works with.
type Options struct {
	Mirror   *mirror.Handler  // answers for registries, and requests that are not for a proxy
	Files    content.Opener   // answers for other URLs
	Policy   *upstream.Policy // where clients that are not on this host may go
	Health   http.Handler     // answers what asks whether darterd is well
	Patience time.Duration    // of clients with a request; a prefetch waits as long for its slot
	Metrics  prometheus.Registerer
	Dial     func(ctx context.Context, network, addr string) (net.Conn, error) // nil = a plain dialer
}

// Handler is the door. Make one with New, and Close it.
type Handler struct {
	mirror   *mirror.Handler
	health   http.Handler
	files    content.Handler
	rules    []*regexp.Regexp
	useTLS   []*regexp.Regexp
	clients  []netip.Prefix
	own      *upstream.Policy // of clients on this host
	others   *upstream.Policy
	patience time.Duration
	dial     func(ctx context.Context, network, addr string) (net.Conn, error)
	metrics  *metrics

	prefetch  chan struct{} // a slot each
	transport *http.Transport
	forward   *httputil.ReverseProxy
	tunnels   tunnels
}

// New returns the door.
func New(c Config, o Options) (*Handler, error) {
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("proxy: %w", err)
	}
	h := &Handler{
		mirror: o.Mirror, health: o.Health, files: content.Handler{Opener: o.Files}, own: o.Policy.Own(), others: o.Policy,
		patience: o.Patience, dial: o.Dial, prefetch: make(chan struct{}, c.PrefetchSlots),
		tunnels: tunnels{most: c.Tunnels, open: map[net.Conn]struct{}{}},
	}
	h.rules, _ = compile("", c.Rules) // Validate has seen them
	h.useTLS, _ = compile("", c.UseTLS)
	h.clients, _ = networks(c.Clients)
	if h.dial == nil {
		h.dial = (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}).DialContext
	}
	h.newForward()
	var err error
	if h.metrics, err = newMetrics(o.Metrics); err != nil {
		return nil, fmt.Errorf("proxy: %w", err)
	}
	return h, nil
}

// Close cuts the tunnels and waits for them. Requests that come after it open none.
func (h *Handler) Close() {
	h.tunnels.close()
	h.transport.CloseIdleConnections()
}

// ServeHTTP implements http.Handler. It panics with http.ErrAbortHandler to break a
// body that cannot be finished.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodConnect && !r.URL.IsAbs() {
		h.direct(w, r)
		return
	}
	policy, err := h.policy(r)
	if err == nil {
		err = policy.Host(hostPort(r))
	}
	switch {
	case err != nil:
		h.metrics.count("denied")
		refuse(w, http.StatusForbidden, err.Error())
	case r.Method == http.MethodConnect:
		h.metrics.count("tunnel")
		h.connect(w, r, policy)
	case r.URL.Scheme != "http" && r.URL.Scheme != "https":
		h.metrics.count("denied")
		refuse(w, http.StatusBadRequest, "the proxy speaks http and https")
	case h.fromNetwork(r, policy):
		h.answer(w, r)
	default:
		h.metrics.count("forward")
		h.forward.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), policyKey{}, policy)))
	}
}

// direct answers a request that is not for a proxy. Programs that ask whether their
// proxy is well (nydusd's ping_url) often do at its root.
func (h *Handler) direct(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/":
		u := *r.URL
		u.Path = "/healthz"
		r = r.Clone(r.Context())
		r.URL = &u
		fallthrough
	case "/healthz", "/healthy", "/server/ping":
		h.health.ServeHTTP(w, r)
	default:
		h.mirror.ServeHTTP(w, r)
	}
}

// policy says where the client of a request may go.
func (h *Handler) policy(r *http.Request) (*upstream.Policy, error) {
	from, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return nil, fmt.Errorf("client without an address: %w", err)
	}
	ip := from.Addr().Unmap().WithZone("")
	if !slices.ContainsFunc(h.clients, func(n netip.Prefix) bool { return n.Contains(ip) }) {
		return nil, fmt.Errorf("%s may not use this proxy", ip)
	}
	if ip.IsLoopback() {
		return h.own, nil
	}
	return h.others, nil
}

// hostPort is where a request goes.
func hostPort(r *http.Request) (host, port string) {
	u := r.URL
	if r.Method == http.MethodConnect {
		u = &url.URL{Scheme: "https", Host: r.Host}
	}
	if port = u.Port(); port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return u.Hostname(), port
}

// fromNetwork reports whether a request is answered from the piece network: by a rule,
// or because its client wants so. HEAD is asked by lazy loaders for the size of a blob.
// URLs are read as for users of this host, so that only they ask for them.
func (h *Handler) fromNetwork(r *http.Request, policy *upstream.Policy) bool {
	pull := mirror.IsPull(r.URL.Path)
	switch {
	case r.Method == http.MethodGet && (pull || policy == h.own):
	case r.Method == http.MethodHead && pull:
	default:
		return false
	}
	return matches(h.rules, r.URL) || r.Header.Get("X-Dragonfly-Use-P2p") == "true"
}

// matches compares a URL without query and credentials.
func matches(rules []*regexp.Regexp, u *url.URL) bool {
	plain := url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path, RawPath: u.RawPath}
	s := plain.String()
	return slices.ContainsFunc(rules, func(r *regexp.Regexp) bool { return r.MatchString(s) })
}

// answer answers a request from the piece network.
func (h *Handler) answer(w http.ResponseWriter, r *http.Request) {
	if mirror.IsPrefetch(r.Header) {
		if !h.enter(r.Context()) {
			h.metrics.count("prefetch_refused")
			w.Header().Set("Retry-After", "1")
			refuse(w, http.StatusTooManyRequests, "too many prefetches at a time")
			return
		}
		defer func() { <-h.prefetch }()
		h.metrics.count("prefetch")
	} else {
		h.metrics.count("network")
	}
	if mirror.IsPull(r.URL.Path) {
		one, err := h.mirror.Only(r.URL.Host)
		if err != nil {
			refuse(w, http.StatusBadRequest, err.Error())
			return
		}
		one.ServeHTTP(w, r)
		return
	}
	u := *r.URL
	if u.Scheme == "http" && matches(h.useTLS, &u) {
		u.Scheme = "https"
	}
	h.files.ServeURL(w, r, fetcher.URL{
		URL: u.String(), Tag: r.Header.Get("X-Dragonfly-Tag"), Application: r.Header.Get("X-Dragonfly-Application"), Header: passedOn(r.Header),
	})
}

// enter waits for a slot of a prefetch; false if there is none in time.
func (h *Handler) enter(ctx context.Context) bool {
	select {
	case h.prefetch <- struct{}{}:
		return true
	default:
	}
	late := time.NewTimer(h.patience / 2)
	defer late.Stop()
	select {
	case h.prefetch <- struct{}{}:
		return true
	case <-late.C:
	case <-ctx.Done():
	}
	return false
}

// refuse answers for the proxy itself.
func refuse(w http.ResponseWriter, status int, message string) {
	w.Header().Set("X-Dragonfly-Error-Type", "proxy")
	http.Error(w, message, status)
}

// metrics are what the door counts.
type metrics struct{ requests *prometheus.CounterVec }

func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	m := &metrics{prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "darter_proxy_requests_total",
		Help: "Requests of clients of the HTTP proxy, by what became of them: network, prefetch, prefetch_refused, forward, tunnel, denied.",
	}, []string{"kind"})}
	if reg == nil {
		return m, nil
	}
	return m, reg.Register(m.requests)
}

func (m *metrics) count(kind string) { m.requests.WithLabelValues(kind).Inc() }
