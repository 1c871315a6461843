package trouble

import (
	"errors"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"path"
	"sync"
	"testing"
	"time"

	"github.com/darter-p2p/darter/integration/lab"
)

// relayPort is where clients and darter find the registry.
const relayPort = 5001

// fault is what a relay does to a GET of a blob; false lets it pass.
type fault func(x *asked) bool

// asked is one GET of a blob.
type asked struct {
	relay *relay
	n     int // of this blob, from 1
	w     http.ResponseWriter
	r     *http.Request
}

// relay stands before a registry, misbehaves by blob, and counts what it sends.
type relay struct {
	addr  string
	proxy *httputil.ReverseProxy
	end   chan struct{} // ends what hangs

	mu    sync.Mutex
	blobs map[string]*blob // by digest
}

// blob is what became of one blob.
type blob struct {
	fault fault
	gets  int
	sent  int64 // bytes of bodies
}

// newRelay starts a relay on the registry's host, for the time of the test.
func newRelay(t testing.TB, registry *lab.Registry) *relay {
	t.Helper()
	listener, err := registry.Host.Listen(relayPort)
	if err != nil {
		t.Fatal(err)
	}
	upstream := registry.Host.Transport()
	upstream.DisableCompression = true
	r := &relay{addr: registry.Host.HostPort(relayPort), end: make(chan struct{}), blobs: map[string]*blob{}}
	target := &url.URL{Scheme: "http", Host: registry.Addr}
	r.proxy = &httputil.ReverseProxy{Transport: upstream, Rewrite: func(p *httputil.ProxyRequest) {
		p.SetURL(target)
		p.Out.Host = p.In.Host
	}}
	server := &http.Server{Handler: r, ReadHeaderTimeout: time.Minute}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	t.Cleanup(func() {
		close(r.end)
		if err := server.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
		if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
		upstream.CloseIdleConnections()
	})
	return r
}

// set makes the relay misbehave for a blob.
func (r *relay) set(digest string, f fault) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.blobs[digest] = &blob{fault: f}
}

// count returns how often a blob was asked for and how many bytes of it were sent.
func (r *relay) count(digest string) (gets int, sent int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	b := r.blobs[digest]
	return b.gets, b.sent
}

// ServeHTTP implements http.Handler.
func (r *relay) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	r.mu.Lock()
	b := r.blobs[path.Base(request.URL.Path)]
	if b == nil || request.Method != http.MethodGet {
		r.mu.Unlock()
		r.proxy.ServeHTTP(w, request)
		return
	}
	b.gets++
	x := &asked{relay: r, n: b.gets, w: &counted{ResponseWriter: w, relay: r, blob: b}, r: request}
	f := b.fault
	r.mu.Unlock()
	if f == nil || !f(x) {
		r.proxy.ServeHTTP(x.w, request)
	}
}

// counted counts the bytes of bodies. Every byte passes its Write.
type counted struct {
	http.ResponseWriter
	relay *relay
	blob  *blob
}

// Write implements io.Writer.
func (c *counted) Write(b []byte) (int, error) {
	n, err := c.ResponseWriter.Write(b)
	c.relay.mu.Lock()
	defer c.relay.mu.Unlock()
	c.blob.sent += int64(n)
	return n, err
}

// Unwrap lets http.ResponseController flush.
func (c *counted) Unwrap() http.ResponseWriter { return c.ResponseWriter }
