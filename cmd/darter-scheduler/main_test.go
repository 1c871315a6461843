package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/darter-p2p/darter/cmd/internal/program/programtest"
	"github.com/darter-p2p/darter/internal/pki"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestCommandLine(t *testing.T) {
	programtest.Suite(t, command(), map[string]string{
		"[swarm]\nneighbors = 3\n":  "swarm.neighbors",
		"[swarm]\nneighbours = 1\n": "neighbours: 1 is not within",
	})
}

// free returns an address of loopback that nobody listens on.
func free(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func TestServesUntilItIsStopped(t *testing.T) {
	dir := t.TempDir()
	ca, err := pki.CreateCA("test", time.Now(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if err := ca.Write(dir); err != nil {
		t.Fatal(err)
	}
	pair, err := ca.Issue(pki.Request{Role: pki.Scheduler, Name: "s1"}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	files, err := pair.Write(dir)
	if err != nil {
		t.Fatal(err)
	}
	listen, web := free(t), free(t)
	path := filepath.Join(dir, "scheduler.toml")
	text := fmt.Sprintf("listen = %q\nmetrics = %q\nlog_level = \"error\"\n[tls]\nca = %q\ncert = %q\nkey = %q\n",
		listen, web, files.CA, files.Cert, files.Key)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- command().Command(ctx, &bytes.Buffer{}, &bytes.Buffer{}, []string{"--config", path}) }()

	get := func(path string) (string, error) {
		r, err := http.Get("http://" + web + path)
		if err != nil {
			return "", err
		}
		defer r.Body.Close()
		var b bytes.Buffer
		_, err = b.ReadFrom(r.Body)
		return b.String(), err
	}
	for late := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		if body, err := get("/healthz"); err == nil && strings.HasPrefix(body, "ok") {
			break
		}
		if time.Now().After(late) {
			t.Fatal("it does not become healthy")
		}
	}
	if body, err := get("/metrics"); err != nil || !strings.Contains(body, "darter_scheduler_hosts 0") {
		t.Errorf("metrics: %v\n%s", err, body)
	}
	id, err := ca.Identity(pki.Client, "me")
	if err != nil {
		t.Fatal(err)
	}
	conn, err := grpc.NewClient(listen, grpc.WithTransportCredentials(credentials.NewTLS(id.ClientTLS(pki.Scheduler))))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	answer, err := grpc_health_v1.NewHealthClient(conn).Check(t.Context(), &grpc_health_v1.HealthCheckRequest{})
	if err != nil || answer.Status != grpc_health_v1.HealthCheckResponse_SERVING {
		t.Errorf("health over gRPC: %v, %v", answer, err)
	}

	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	http.DefaultClient.CloseIdleConnections()
}
