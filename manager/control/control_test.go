package control_test

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	managerv1 "github.com/darter-p2p/darter/api/manager/v1"
	"github.com/darter-p2p/darter/internal/config"
	"github.com/darter-p2p/darter/internal/dynamic"
	"github.com/darter-p2p/darter/internal/pki"
	"github.com/darter-p2p/darter/manager/control"
	"github.com/darter-p2p/darter/manager/database"
	"github.com/darter-p2p/darter/manager/database/databasetest"
	"github.com/darter-p2p/darter/manager/model"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience matters only where something fails.
const patience = 60 * time.Second

// fleet is a manager's gRPC server over a database, which can be stopped and started.
type fleet struct {
	t      *testing.T
	ca     *pki.CA
	dbs    database.Config
	addr   string
	server *control.Server
	store  *database.Store
	stop   func()
}

func newFleet(t *testing.T) *fleet {
	t.Helper()
	ca, err := pki.CreateCA("test", time.Now(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	f := &fleet{t: t, ca: ca, dbs: databasetest.SQLite(t), addr: "127.0.0.1:0"}
	f.start()
	t.Cleanup(func() { f.stop() })
	return f
}

func (f *fleet) identity(role pki.Role, name string) *pki.Identity {
	f.t.Helper()
	id, err := f.ca.Identity(role, name)
	if err != nil {
		f.t.Fatal(err)
	}
	return id
}

// start starts a manager where the last one was.
func (f *fleet) start() {
	f.t.Helper()
	store, err := database.Open(context.Background(), f.dbs)
	if err != nil {
		f.t.Fatal(err)
	}
	c := control.Default()
	c.Heartbeat, c.Missed = config.Duration(time.Second), 2
	server, err := control.New(c, store, time.Now, nil)
	if err != nil {
		f.t.Fatal(err)
	}
	l, err := net.Listen("tcp", f.addr)
	if err != nil {
		f.t.Fatal(err)
	}
	f.addr, f.server, f.store = l.Addr().String(), server, store
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 2)
	id := f.identity(pki.Manager, "m1")
	go func() { ended <- server.Run(ctx) }()
	go func() { ended <- server.Serve(ctx, l, id.Guard(id.ServerTLS()), nil) }()
	f.stop = func() {
		cancel()
		if err := errors.Join(<-ended, <-ended, store.Close()); err != nil {
			f.t.Error(err)
		}
	}
}

func (f *fleet) cluster(name string, scopes model.Scopes) *model.Cluster {
	f.t.Helper()
	c := &model.Cluster{Name: name, Scopes: scopes}
	if err := f.store.CreateCluster(f.t.Context(), c, time.Now()); err != nil {
		f.t.Fatal(err)
	}
	f.server.Changed()
	return c
}

func (f *fleet) set(cluster int64, upload int64) int64 {
	f.t.Helper()
	c := &model.Configuration{ClusterID: cluster, Author: "test", Settings: model.Settings{Limits: model.Limits{Upload: &upload}}}
	if err := f.store.AppendConfiguration(f.t.Context(), c, -1, time.Now()); err != nil {
		f.t.Fatal(err)
	}
	return c.ID
}

// member is a follower whose states are seen by a test.
type member struct {
	t      *testing.T
	states chan *managerv1.State
	stop   func()
}

func (f *fleet) member(role pki.Role, name, file string, hello *managerv1.Hello) *member {
	f.t.Helper()
	m := &member{t: f.t, states: make(chan *managerv1.State, 100)}
	follower := dynamic.New(dynamic.Config{Address: f.addr, State: file}, f.identity(role, name).ClientTLS(pki.Manager),
		func() *managerv1.Hello { return hello },
		func(_ context.Context, s *managerv1.State) error {
			m.states <- s
			if s.GetSettings().GetLimits().GetUpload() == 666<<20 {
				return errors.New("refused by the test")
			}
			return nil
		})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- follower.Run(ctx) }()
	m.stop = func() {
		cancel()
		if err := <-ended; err != nil {
			f.t.Error(err)
		}
		m.stop = func() {}
	}
	f.t.Cleanup(func() { m.stop() })
	return m
}

// until waits for a state.
func (m *member) until(what string, is func(*managerv1.State) bool) *managerv1.State {
	m.t.Helper()
	late := time.After(patience)
	var last *managerv1.State
	for {
		select {
		case last = <-m.states:
			if is(last) {
				return last
			}
		case <-late:
			m.t.Fatalf("%s: not in %v; last %v", what, patience, last)
		}
	}
}

func upload(rate int64) func(*managerv1.State) bool {
	return func(s *managerv1.State) bool { return s.GetSettings().GetLimits().GetUpload() == rate }
}

func TestMembersFollow(t *testing.T) {
	f := newFleet(t)
	c := f.cluster("prod", model.Scopes{IDCs: []string{"z1"}})
	dir := t.TempDir()
	file := filepath.Join(dir, "n1.state")
	node := f.member(pki.Node, "n1", file, &managerv1.Hello{Idc: "z1", Address: "10.0.0.1:65002", Version: "v9"})
	s := node.until("a first state", func(*managerv1.State) bool { return true })
	if s.GetClusterId() != 0 {
		t.Errorf("a cluster without a scheduler is given: %v", s)
	}
	f.member(pki.Scheduler, "s1", filepath.Join(dir, "s1.state"), &managerv1.Hello{Idc: "z1", Address: "10.0.0.2:8002"})
	s = node.until("the cluster, once it has a scheduler", func(s *managerv1.State) bool { return s.GetClusterId() == c.ID })
	if len(s.GetSchedulers()) != 1 || s.GetSchedulers()[0].GetAddress() != "10.0.0.2:8002" || !slices.Contains(s.GetBecause(), "+0.25 IDC z1") {
		t.Errorf("state %v", s)
	}

	// Changes come by themselves: here the database alone is told, as by another manager.
	begun := time.Now()
	version := f.set(c.ID, 20<<20)
	node.until("a change", upload(20<<20))
	t.Logf("a change through the database was in force after %v", time.Since(begun))
	for late := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		m, err := f.store.MemberByName(t.Context(), model.RoleNode, "n1")
		if err == nil && m.ConfigVersion == version && m.State == model.Active && m.IP == "127.0.0.1" && m.Version == "v9" && m.ClusterID == c.ID {
			break
		}
		if time.Now().After(late) {
			t.Fatalf("the member's row: %+v, %v", m, err)
		}
	}

	// The manager goes away; the node restarts, and what was set holds.
	f.stop()
	node.stop()
	node = f.member(pki.Node, "n1", file, &managerv1.Hello{Idc: "z1"})
	if s := node.until("what is on disk", upload(20<<20)); s.GetCluster() != "prod" || len(s.GetSchedulers()) != 1 {
		t.Errorf("from disk: %v", s)
	}
	f.start()
	f.set(c.ID, 30<<20)
	node.until("a change after the manager came back", upload(30<<20))
	// What cannot be put in force is left, and the next one counts.
	f.set(c.ID, 666<<20)
	node.until("what it refuses", upload(666<<20))
	f.set(0, 40<<20)
	f.set(c.ID, 50<<20)
	node.until("the next", upload(50<<20))

	if n := f.server.Connected(); n < 1 || n > 2 {
		t.Errorf("%d connected", n)
	}
	node.stop()
	for late := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		m, err := f.store.MemberByName(t.Context(), model.RoleNode, "n1")
		if err != nil {
			t.Fatal(err)
		}
		if m.State == model.Inactive {
			break
		}
		if time.Now().After(late) {
			t.Fatal("a node that is gone stays active")
		}
	}
}

func TestPins(t *testing.T) {
	f := newFleet(t)
	one := f.cluster("one", model.Scopes{IDCs: []string{"z1"}})
	two := f.cluster("two", model.Scopes{})
	for i, c := range []*model.Cluster{one, two} {
		m := &model.Member{Role: model.RoleScheduler, Name: "s" + c.Name, ClusterID: c.ID, Pinned: true, State: model.Inactive}
		if err := f.store.CreateMember(t.Context(), m, time.Now()); err != nil {
			t.Fatal(err)
		}
		f.member(pki.Scheduler, m.Name, filepath.Join(t.TempDir(), "state"), &managerv1.Hello{Address: []string{"10.0.0.1:1", "10.0.0.2:1"}[i]}).
			until("the operator's pin", func(s *managerv1.State) bool { return s.GetClusterId() == c.ID })
	}
	m := &model.Member{Role: model.RoleNode, Name: "n", ClusterID: two.ID, Pinned: true, State: model.Inactive}
	if err := f.store.CreateMember(t.Context(), m, time.Now()); err != nil {
		t.Fatal(err)
	}
	node := f.member(pki.Node, "n", filepath.Join(t.TempDir(), "state"), &managerv1.Hello{Idc: "z1"})
	node.until("the operator's pin", func(s *managerv1.State) bool { return s.GetCluster() == "two" && len(s.GetSchedulers()) == 1 })
	seed := f.member(pki.Seed, "n", filepath.Join(t.TempDir(), "state"), &managerv1.Hello{Idc: "z1"})
	seed.until("the scope", func(s *managerv1.State) bool { return s.GetCluster() == "one" })
	// The zone goes to the other cluster, and who is not pinned with it.
	one.Scopes, two.Scopes = model.Scopes{}, model.Scopes{IDCs: []string{"z1"}}
	for _, c := range []*model.Cluster{one, two} {
		if err := f.store.UpdateCluster(t.Context(), c, time.Now()); err != nil {
			t.Fatal(err)
		}
	}
	seed.until("the scope's new cluster", func(s *managerv1.State) bool { return s.GetCluster() == "two" })
}

// Only members with a certificate of the cluster get in, and only with sense.
func TestStrangers(t *testing.T) {
	f := newFleet(t)
	foreign, err := pki.CreateCA("test", time.Now(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := foreign.Identity(pki.Node, "n1")
	if err != nil {
		t.Fatal(err)
	}
	hello := &managerv1.ConnectRequest{Message: &managerv1.ConnectRequest_Hello{Hello: &managerv1.Hello{}}}
	for name, tt := range map[string]struct {
		tls   *tls.Config
		first *managerv1.ConnectRequest
		code  codes.Code
		says  string
	}{
		"another CA":     {stranger.ClientTLS(), hello, codes.Unavailable, ""},
		"no certificate": {&tls.Config{RootCAs: f.ca.Roots(), InsecureSkipVerify: true}, hello, codes.Unavailable, ""},
		"a person":       {f.identity(pki.Client, "me").ClientTLS(), hello, codes.PermissionDenied, "client"},
		"no hello":       {f.identity(pki.Node, "n").ClientTLS(), &managerv1.ConnectRequest{}, codes.InvalidArgument, "Hello"},
		"a bad address": {f.identity(pki.Node, "n").ClientTLS(), &managerv1.ConnectRequest{Message: &managerv1.ConnectRequest_Hello{
			Hello: &managerv1.Hello{Address: "nowhere"}}}, codes.InvalidArgument, "address"},
	} {
		t.Run(name, func(t *testing.T) {
			conn, err := grpc.NewClient(f.addr, grpc.WithTransportCredentials(credentials.NewTLS(tt.tls)))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			ctx, stop := context.WithTimeout(t.Context(), patience)
			defer stop()
			stream, err := managerv1.NewManagerServiceClient(conn).Connect(ctx)
			if err == nil {
				if err = stream.Send(tt.first); err == nil || status.Code(err) == codes.Unknown {
					_, err = stream.Recv()
				}
			}
			if status.Code(err) != tt.code || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("%v, want %v with %q", err, tt.code, tt.says)
			}
		})
	}
	conn, err := grpc.NewClient(f.addr, grpc.WithTransportCredentials(credentials.NewTLS(f.identity(pki.Client, "me").ClientTLS(pki.Manager))))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	answer, err := grpc_health_v1.NewHealthClient(conn).Check(t.Context(), &grpc_health_v1.HealthCheckRequest{})
	if err != nil || answer.GetStatus() != grpc_health_v1.HealthCheckResponse_SERVING {
		t.Errorf("health: %v, %v", answer, err)
	}
}
