package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
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
		"[database]\nkindd = \"sqlite\"\n":    "database.kindd",
		"[database]\nkind = \"oracle\"\n":     "database.kind",
		"[control]\nheartbeat = \"1500ms\"\n": "control.heartbeat",
		"[tls]\ncert = \"x\"\n":               "tls",
		"[identity]\nca = \"x\"\n":            "identity",
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

// output is what a program prints, while it runs.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// call makes a request and returns status and body.
func call(method, url, body string, cookies []*http.Cookie) (int, string, []*http.Cookie, error) {
	r, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		return 0, "", nil, err
	}
	r.Header.Set("Content-Type", "application/json")
	for _, c := range cookies {
		r.AddCookie(c)
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, "", nil, err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	return answer.StatusCode, string(text), answer.Cookies(), err
}

// reachesAll asks for every operation of the document as a stranger: each is somebody's.
func reachesAll(t *testing.T, web string) {
	t.Helper()
	_, body, _, err := call("GET", web+"/api/v1/openapi.json", "", nil)
	var doc struct{ Paths map[string]map[string]any }
	if err := json.Unmarshal([]byte(body), &doc); err != nil || len(doc.Paths) < 20 {
		t.Fatalf("the document: %v %.200s", err, body)
	}
	if err != nil {
		t.Fatal(err)
	}
	parameter := regexp.MustCompile(`\{\w+\}`)
	for path, methods := range doc.Paths {
		for method := range methods {
			code, body, _, err := call(strings.ToUpper(method), web+parameter.ReplaceAllString(path, "1"), "", nil)
			if err != nil || code == http.StatusNotFound || code == http.StatusMethodNotAllowed {
				t.Errorf("%s %s: %d %s %v", method, path, code, body, err)
			}
		}
	}
}

// A manager starts with no other service; its first start prints root's password, with
// which one signs in; a second start says nothing and knows what there was.
func TestServesUntilItIsStopped(t *testing.T) {
	dir := t.TempDir()
	web, members := free(t), free(t)
	path := filepath.Join(dir, "manager.toml")
	text := fmt.Sprintf("listen = %q\nmembers = %q\nlog_level = \"error\"\ndata = %q\n[database]\npath = %q\n",
		web, members, dir, filepath.Join(dir, "manager.db"))
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	start := func() (*output, func()) {
		out := &output{}
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- command().Command(ctx, out, out, []string{"--config", path}) }()
		for late := time.Now().Add(60 * time.Second); ; time.Sleep(5 * time.Millisecond) {
			if code, _, _, err := call("GET", "http://"+web+"/healthy", "", nil); err == nil && code == 200 {
				break
			}
			if time.Now().After(late) {
				t.Fatalf("it does not become healthy: %s", out)
			}
		}
		return out, func() {
			stop()
			if err := <-ended; err != nil {
				t.Error(err)
			}
			http.DefaultClient.CloseIdleConnections()
		}
	}
	out, stop := start()
	found := regexp.MustCompile(`password (\S+)\.`).FindStringSubmatch(out.String())
	if found == nil {
		t.Fatalf("no password is printed: %s", out)
	}
	api := "http://" + web + "/api/v1"
	signIn := func() []*http.Cookie {
		t.Helper()
		code, body, cookies, err := call("POST", api+"/session", fmt.Sprintf(`{"name":"root","password":%q}`, found[1]), nil)
		if err != nil || code != 200 {
			t.Fatalf("sign in: %d %s, %v", code, body, err)
		}
		return cookies
	}
	if code, body, _, err := call("POST", api+"/clusters", `{"name":"prod"}`, signIn()); err != nil || code != 201 {
		t.Fatalf("a cluster: %d %s, %v", code, body, err)
	}
	if code, body, _, err := call("GET", "http://"+web+"/metrics", "", nil); err != nil || code != 200 ||
		!strings.Contains(body, `darter_manager_requests_total{operation="createCluster",status="201"} 1`) {
		t.Errorf("metrics: %d, %v\n%s", code, err, body)
	}
	if code, _, _, err := call("GET", "http://"+web+"/nothing", "", nil); err != nil || code != 404 {
		t.Errorf("another path: %d, %v", code, err)
	}
	reachesAll(t, "http://"+web)
	ca, err := pki.LoadCA(filepath.Join(dir, "ca"))
	if err != nil {
		t.Fatal(err)
	}
	id, err := ca.Identity(pki.Client, "me")
	if err != nil {
		t.Fatal(err)
	}
	conn, err := grpc.NewClient(members, grpc.WithTransportCredentials(credentials.NewTLS(id.ClientTLS(pki.Manager))))
	if err != nil {
		t.Fatal(err)
	}
	answer, err := grpc_health_v1.NewHealthClient(conn).Check(t.Context(), &grpc_health_v1.HealthCheckRequest{})
	if err != nil || answer.Status != grpc_health_v1.HealthCheckResponse_SERVING {
		t.Errorf("health over gRPC: %v, %v", answer, err)
	}
	conn.Close()
	stop()

	out, stop = start()
	defer stop()
	if out.String() != "" {
		t.Errorf("the second start says %q", out)
	}
	_, body, _, err := call("GET", api+"/clusters", "", signIn())
	var page struct{ Items []struct{ Name string } }
	if err := json.Unmarshal([]byte(body), &page); err != nil || len(page.Items) != 1 || page.Items[0].Name != "prod" {
		t.Errorf("after the restart: %s, %v", body, err)
	}
	if err != nil {
		t.Error(err)
	}
}
