package exchange

import (
	"context"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/darter-p2p/darter/internal/pki"
	"github.com/darter-p2p/darter/p2p"
	"github.com/darter-p2p/darter/p2p/exchange/simnet"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// overTransports runs a test over TCP on loopback, in real time, and over a virtual
// network, in virtual time.
func overTransports(t *testing.T, test func(t *testing.T, c *cluster)) {
	t.Run("tcp", func(t *testing.T) { test(t, newCluster(t, nil)) })
	t.Run("sim", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) { test(t, newCluster(t, simnet.New())) })
	})
}

// overSim runs a test over a virtual network only.
func overSim(t *testing.T, test func(t *testing.T, c *cluster)) {
	synctest.Test(t, func(t *testing.T) { test(t, newCluster(t, simnet.New())) })
}

// cluster makes hosts that know each other.
type cluster struct {
	t   testing.TB
	ca  *pki.CA
	net *simnet.Network // nil = TCP
}

func newCluster(t testing.TB, net *simnet.Network) *cluster {
	return &cluster{t: t, ca: newCA(t), net: net}
}

func newCA(t testing.TB) *pki.CA {
	t.Helper()
	ca, err := pki.CreateCA("test", time.Now(), 10000*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

func identity(t testing.TB, ca *pki.CA, role pki.Role, name string) *pki.Identity {
	t.Helper()
	id, err := ca.Identity(role, name)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func (c *cluster) transport(name string) (Transport, string) {
	if c.net == nil {
		return TCP{}, "127.0.0.1:0"
	}
	return c.net.Host(name, simnet.Shape{Latency: time.Millisecond}), name + ":65002"
}

// host is a running Exchange and what its handler saw.
type host struct {
	*Exchange
	*recorder
	p2p.Host
	stop func() // ends Run and waits for it; may be called again
}

func (c *cluster) host(name string, change ...func(*Config)) *host {
	c.t.Helper()
	cfg := Default()
	cfg.Identity = Member(identity(c.t, c.ca, pki.Node, name))
	tr, addr := c.transport(name)
	cfg.Listen = addr
	rec := newRecorder()
	cfg.OnRefused = rec.refuse
	for _, f := range change {
		f(&cfg)
	}
	x, err := New(cfg, tr, rec)
	if err != nil {
		c.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- x.Run(ctx) }()
	h := &host{Exchange: x, recorder: rec, Host: p2p.Host{ID: p2p.HostID(name), Addr: x.Addr().String()}}
	h.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			c.t.Errorf("run %s: %v", name, err)
		}
	})
	c.t.Cleanup(h.stop)
	return h
}

func (h *host) connect(t testing.TB, to *host) Link {
	t.Helper()
	l, err := h.Connect(t.Context(), to.Host)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func (h *host) stream(t testing.TB, to *host) Stream {
	t.Helper()
	h.connect(t, to)
	s, err := h.OpenStream(t.Context(), to.Host)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// recorder is a Handler that writes down what it is told. It checks the order.
type recorder struct {
	mu       sync.Mutex
	cond     sync.Cond
	up       map[p2p.HostID]Link
	ups      int
	downs    []error
	messages []Message
	refusals []error
	wrong    error // the contract of Handler was broken
	serve    func(p2p.HostID, Request) Answer
	receive  func(Message) error
	leaving  chan struct{} // Disconnected waits for its end
}

func newRecorder() *recorder {
	r := &recorder{up: map[p2p.HostID]Link{}}
	r.cond.L = &r.mu
	return r
}

func (r *recorder) change(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f()
	r.cond.Broadcast()
}

func (r *recorder) Connected(l Link) {
	r.change(func() {
		if r.up[l.Host()] != nil {
			r.wrong = fmt.Errorf("%v connected while another is", l)
		}
		r.up[l.Host()] = l
		r.ups++
	})
}

func (r *recorder) Disconnected(l Link, err error) {
	r.mu.Lock()
	leaving := r.leaving
	r.mu.Unlock()
	if leaving != nil {
		<-leaving
	}
	r.change(func() {
		if r.up[l.Host()] != l {
			r.wrong = fmt.Errorf("%v disconnected and was not connected", l)
		}
		delete(r.up, l.Host())
		r.downs = append(r.downs, err)
	})
}

func (r *recorder) Received(l Link, m Message) (err error) {
	r.change(func() {
		if r.up[l.Host()] != l {
			r.wrong = fmt.Errorf("%v received and was not connected", l)
		}
		r.messages = append(r.messages, m)
		if r.receive != nil {
			err = r.receive(m)
		}
	})
	return err
}

func (r *recorder) Serve(from p2p.HostID, q Request) Answer {
	r.mu.Lock()
	if r.up[from] == nil {
		r.wrong = fmt.Errorf("%s is served and not connected", from)
	}
	serve := r.serve
	r.mu.Unlock()
	if serve == nil {
		return Answer{Status: StatusRefused, Piece: q.First}
	}
	return serve(from, q)
}

func (r *recorder) refuse(_ net.Addr, err error) {
	r.change(func() { r.refusals = append(r.refusals, err) })
}

// await waits until ok, which is called with the recorder locked.
func (r *recorder) await(t testing.TB, what string, ok func() bool) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	late := false
	defer time.AfterFunc(time.Minute, func() { r.change(func() { late = true }) }).Stop()
	for !ok() && !late && r.wrong == nil {
		r.cond.Wait()
	}
	if r.wrong != nil {
		t.Fatalf("waiting for %s: %v", what, r.wrong)
	}
	if late {
		t.Fatalf("waited in vain for %s: up %v, %d connected, downs %v, %d messages, refused %v", what, r.up, r.ups, r.downs, len(r.messages), r.refusals)
	}
}

// seen is how much a recorder has been told.
type seen struct{ ups, downs, messages, refusals int }

func (r *recorder) seen() (s seen) {
	r.change(func() { s = seen{r.ups, len(r.downs), len(r.messages), len(r.refusals)} })
	return s
}

func (r *recorder) awaitDown(t testing.TB) error {
	t.Helper()
	r.await(t, "a link to end", func() bool { return len(r.downs) > 0 })
	return r.downs[0]
}

// content is a task's bytes, made up but the same everywhere.
func content(n int64) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i) ^ byte(i>>8)*7 ^ byte(i>>16)*31
	}
	return b
}

// served answers from b as a task of the geometry.
func served(g p2p.Geometry, r io.ReaderAt) func(p2p.HostID, Request) Answer {
	return func(_ p2p.HostID, q Request) Answer {
		return Answer{
			Piece: q.First, Reader: r, Start: g.Offset(q.First) + int64(q.Offset),
			Length: g.Length(q.First) - int64(q.Offset),
		}
	}
}

// readAll reads n replies that must be OK and returns their bytes.
func readAll(t testing.TB, s Stream, n int) []byte {
	t.Helper()
	var out []byte
	for i := range n {
		r, body, err := s.Next()
		if err != nil || r.Status != StatusOK {
			t.Fatalf("reply %d: %+v, %v", i, r, err)
		}
		b, err := io.ReadAll(body)
		if err != nil || len(b) != int(r.Length) {
			t.Fatalf("reply %d: %d of %d bytes: %v", i, len(b), r.Length, err)
		}
		out = append(out, b...)
	}
	return out
}

func mustSend(t testing.TB, s Stream, rs ...Request) {
	t.Helper()
	for _, r := range rs {
		if err := s.Send(r); err != nil {
			t.Fatal(err)
		}
	}
}
