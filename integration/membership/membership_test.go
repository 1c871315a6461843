package membership

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	managerv1 "github.com/darter-p2p/darter/api/manager/v1"
	schedulerv1 "github.com/darter-p2p/darter/api/scheduler/v1"
	"github.com/darter-p2p/darter/internal/join"
	"github.com/darter-p2p/darter/internal/pki"
	"github.com/darter-p2p/darter/manager/model"
	"github.com/darter-p2p/darter/p2p"
)

// visit is what a host has open at one of the world's doors; gone gets why it ended.
type visit struct {
	gone  <-chan error
	leave func()
}

// doors are the ways in.
var doors = []struct {
	name  string
	enter func(*world, *pki.Identity) (*visit, error)
}{
	{"manager", (*world).atManager},
	{"scheduler", (*world).atScheduler},
	{"peer", (*world).atPeer},
}

// call opens a stream by f, which returns its Recv after the first answer came.
func (w *world) call(addr string, id *pki.Identity, role pki.Role, f func(context.Context, *grpc.ClientConn) (func() error, error)) (*visit, error) {
	conn, err := grpc.NewClient("passthrough:///"+addr, grpc.WithNoProxy(), grpc.WithTransportCredentials(credentials.NewTLS(id.ClientTLS(role))))
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	late := time.AfterFunc(patience, cancel)
	recv, err := f(ctx, conn)
	if err == nil {
		err = recv()
	}
	if !late.Stop() && err == nil {
		err = context.DeadlineExceeded
	}
	if err != nil {
		cancel()
		return nil, errors.Join(err, conn.Close())
	}
	gone, done := make(chan error, 1), make(chan struct{})
	go func() {
		defer close(done)
		for err == nil {
			err = recv()
		}
		gone <- err
	}()
	return &visit{gone, func() { cancel(); conn.Close(); <-done }}, nil
}

func (w *world) atManager(id *pki.Identity) (*visit, error) {
	return w.call(w.manager, id, pki.Manager, func(ctx context.Context, c *grpc.ClientConn) (func() error, error) {
		s, err := managerv1.NewManagerServiceClient(c).Connect(ctx)
		if err != nil {
			return nil, err
		}
		_ = s.Send(&managerv1.ConnectRequest{Message: &managerv1.ConnectRequest_Hello{Hello: &managerv1.Hello{}}}) // Recv says why
		return func() error { _, err := s.Recv(); return err }, nil
	})
}

func (w *world) atScheduler(id *pki.Identity) (*visit, error) {
	return w.call(w.scheduler, id, pki.Scheduler, func(ctx context.Context, c *grpc.ClientConn) (func() error, error) {
		s, err := schedulerv1.NewSchedulerServiceClient(c).Connect(ctx)
		if err != nil {
			return nil, err
		}
		hello := &schedulerv1.Hello{HostId: id.Name().Name, Address: "127.0.0.1:1"}
		_ = s.Send(&schedulerv1.ConnectRequest{Message: &schedulerv1.ConnectRequest_Hello{Hello: hello}})
		return func() error { _, err := s.Recv(); return err }, nil
	})
}

func (w *world) atPeer(id *pki.Identity) (*visit, error) {
	l := &links{gone: make(chan error, 16)}
	x := w.exchange(id, l, "")
	stop := w.run(x.Run)
	_, err := x.Connect(w.t.Context(), p2p.Host{ID: "n1", Addr: w.node})
	if err != nil {
		stop()
		return nil, err
	}
	return &visit{l.gone, stop}, nil
}

// TestWhoIsIn is the row of the issue: joined, expired, revoked and foreign certificates,
// and a stolen token after its end, at each door.
func TestWhoIsIn(t *testing.T) {
	w := newWorld(t)
	now := time.Now()
	other, err := pki.CreateCA("test", now, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	of := func(ca *pki.CA, name string, at time.Time) *pki.Identity {
		t.Helper()
		pair, err := ca.Issue(pki.Request{Role: pki.Node, Name: name, ValidFor: time.Hour}, at)
		if err != nil {
			t.Fatal(err)
		}
		id, err := pki.NewIdentity(pair, w.ca.Roots())
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	static, staticOut := of(w.ca, "static", now), of(w.ca, "static-out", now)
	joined, out := w.joined("joined"), w.joined("out")

	// All are in; then two are put out, one by its name and one by its number.
	held := map[*pki.Identity]map[string]*visit{}
	for _, id := range []*pki.Identity{joined, out, static, staticOut} {
		held[id] = map[string]*visit{}
		for _, door := range doors {
			v, err := door.enter(w, id)
			if err != nil {
				t.Fatalf("%s at the %s: %v", id.Name(), door.name, err)
			}
			defer v.leave()
			held[id][door.name] = v
		}
	}
	begun := time.Now()
	if revoked, err := w.store.RevokeMember(t.Context(), model.RoleNode, "out", "test", begun); err != nil || len(revoked) != 1 {
		t.Fatal(revoked, err)
	}
	_, cert := staticOut.Signer()
	if _, err := w.authority.RevokeSerial(t.Context(), pki.Serial(cert), "test"); err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for _, id := range []*pki.Identity{out, staticOut} {
		for _, door := range doors {
			all.Go(func() {
				select {
				case err := <-held[id][door.name].gone:
					t.Logf("%s is out at the %s after %v (%v)", id.Name().Name, door.name, time.Since(begun).Round(time.Millisecond), err)
				case <-time.After(patience - time.Since(begun)):
					t.Errorf("%s is in at the %s after %v", id.Name().Name, door.name, time.Since(begun))
				}
			})
		}
	}
	all.Wait()
	for _, id := range []*pki.Identity{joined, static} {
		for _, door := range doors {
			select {
			case err := <-held[id][door.name].gone:
				t.Errorf("%s is out at the %s, too: %v", id.Name().Name, door.name, err)
			default:
			}
		}
	}

	for _, who := range []struct {
		name string
		id   *pki.Identity
		in   bool
	}{
		{"joined", joined, true}, // in the place of the one before
		{"static", static, true},
		{"expired", of(w.ca, "expired", now.Add(-2*time.Hour)), false},
		{"foreign", of(other, "foreign", now), false},
		{"revoked", out, false},
		{"revoked by its number", staticOut, false},
	} {
		for _, door := range doors {
			v, err := door.enter(w, who.id)
			if err == nil {
				v.leave()
			}
			if (err == nil) != who.in {
				t.Errorf("%s at the %s: in %v (%v), want %v", who.name, door.name, err == nil, err, who.in)
			}
		}
	}

	// The scheduler and the node start anew while the manager is away: the list is on disk.
	w.stopManager()
	w.stopScheduler()
	w.stopNode()
	w.startScheduler()
	w.startNode()
	for _, door := range doors[1:] {
		for _, id := range []*pki.Identity{out, staticOut} {
			if v, err := door.enter(w, id); err == nil {
				v.leave()
				t.Errorf("%s is in at the %s after a restart without the manager", id.Name().Name, door.name)
			}
		}
		v, err := door.enter(w, joined)
		if err != nil {
			t.Errorf("a member at the %s after a restart without the manager: %v", door.name, err)
			continue
		}
		v.leave()
	}
}

// A token that was stolen is worth nothing after its end, and one of a node never makes a
// seed or a scheduler.
func TestTokens(t *testing.T) {
	w := newWorld(t)
	ended := w.host(pki.Node, "late")
	short, err := w.authority.NewToken(t.Context(), &model.JoinToken{Role: model.RoleNode, Uses: 9, Author: "test"}, time.Nanosecond)
	if err != nil {
		t.Fatal(err)
	}
	ended.Token = short
	if err := join.Enroll(t.Context(), ended); !errdefs.IsUnauthorized(err) {
		t.Errorf("a stolen token after its end: %v", err)
	}
	for _, role := range []pki.Role{pki.Seed, pki.Scheduler} {
		h := w.host(pki.Node, "n9")
		h.Role = role
		if err := join.Enroll(t.Context(), h); !errdefs.IsPermissionDenied(err) {
			t.Errorf("a node's token for a %s: %v", role, err)
		}
	}
	// As a node it is let in nowhere that asks for another role.
	id := w.joined("n9")
	if v, err := w.call(w.scheduler, id, pki.Scheduler, func(ctx context.Context, c *grpc.ClientConn) (func() error, error) {
		s, err := schedulerv1.NewSchedulerServiceClient(c).Connect(ctx)
		if err != nil {
			return nil, err
		}
		hello := &schedulerv1.Hello{HostId: "n9", Address: "127.0.0.1:1", Seed: true}
		_ = s.Send(&schedulerv1.ConnectRequest{Message: &schedulerv1.ConnectRequest_Hello{Hello: hello}})
		return func() error { _, err := s.Recv(); return err }, nil
	}); err == nil {
		v.leave()
		t.Error("a node is a seed by its own word")
	}
	// Who has no certificate may ask for one, and for nothing else.
	conn, err := grpc.NewClient("passthrough:///"+w.manager, grpc.WithNoProxy(), grpc.WithTransportCredentials(credentials.NewTLS(bare(id))))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	s, err := managerv1.NewManagerServiceClient(conn).Connect(t.Context())
	if err == nil {
		_ = s.Send(&managerv1.ConnectRequest{Message: &managerv1.ConnectRequest_Hello{Hello: &managerv1.Hello{}}})
		_, err = s.Recv()
	}
	if got := fmt.Sprint(err); err == nil || !errdefs.IsUnauthorized(errgrpc.ToNative(err)) {
		t.Errorf("a stranger follows the manager: %s", got)
	}
}
