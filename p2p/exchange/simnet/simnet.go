// Package simnet is a network in memory for tests: named hosts, connections with
// deadlines and backpressure, latency and rate per host, and cables that can be cut
// and healed in each direction. It implements exchange's Transport without sockets
// and blocks only on channels and timers, so that it runs in a testing/synctest
// bubble.
package simnet

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Network connects hosts. Its methods, and those of what it makes, may be called concurrently.
type Network struct {
	mu    sync.Mutex
	hosts map[string]*Host
	cut   map[[2]string]bool
	wake  chan struct{} // closed and replaced when a cable changes
}

// New returns a network without hosts.
func New() *Network {
	return &Network{hosts: map[string]*Host{}, cut: map[[2]string]bool{}, wake: make(chan struct{})}
}

// Shape is how a host is connected. The zero Shape is instant.
type Shape struct {
	Latency time.Duration // of each byte that leaves the host
	Rate    int64         // bytes per second that leave the host; 0 = no limit
}

// Host adds a host, or returns the one of that name with its new shape.
func (n *Network) Host(name string, s Shape) *Host {
	n.mu.Lock()
	defer n.mu.Unlock()
	h := n.hosts[name]
	if h == nil {
		h = &Host{net: n, name: name, listeners: map[string]*listener{}, conns: map[*conn]struct{}{}}
		n.hosts[name] = h
	}
	h.shape = s
	return h
}

// Cut stops bytes from one host to another; what was sent waits, as behind a lossy
// cable, and dials wait too. It is one way: cut both ways to part two hosts.
func (n *Network) Cut(from, to string) { n.cable(from, to, true) }

// Heal undoes Cut. What waited arrives now.
func (n *Network) Heal(from, to string) { n.cable(from, to, false) }

func (n *Network) cable(from, to string, cut bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cut[[2]string{from, to}] = cut
	close(n.wake)
	n.wake = make(chan struct{})
}

// isCut reports whether bytes pass, and a channel that is closed at the next change.
func (n *Network) isCut(from, to string) (bool, <-chan struct{}) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.cut[[2]string{from, to}], n.wake
}

// Host is one machine. It is a Transport.
type Host struct {
	net  *Network
	name string

	// Guarded by net.mu.
	shape     Shape
	sent      time.Time // when the last byte booked will have left
	next      int       // port for what is dialled
	listeners map[string]*listener
	conns     map[*conn]struct{}
}

// Addr is "host:port".
type Addr string

// Network returns "sim".
func (Addr) Network() string { return "sim" }

func (a Addr) String() string { return string(a) }

// Listen listens at a port of the host: ":port" or "host:port". Port 0 is a free one.
func (h *Host) Listen(addr string) (net.Listener, error) {
	name, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	if name != "" && name != h.name {
		return nil, fmt.Errorf("simnet: listen at %s on the host %s: %w", addr, h.name, syscall.EADDRNOTAVAIL)
	}
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	if port == "0" {
		port = h.freePort()
	}
	if h.listeners[port] != nil {
		return nil, fmt.Errorf("simnet: listen at %s: %w", addr, syscall.EADDRINUSE)
	}
	l := &listener{host: h, port: port, backlog: make(chan *conn, 128), closed: make(chan struct{})}
	h.listeners[port] = l
	return l, nil
}

func (h *Host) freePort() string {
	h.next++
	return strconv.Itoa(30000 + h.next)
}

// Dial connects to a listener of any host. A host that is unknown or does not
// listen refuses at once; a cut cable makes it wait.
func (h *Host) Dial(ctx context.Context, addr string) (net.Conn, error) {
	fail := func(err error) (net.Conn, error) {
		return nil, &net.OpError{Op: "dial", Net: "sim", Addr: Addr(addr), Err: err}
	}
	to, port, ok := strings.Cut(addr, ":")
	if !ok {
		return fail(errors.New("want host:port"))
	}
	for {
		there, wake := h.net.isCut(h.name, to)
		back, _ := h.net.isCut(to, h.name)
		if !there && !back {
			break
		}
		select {
		case <-wake:
		case <-ctx.Done():
			return fail(ctx.Err())
		}
	}
	if err := pause(ctx, h.roundTrip(to)); err != nil {
		return fail(err)
	}
	h.net.mu.Lock()
	peer := h.net.hosts[to]
	var l *listener
	if peer != nil {
		l = peer.listeners[port]
	}
	if l == nil {
		h.net.mu.Unlock()
		return fail(syscall.ECONNREFUSED)
	}
	here, far := pair(h, peer, Addr(h.name+":"+h.freePort()), Addr(addr))
	h.conns[here], peer.conns[far] = struct{}{}, struct{}{}
	h.net.mu.Unlock()
	select {
	case l.backlog <- far:
		return here, nil
	case <-l.closed:
	case <-ctx.Done():
	}
	_ = here.Close()
	_ = far.Close()
	return fail(syscall.ECONNREFUSED)
}

func (h *Host) roundTrip(to string) time.Duration {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	d := h.shape.Latency
	if peer := h.net.hosts[to]; peer != nil {
		d += peer.shape.Latency
	}
	return d
}

func pause(ctx context.Context, d time.Duration) error {
	if err := ctx.Err(); err != nil || d == 0 {
		return err
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Crash closes everything that the host has open, as the kernel does for a process
// that is killed. Peers behind a cut cable do not notice.
func (h *Host) Crash() {
	h.net.mu.Lock()
	var open []interface{ Close() error }
	for _, l := range h.listeners {
		open = append(open, l)
	}
	for c := range h.conns {
		open = append(open, c)
	}
	h.net.mu.Unlock()
	for _, c := range open {
		_ = c.Close()
	}
}

// Lose breaks every connection of the host without a word to the other ends, as a
// power cut or a firewall's restart does.
func (h *Host) Lose() {
	h.net.mu.Lock()
	open := slices.Collect(maps.Keys(h.conns))
	h.net.mu.Unlock()
	for _, c := range open {
		c.lose()
	}
}

// book returns when n bytes that are sent now will have arrived.
func (h *Host) book(n int) time.Time {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	now := time.Now()
	if h.shape.Rate > 0 {
		if h.sent.Before(now) {
			h.sent = now
		}
		h.sent = h.sent.Add(time.Duration(int64(n) * int64(time.Second) / h.shape.Rate))
		now = h.sent
	}
	return now.Add(h.shape.Latency)
}

type listener struct {
	host    *Host
	port    string
	backlog chan *conn
	once    sync.Once
	closed  chan struct{}
}

func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.backlog:
		return c, nil
	case <-l.closed:
		return nil, &net.OpError{Op: "accept", Net: "sim", Addr: l.Addr(), Err: net.ErrClosed}
	}
}

func (l *listener) Addr() net.Addr { return Addr(l.host.name + ":" + l.port) }

func (l *listener) Close() error {
	l.once.Do(func() {
		l.host.net.mu.Lock()
		delete(l.host.listeners, l.port)
		l.host.net.mu.Unlock()
		close(l.closed)
		for {
			select {
			case c := <-l.backlog:
				_ = c.Close()
				continue
			default:
			}
			return
		}
	})
	return nil
}
