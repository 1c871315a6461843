// Package health tells load balancers, kubelets and service managers over HTTP
// whether a process is ready.
package health

import (
	"net/http"
	"sync"
)

// Health is whether a process is ready, and if not, why. The zero Health is not
// ready ("starting"). All methods may be called concurrently.
type Health struct {
	mu       sync.Mutex
	ready    bool
	stopping bool
	reason   string
}

// Ready says that the process serves. It has no effect after Stopping.
func (h *Health) Ready() { h.set(true, "") }

// NotReady says why the process does not serve now. It has no effect after Stopping.
func (h *Health) NotReady(reason string) { h.set(false, reason) }

// Stopping says that the process is going away; nothing makes it ready again.
func (h *Health) Stopping() {
	h.set(false, "stopping")
	h.mu.Lock()
	defer h.mu.Unlock()
	h.stopping = true
}

func (h *Health) set(ready bool, reason string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.stopping {
		h.ready, h.reason = ready, reason
	}
}

// Status returns whether the process is ready, else the reason.
func (h *Health) Status() (ready bool, reason string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.ready && h.reason == "" {
		return false, "starting"
	}
	return h.ready, h.reason
}

// ServeHTTP answers GET and HEAD of /healthz, /healthy and /server/ping: 200 with
// "ok", or 503 with the reason.
func (h *Health) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/healthz", "/healthy", "/server/ping":
	default:
		http.NotFound(w, r)
		return
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	ready, reason := h.Status()
	if !ready {
		w.WriteHeader(http.StatusServiceUnavailable)
		w.Write([]byte(reason + "\n"))
		return
	}
	w.Write([]byte("ok\n"))
}
