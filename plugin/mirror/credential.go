package mirror

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"github.com/containerd/log"

	"github.com/darter-p2p/darter/fetcher"
	"github.com/darter-p2p/darter/fetcher/source"
	"github.com/darter-p2p/darter/fetcher/upstream"
	"github.com/darter-p2p/darter/internal/block"
)

// Witness hears of a credential that was good for a manifest of a repository:
// *credential.Seen is one. It returns at once.
type Witness interface {
	Accepted(registry, repository, authorization string)
}

// Credentials are what a node knows on its own of registries; a credential.Source is
// one. Authorization returns the header's value for reading a repository, "" for none.
type Credentials interface {
	Authorization(ctx context.Context, registry, repository string) (string, error)
}

// answer answers a request with its own credential; one of this node's own programs
// without any, where that is refused, with the node's credential.
func (h *Handler) answer(w *response, r *request) error {
	if r.content.Header.Get("Authorization") != "" {
		err := h.serveContent(w, r)
		if err == nil && h.witness != nil && isLocal(r) && r.route.kind == fetcher.Manifest && w.status < 400 {
			h.witness.Accepted(r.content.Registry, r.content.Repository, r.content.Header.Get("Authorization"))
		}
		return err
	}
	if h.node == nil || r.content.Registry == "" || !isLocal(r) {
		return h.serveContent(w, r)
	}
	at := place{r.content.Registry, r.content.Repository}
	if !h.private.has(at, time.Now()) {
		err := h.serveContent(w, r)
		if !errdefs.IsUnauthorized(err) && !errdefs.IsPermissionDenied(err) || errors.As(err, new(*block.Error)) {
			return err
		}
		h.private.add(at, time.Now())
		if !h.lend(r) {
			return err
		}
		return h.serveContent(w, r)
	}
	h.lend(r)
	return h.serveContent(w, r)
}

// lend gives a request the node's own credential; false if there is none.
func (h *Handler) lend(r *request) bool {
	value, err := h.node.Authorization(r.Context(), r.content.Registry, r.content.Repository)
	if err != nil {
		log.G(r.Context()).WithError(err).WithFields(log.Fields{
			"registry": r.content.Registry, "repository": r.content.Repository,
		}).Warn("this node's credentials cannot be had")
	}
	if value == "" {
		return false
	}
	r.content.Header.Set("Authorization", value)
	return true
}

// isLocal reports whether a request was made by a program on this node for itself. The
// sender's address decides. A request that names another host than loopback was made by
// a browser that a page had resolve its own name so, and one with the marks of a proxy
// or of another mirror is somebody else's.
func isLocal(r *request) bool {
	from, err := netip.ParseAddr(r.client)
	if err != nil || !from.Unmap().IsLoopback() || !upstream.IsLoopback(r.Host) {
		return false
	}
	for _, name := range foreign {
		if len(r.Header.Values(name)) > 0 {
			return false
		}
	}
	return true
}

// foreign are the headers of requests that come through somebody.
var foreign = []string{"Forwarded", "X-Forwarded-For", "X-Real-Ip", "Via", "Origin", source.HopHeader}

// place is a repository of a registry.
type place struct{ registry, repository string }

const (
	maxPlaces = 1024
	placeLife = 5 * time.Minute
)

// places remembers repositories for a while. It is pure but for its lock.
type places struct {
	mu    sync.Mutex
	until map[place]time.Time
}

func newPlaces() *places { return &places{until: map[place]time.Time{}} }

func (p *places) add(at place, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.until) >= maxPlaces {
		clear(p.until) // each costs one request to learn again
	}
	p.until[at] = now.Add(placeLife)
}

func (p *places) has(at place, now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return now.Before(p.until[at])
}
