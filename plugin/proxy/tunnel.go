package proxy

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/containerd/log"

	"github.com/darter-p2p/darter/fetcher/upstream"
)

// tunnels are the connections of CONNECT requests.
type tunnels struct {
	most int

	mu     sync.Mutex
	closed bool
	count  int
	open   map[net.Conn]struct{}
	wg     sync.WaitGroup
}

// enter takes a place; leave gives it back.
func (t *tunnels) enter() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed || t.count >= t.most {
		return false
	}
	t.count++
	t.wg.Add(1)
	return true
}

func (t *tunnels) leave(conns ...net.Conn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.count--
	for _, c := range conns {
		delete(t.open, c)
	}
	t.wg.Done()
}

// watch has connections closed with the door; false if it is closed.
func (t *tunnels) watch(conns ...net.Conn) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, c := range conns {
		t.open[c] = struct{}{}
	}
	return !t.closed
}

func (t *tunnels) close() {
	t.mu.Lock()
	t.closed = true
	for c := range t.open {
		_ = c.Close()
	}
	t.mu.Unlock()
	t.wg.Wait()
}

// connect makes the tunnel that a client asked for, and returns when it is over.
func (h *Handler) connect(w http.ResponseWriter, r *http.Request, policy *upstream.Policy) {
	if !h.tunnels.enter() {
		refuse(w, http.StatusServiceUnavailable, "too many tunnels")
		return
	}
	var up, down net.Conn
	defer func() { h.tunnels.leave(up, down) }()
	host, port := hostPort(r)
	up, err := h.dialBy(r.Context(), policy, "tcp", net.JoinHostPort(host, port))
	if err != nil {
		log.G(r.Context()).WithError(err).WithField("host", r.Host).Info("proxy cannot make a tunnel")
		refuse(w, http.StatusBadGateway, fmt.Sprintf("proxy: %s cannot be reached", r.Host))
		return
	}
	defer up.Close()
	down, early, err := http.NewResponseController(w).Hijack()
	if err != nil {
		refuse(w, http.StatusHTTPVersionNotSupported, "a tunnel wants HTTP/1.1")
		return
	}
	defer down.Close()
	if err := down.SetDeadline(time.Time{}); err != nil || !h.tunnels.watch(up, down) {
		return
	}
	if _, err := io.WriteString(down, "HTTP/1.1 200 Connection established\r\n\r\n"); err != nil {
		return
	}
	// What a client sent with its request belongs into the tunnel, too.
	sent := io.MultiReader(io.LimitReader(early, int64(early.Reader.Buffered())), down)
	var both sync.WaitGroup
	both.Go(func() { pipe(up, sent, down) })
	both.Go(func() { pipe(down, up, up) })
	both.Wait()
}

// pipe copies from one end of a tunnel, of which source is the connection, to the other
// until it ends, and passes the end on. After an error both are closed.
func pipe(to net.Conn, from io.Reader, source net.Conn) {
	_, err := io.Copy(to, from)
	half, ok := to.(interface{ CloseWrite() error })
	if err != nil || !ok || half.CloseWrite() != nil {
		_ = to.Close()
		_ = source.Close()
	}
}
