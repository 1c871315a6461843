package rpc

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// watch serves gRPC and holds a stream of it open.
func watch(t *testing.T, drain time.Duration, stopping func()) (stop func(), ended <-chan error, stream grpc_health_v1.Health_WatchClient) {
	t.Helper()
	l := listen(t)
	server := grpc.NewServer()
	grpc_health_v1.RegisterHealthServer(server, health.NewServer())
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- Serve(ctx, server, l, drain, stopping) }()
	conn, err := grpc.NewClient("passthrough:///"+l.Addr().String(), grpc.WithNoProxy(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	streaming, end := context.WithCancel(t.Context())
	t.Cleanup(end)
	stream, err = grpc_health_v1.NewHealthClient(conn).Watch(streaming, &grpc_health_v1.HealthCheckRequest{}, grpc.WaitForReady(true))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); err != nil {
		t.Fatal(err)
	}
	return cancel, done, stream
}

func TestCutsWhatGoesOn(t *testing.T) {
	told := false
	stop, ended, stream := watch(t, time.Millisecond, func() { told = true })
	stop()
	if err := <-ended; err != nil || !told {
		t.Errorf("%v, told %v", err, told)
	}
	if _, err := stream.Recv(); err == nil {
		t.Error("a stream goes on without its server")
	}
}

func TestStoppedFirst(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	l := listen(t)
	if err := Serve(ctx, grpc.NewServer(), l, 0, nil); err != nil {
		t.Error(err)
	}
	server := grpc.NewServer()
	server.Stop() // before it was told to serve
	l = listen(t)
	if err := Serve(ctx, server, l, 0, nil); err != nil {
		t.Error(err)
	}
	if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("the listener: %v", err)
	}
}

func TestBadListener(t *testing.T) {
	l := listen(t)
	l.Close()
	told := false
	if err := Serve(t.Context(), grpc.NewServer(), l, 0, func() { told = true }); !errors.Is(err, net.ErrClosed) || !told {
		t.Errorf("%v, told %v", err, told)
	}
}
