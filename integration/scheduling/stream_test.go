package scheduling

import (
	"context"
	"net"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	schedulerv1 "github.com/darter-p2p/darter/api/scheduler/v1"
	"github.com/darter-p2p/darter/internal/pki"
	"github.com/darter-p2p/darter/internal/serve/rpc"
	"github.com/darter-p2p/darter/p2p"
	"github.com/darter-p2p/darter/p2p/tracker"
)

// refused fails the test unless a client with this identity is refused for this reason.
func (w *world) refused(t *testing.T, id *pki.Identity, host p2p.Host, want string) {
	t.Helper()
	cfg := tracker.Default()
	cfg.Addresses, cfg.Host = []string{w.addr}, host
	n := &node{t: t, changed: make(chan struct{})}
	c, err := tracker.New(cfg, id, n.hold, n)
	if err != nil {
		t.Fatal(err)
	}
	stop := w.run(c.Run)
	defer stop()
	for late := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		if err := c.States()[0].Err; err != nil {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("error %q, want one with %q", err, want)
			}
			return
		}
		if time.Now().After(late) {
			t.Fatalf("it was not refused: %+v", c.States())
		}
	}
}

// impostor listens at the world's address with a certificate of another role.
func (w *world) impostor(role pki.Role) {
	w.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.t.Fatal(err)
	}
	w.addr = l.Addr().String()
	s := grpc.NewServer(grpc.Creds(credentials.NewTLS(w.identity(role, "x").ServerTLS())))
	w.run(func(ctx context.Context) error {
		return rpc.Serve(ctx, s, l, time.Millisecond, nil)
	})
}

// raw opens a stream by hand and says Hello.
func (w *world) raw(ctx context.Context, name string) (grpc.BidiStreamingClient[schedulerv1.ConnectRequest, schedulerv1.ConnectResponse], *grpc.ClientConn) {
	w.t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+w.addr, grpc.WithNoProxy(), grpc.WithStaticStreamWindowSize(65535),
		grpc.WithTransportCredentials(credentials.NewTLS(w.identity(pki.Node, name).ClientTLS(pki.Scheduler))))
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { conn.Close() })
	stream, err := schedulerv1.NewSchedulerServiceClient(conn).Connect(ctx)
	if err != nil {
		w.t.Fatal(err)
	}
	err = stream.Send(&schedulerv1.ConnectRequest{Message: &schedulerv1.ConnectRequest_Hello{
		Hello: &schedulerv1.Hello{HostId: name, Address: ":1"},
	}})
	if err != nil {
		w.t.Fatal(err)
	}
	if m, err := stream.Recv(); err != nil || m.GetWelcome().GetHeartbeatSeconds() == 0 {
		w.t.Fatalf("welcome %v, %v", m, err)
	}
	return stream, conn
}

// endOf reads a stream to its end and returns why it ended.
func endOf(stream grpc.BidiStreamingClient[schedulerv1.ConnectRequest, schedulerv1.ConnectResponse]) codes.Code {
	for {
		if _, err := stream.Recv(); err != nil {
			return status.Code(err)
		}
	}
}

func TestSilentNodeIsCutOff(t *testing.T) {
	w := newWorld(t)
	cfg, core := config()
	cfg.Heartbeat, cfg.Missed, cfg.Grace = time.Second, 1, 0
	s, _ := w.schedule(cfg, core)
	stream, _ := w.raw(t.Context(), "mute")
	if code := endOf(stream); code != codes.DeadlineExceeded {
		t.Errorf("the stream ended with %v", code)
	}
	if n := s.Stats().Hosts; n != 0 {
		t.Errorf("%d hosts are up", n)
	}
}

func TestBadMessageEndsTheStream(t *testing.T) {
	w := newWorld(t)
	w.schedule(config())
	stream, _ := w.raw(t.Context(), "bad")
	if err := stream.Send(&schedulerv1.ConnectRequest{Message: &schedulerv1.ConnectRequest_Join{Join: &schedulerv1.Join{Task: "?"}}}); err != nil {
		t.Fatal(err)
	}
	if code := endOf(stream); code != codes.InvalidArgument {
		t.Errorf("the stream ended with %v", code)
	}
}

func TestNodeThatDoesNotReadIsCutOff(t *testing.T) {
	w := newWorld(t)
	cfg, core := config()
	cfg.Queue = 16
	w.schedule(cfg, core)
	stream, _ := w.raw(t.Context(), "slow")
	task := taskOf("layer").String()
	// Every join is answered by a failure, and the answers are not read.
	join := &schedulerv1.ConnectRequest{Message: &schedulerv1.ConnectRequest_Join{Join: &schedulerv1.Join{Task: task, Size: -1}}}
	for range 100_000 {
		if stream.Send(join) != nil {
			break
		}
	}
	if code := endOf(stream); code != codes.ResourceExhausted {
		t.Errorf("the stream ended with %v", code)
	}
}

func TestBrokenStreamHasAGrace(t *testing.T) {
	w := newWorld(t)
	cfg, core := config()
	cfg.Grace = 300 * time.Millisecond
	s, _ := w.schedule(cfg, core)
	a := w.node(pki.Node, "a")
	task := taskOf("layer")
	a.want(task, from, 1)

	ctx, cancel := context.WithCancel(t.Context())
	_, conn := w.raw(ctx, "b")
	cancel()
	conn.Close()
	_, _ = w.raw(t.Context(), "b") // back in time
	time.Sleep(2 * cfg.Grace)
	if n := s.Stats().Hosts; n != 2 {
		t.Errorf("%d hosts are up, want a and b", n)
	}
}
