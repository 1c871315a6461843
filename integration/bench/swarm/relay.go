package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httputil"
	"net/url"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	relayCommand = "relay"
	// relayPort is where darter reads the registry.
	relayPort = 5001
	// countPort answers what the relay has counted, on the registry's loopback.
	countPort = 5002
)

// relay hands requests on to a registry and counts the answers' bodies.
type relay struct {
	proxy    *httputil.ReverseProxy
	upstream *http.Transport
	bodies   atomic.Int64 // bytes of bodies that were written to clients
	requests atomic.Int64

	mu      sync.Mutex
	answers []answered
}

// answered is one request and what was written of its answer's body.
type answered struct {
	At     time.Duration `json:"at"`   // when it came, on the machine's monotonic clock
	Took   time.Duration `json:"took"` // to the end of the answer
	From   string        `json:"from"` // the client's address
	Method string        `json:"method"`
	Path   string        `json:"path"`
	Range  string        `json:"range"`
	Bytes  int64         `json:"bytes"` // of the body
}

// maxAnswered bounds how many answers are told; all are counted.
const maxAnswered = 4096

// newRelay makes a relay in front of the registry at a URL.
func newRelay(registry string) (*relay, error) {
	target, err := url.Parse(registry)
	if err != nil {
		return nil, fmt.Errorf("relay: %w", err)
	}
	// Nothing is asked for, or unpacked, that the client did not ask for.
	upstream := &http.Transport{DisableCompression: true}
	return &relay{upstream: upstream, proxy: &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.Out.Host = r.In.Host // redirects and upload locations name the relay
		},
		BufferPool: newBuffers(),
		Transport:  upstream,
	}}, nil
}

// close closes the connections to the registry that nobody uses.
func (r *relay) close() { r.upstream.CloseIdleConnections() }

// ServeHTTP hands one request on.
func (r *relay) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	r.requests.Add(1)
	began, one := monotonic(), &counted{ResponseWriter: w, bytes: &r.bodies}
	defer func() { // the proxy panics where a client leaves
		r.mu.Lock()
		defer r.mu.Unlock()
		if len(r.answers) < maxAnswered {
			r.answers = append(r.answers, answered{
				At: began, Took: monotonic() - began, From: request.RemoteAddr,
				Method: request.Method, Path: request.URL.Path, Range: request.Header.Get("Range"), Bytes: one.own,
			})
		}
	}()
	r.proxy.ServeHTTP(one, request)
}

// counted counts the bytes of a body. It has no ReadFrom: every byte passes Write.
type counted struct {
	http.ResponseWriter
	bytes *atomic.Int64 // of all answers
	own   int64         // of this one
}

func (c *counted) Write(b []byte) (int, error) {
	n, err := c.ResponseWriter.Write(b)
	c.bytes.Add(int64(n))
	c.own += int64(n)
	return n, err
}

// Unwrap lets http.ResponseController flush.
func (c *counted) Unwrap() http.ResponseWriter { return c.ResponseWriter }

// counts is what a relay has counted since it started.
type counts struct {
	Bodies   int64      `json:"bodies"`
	Requests int64      `json:"requests"`
	Answers  []answered `json:"answers"` // those that ended, in that order
}

// serveCounts answers with the counts.
func (r *relay) serveCounts(w http.ResponseWriter, _ *http.Request) {
	r.mu.Lock()
	answers := slices.Clone(r.answers)
	r.mu.Unlock()
	if err := json.NewEncoder(w).Encode(counts{r.bodies.Load(), r.requests.Load(), answers}); err != nil {
		return // the client has gone
	}
}

// relayMain serves a relay at one address and its counts at another until ctx ends.
func relayMain(ctx context.Context, registry, listen, counts string) error {
	r, err := newRelay(registry)
	if err != nil {
		return err
	}
	defer r.close()
	servers := []*http.Server{
		{Addr: listen, Handler: r, ReadHeaderTimeout: time.Minute},
		{Addr: counts, Handler: http.HandlerFunc(r.serveCounts), ReadHeaderTimeout: time.Minute},
	}
	ended := make(chan error, len(servers))
	for _, s := range servers {
		go func() { ended <- s.ListenAndServe() }()
	}
	var errs []error
	select {
	case <-ctx.Done():
	case err := <-ended:
		errs = append(errs, err)
		ended <- http.ErrServerClosed // so that the loop below hears of each server
	}
	for _, s := range servers {
		errs = append(errs, s.Close())
	}
	for range servers {
		if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
