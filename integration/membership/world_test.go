package membership

import (
	"context"
	"crypto/tls"
	"errors"
	"math/rand/v2"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	managerv1 "github.com/darter-p2p/darter/api/manager/v1"
	"github.com/darter-p2p/darter/internal/dynamic"
	"github.com/darter-p2p/darter/internal/join"
	"github.com/darter-p2p/darter/internal/pki"
	"github.com/darter-p2p/darter/manager/ca"
	"github.com/darter-p2p/darter/manager/control"
	"github.com/darter-p2p/darter/manager/database"
	"github.com/darter-p2p/darter/manager/database/databasetest"
	"github.com/darter-p2p/darter/manager/model"
	"github.com/darter-p2p/darter/p2p"
	"github.com/darter-p2p/darter/p2p/exchange"
	"github.com/darter-p2p/darter/scheduler/rpc"
	"github.com/darter-p2p/darter/scheduler/swarm"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds what must happen; only a failure takes so long. It is what the issue
// allows a host that is put out.
const patience = time.Minute

// world is a manager, and a scheduler and a node that joined at it.
type world struct {
	t         *testing.T
	ca        *pki.CA
	authority *ca.Authority
	store     *database.Store

	manager, scheduler, node string // addresses
	schedulerHost, nodeHost  join.Host
	stopManager              func()
	stopScheduler, stopNode  func()
	links                    *links // of the node
}

func newWorld(t *testing.T) *world {
	w := &world{t: t}
	var err error
	if w.ca, err = pki.CreateCA("test", time.Now(), 24*time.Hour); err != nil {
		t.Fatal(err)
	}
	if w.store, err = database.Open(t.Context(), databasetest.SQLite(t)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.store.Close(); err != nil {
			t.Error(err)
		}
	})
	if w.authority, err = ca.New(t.Context(), ca.Default(), w.ca, w.store, time.Now); err != nil {
		t.Fatal(err)
	}
	w.startManager()
	w.schedulerHost, w.nodeHost = w.host(pki.Scheduler, "s1"), w.host(pki.Node, "n1")
	for _, h := range []join.Host{w.schedulerHost, w.nodeHost} {
		if err := join.Enroll(t.Context(), h); err != nil {
			t.Fatal(err)
		}
	}
	w.startScheduler()
	w.startNode()
	return w
}

// run runs parts until the returned function or the end of the test stops them.
func (w *world) run(parts ...func(context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, len(parts))
	for _, part := range parts {
		go func() { ended <- part(ctx) }()
	}
	stop = sync.OnceFunc(func() {
		cancel()
		for range parts {
			if err := <-ended; err != nil {
				w.t.Error(err)
			}
		}
	})
	w.t.Cleanup(stop)
	return stop
}

// listen opens a port of loopback, the one that there was before if there was one.
func (w *world) listen(at *string) net.Listener {
	w.t.Helper()
	if *at == "" {
		*at = "127.0.0.1:0"
	}
	l, err := net.Listen("tcp", *at)
	if err != nil {
		w.t.Fatal(err)
	}
	*at = l.Addr().String()
	return l
}

func (w *world) startManager() {
	id, err := w.ca.Identity(pki.Manager, "m1")
	if err != nil {
		w.t.Fatal(err)
	}
	members, err := control.New(control.Default(), w.store, time.Now, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	l := w.listen(&w.manager)
	w.stopManager = w.run(members.Run,
		func(ctx context.Context) error { return ca.Follow(ctx, w.store, id, time.Now) },
		func(ctx context.Context) error {
			return members.Serve(ctx, l, id.Guard(w.authority.ServerTLS(id, pki.Node, pki.Seed, pki.Scheduler, pki.Client)), w.authority.Register)
		})
}

// host is one that has a token of its role for itself.
func (w *world) host(role pki.Role, name string) join.Host {
	w.t.Helper()
	token, err := w.authority.NewToken(w.t.Context(), &model.JoinToken{Role: model.Role(role), Uses: 1, Author: "test"}, time.Hour)
	if err != nil {
		w.t.Fatal(err)
	}
	dir := w.t.TempDir()
	return join.Host{
		Config: join.Config{Token: token, Name: name}, Address: w.manager, Role: role,
		Files: pki.Files{CA: filepath.Join(dir, "ca.crt"), Cert: filepath.Join(dir, "own.crt"), Key: filepath.Join(dir, "own.key")},
	}
}

// joined is a node that joined now.
func (w *world) joined(name string) *pki.Identity {
	w.t.Helper()
	h := w.host(pki.Node, name)
	if err := join.Enroll(w.t.Context(), h); err != nil {
		w.t.Fatal(err)
	}
	return w.load(h)
}

func (w *world) load(h join.Host) *pki.Identity {
	w.t.Helper()
	id, err := pki.Load(h.Files)
	if err != nil {
		w.t.Fatal(err)
	}
	return id
}

// follow has a host's identity refuse what the manager says, as the programs do.
func (w *world) follow(h join.Host, id *pki.Identity) func(context.Context) error {
	state := h.Files.Cert + ".state"
	revoked := join.Restore(w.t.Context(), id, state+".revoked")
	f := dynamic.New(dynamic.Config{Address: w.manager, State: state}, id.ClientTLS(pki.Manager),
		func() *managerv1.Hello { return &managerv1.Hello{Hostname: id.Name().Name} },
		func(ctx context.Context, s *managerv1.State) error {
			revoked.Set(ctx, s.GetRevoked())
			return nil
		})
	return f.Run
}

func (w *world) startScheduler() {
	id := w.load(w.schedulerHost)
	cfg := rpc.Default()
	cfg.Heartbeat, cfg.Grace = time.Hour, 0 // who is silent is no concern here
	s, err := rpc.New(cfg, swarm.New(swarm.Default(), rand.New(rand.NewPCG(1, 1))), signer{}, prometheus.NewRegistry())
	if err != nil {
		w.t.Fatal(err)
	}
	l := w.listen(&w.scheduler)
	w.stopScheduler = w.run(func(ctx context.Context) error { return s.Serve(ctx, l, id) }, w.follow(w.schedulerHost, id))
}

func (w *world) startNode() {
	id := w.load(w.nodeHost)
	w.links = &links{gone: make(chan error, 16)}
	x := w.exchange(id, w.links, w.node)
	w.node = x.Addr().String()
	w.stopNode = w.run(x.Run, w.follow(w.nodeHost, id))
}

// exchange is a host's end of the piece network; at may be "".
func (w *world) exchange(id *pki.Identity, h exchange.Handler, at string) *exchange.Exchange {
	w.t.Helper()
	c := exchange.Default()
	if c.Listen = at; at == "" {
		c.Listen = "127.0.0.1:0"
	}
	c.Identity = exchange.Member(id)
	x, err := exchange.New(c, exchange.TCP{}, h)
	if err != nil {
		w.t.Fatal(err)
	}
	return x
}

// signer signs no tokens: nobody reads an origin here.
type signer struct{}

func (signer) Token(p2p.TaskID, p2p.HostID, time.Time) ([]byte, error) {
	return nil, errors.New("none")
}

// links is a node that has nothing.
type links struct{ gone chan error }

func (*links) Connected(exchange.Link)                                {}
func (*links) Received(exchange.Link, exchange.Message) error         { return nil }
func (l *links) Disconnected(_ exchange.Link, err error)              { l.gone <- err }
func (*links) Serve(p2p.HostID, exchange.Request) (a exchange.Answer) { return a }

// bare is a client's configuration without its certificate.
func bare(id *pki.Identity) *tls.Config {
	c := id.ClientTLS(pki.Manager)
	c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &tls.Certificate{}, nil }
	return c
}
