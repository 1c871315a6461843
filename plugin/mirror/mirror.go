package mirror

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"github.com/containerd/log"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/darter-p2p/darter/fetcher"
	"github.com/darter-p2p/darter/fetcher/registry"
	"github.com/darter-p2p/darter/fetcher/source"
)

// maxHops is how many darter nodes a request may have gone through.
const maxHops = 4

// Options are what a Handler is given beside its configuration.
type Options struct {
	// Instance is this node's name in the loop header, the one that its registry.Source sends.
	Instance string
	// Metrics is where the door counts; nil = nowhere.
	Metrics prometheus.Registerer
	// Witness hears what clients of this node read manifests with; nil = nobody.
	Witness Witness
	// Credentials are this node's own. Clients on loopback that show none read with them
	// what is refused to all; nil = they do not. Every program and user that reaches the
	// loopback address of the door can then read what the node may.
	Credentials Credentials
}

// Handler is the door. Make one with New.
type Handler struct {
	fetcher  fetcher.Fetcher
	config   Config
	registry string // canonical default, "" = none
	instance string
	broken   *broken
	metrics  *metrics
	witness  Witness // nil = nobody
	node     Credentials
	private  *places    // that were refused to clients without a credential
	buffers  *sync.Pool // of *[]byte
	only     bool       // registry is what every request means
}

// New returns a door over f.
func New(f fetcher.Fetcher, c Config, o Options) (*Handler, error) {
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("mirror: %w", err)
	}
	h := &Handler{fetcher: f, config: c, instance: o.Instance, broken: newBroken(c.ResumeBlock.Duration()),
		witness: o.Witness, node: o.Credentials, private: newPlaces(),
		buffers: &sync.Pool{New: func() any { b := make([]byte, copyBuffer); return &b }}}
	if c.DefaultRegistry != "" {
		h.registry, _ = registry.ParseHost(c.DefaultRegistry) // Validate has seen it
	}
	var err error
	if h.metrics, err = newMetrics(o.Metrics); err != nil {
		return nil, fmt.Errorf("mirror: %w", err)
	}
	return h, nil
}

// request is one request on its way through the door.
type request struct {
	*http.Request
	route   route
	content fetcher.Content
	client  string // address without the port
	started time.Time
	watch   *watch
}

// ServeHTTP implements http.Handler. It panics with http.ErrAbortHandler to break a
// body that cannot be finished.
func (h *Handler) ServeHTTP(rw http.ResponseWriter, hr *http.Request) {
	w := &response{ResponseWriter: rw}
	r := &request{started: time.Now()}
	ctx, watch := newWatch(hr.Context(), h.config.FirstByteTimeout.Duration())
	defer watch.end()
	r.Request, r.watch = hr.WithContext(ctx), watch
	if host, _, err := net.SplitHostPort(hr.RemoteAddr); err == nil {
		r.client = host
	}
	defer func() { h.metrics.count(r, w) }()

	w.Header().Set("Docker-Distribution-Api-Version", "registry/2.0")
	if err := h.serve(w, r); err != nil {
		h.fail(w, r, err)
	}
}

func (h *Handler) serve(w *response, r *request) error {
	if h.loops(r.Header.Values(source.HopHeader)) {
		refusal{http.StatusLoopDetected, "UNAVAILABLE", "the request came from this mirror", nil, nil}.write(w)
		return nil
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		refusal{http.StatusMethodNotAllowed, "UNSUPPORTED", "the mirror only pulls", nil, nil}.write(w)
		return nil
	}
	var err error
	if r.route, err = parseRoute(r.URL.Path); err != nil {
		return err
	}
	if r.route.base {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Length", "2")
		fmt.Fprint(w, "{}")
		return nil
	}
	if r.content, err = h.contentOf(r); err != nil {
		return err
	}
	return h.answer(w, r)
}

// serveContent answers with what the fetcher has for the credential in r.content.
func (h *Handler) serveContent(w *response, r *request) error {
	if r.route.kind == fetcher.Manifest {
		return h.manifest(w, r)
	}
	return h.blob(w, r)
}

// loops reports whether a request went through this node before, or through too many.
func (h *Handler) loops(hops []string) bool {
	n := 0
	for _, line := range hops {
		for hop := range strings.SplitSeq(line, ",") {
			if n++; n > maxHops || strings.TrimSpace(hop) == h.instance && h.instance != "" {
				return true
			}
		}
	}
	return false
}

// What a client says of itself and of the download (hosts.toml can set headers), for the
// manager's block lists and priorities.
const (
	applicationHeader = "X-Dragonfly-Application"
	tagHeader         = "X-Dragonfly-Tag"
)

// passedOn are the reader's headers that the fetcher is to know.
var passedOn = []string{"Authorization", "Accept", "User-Agent", source.HopHeader}

func (h *Handler) contentOf(r *request) (fetcher.Content, error) {
	host, err := h.upstream(r.Request)
	if err != nil {
		return fetcher.Content{}, err
	}
	repository, err := registry.ParseRepository(host, r.route.repository)
	if err != nil {
		return fetcher.Content{}, err
	}
	header := http.Header{}
	for _, name := range passedOn {
		if v := r.Header.Values(name); len(v) > 0 {
			header[http.CanonicalHeaderKey(name)] = v
		}
	}
	ahead := IsPrefetch(r.Header)
	return fetcher.Content{
		Registry: host, Repository: repository, Kind: r.route.kind, Digest: r.route.digest, Header: header,
		Urgent: h.only && !ahead, Background: h.only && ahead,
		Application: r.Header.Get(applicationHeader), Tag: r.Header.Get(tagHeader),
	}, nil
}

// fail answers a request that nothing was written for yet.
func (h *Handler) fail(w *response, r *request, err error) {
	if cause := context.Cause(r.Context()); errors.Is(cause, errSlow) {
		err = fmt.Errorf("%w: %w", cause, errdefs.ErrUnavailable)
	}
	f := refusalOf(err, r.route.kind == fetcher.Blob)
	w.Header().Set(errorTypeHeader, errorType(err))
	if errdefs.IsNotImplemented(err) {
		f.code = "UNSUPPORTED"
	}
	if f.status >= 500 && !r.watch.clientGone() {
		log.G(r.Context()).WithError(err).WithFields(log.Fields{
			"registry": r.content.Registry, "repository": r.content.Repository,
			"kind": r.route.kind, "digest": r.content.Digest, "tag": r.route.tag, "status": f.status,
		}).Warn("mirror sends its client to the next host")
	}
	f.write(w)
}
