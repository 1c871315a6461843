package proxy

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/darter-p2p/darter/fetcher/upstream"
)

func TestRules(t *testing.T) {
	d := newDoor(t, func(c *Config) { c.Rules = append(c.Rules, `^http://files\.example\.com/.*\.bin$`) }, upstream.Config{})
	d.urls["http://files.example.com/model.bin?sig=1"] = []byte("weights")
	resp, body := d.do(t, "GET", "http://files.example.com/model.bin?sig=1", "Authorization", "Bearer me", "Range", "bytes=1-3", "X-Dragonfly-Tag", "v1", "Accept-Encoding", "gzip")
	if resp.StatusCode != 206 || body != "eig" {
		t.Fatalf("%d %q", resp.StatusCode, body)
	}
	u := d.askedBy[0]
	if u.Tag != "v1" || len(u.Header) != 2 || u.Header.Get("Authorization") != "Bearer me" {
		t.Errorf("asked for %+v", u)
	}
	if d.do(t, "GET", "http://files.example.com/gone.bin"); len(d.askedBy) != 2 {
		t.Error("the rule did not match")
	}
}

// What no rule names goes where it was going, without what is between client and proxy.
func TestForward(t *testing.T) {
	d := newDoor(t, nil, upstream.Config{})
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s %s %s %s via=%s p2p=%s auth=%s", r.Method, r.Host, r.URL, b, r.Header.Get("Via"), r.Header.Get("X-Dragonfly-Tag"), r.Header.Get("Authorization"))
	}))
	defer origin.Close()
	host := strings.TrimPrefix(origin.URL, "http://")
	_, body := d.do(t, "PUT", origin.URL+"/v2/a/blobs/x?y=1", "X-Dragonfly-Tag", "t", "Authorization", "Basic x")
	if want := "PUT " + host + " /v2/a/blobs/x?y=1  via=1.1 darter p2p= auth=Basic x"; body != want {
		t.Errorf("got  %s\nwant %s", body, want)
	}
	if _, body = d.do(t, "GET", origin.URL+"/other"); !strings.HasPrefix(body, "GET "+host+" /other") {
		t.Error(body)
	}
	origin.Close()
	resp, _ := d.do(t, "GET", origin.URL+"/other")
	if resp.StatusCode != 502 || resp.Header.Get("X-Dragonfly-Error-Type") != "proxy" {
		t.Errorf("origin gone: %d", resp.StatusCode)
	}
}

func TestForwardByTLS(t *testing.T) {
	d := newDoor(t, func(c *Config) { c.UseTLS = []string{"/secret/"} }, upstream.Config{})
	origin := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "by TLS") }))
	defer origin.Close()
	d.handler.transport.TLSClientConfig = origin.Client().Transport.(*http.Transport).TLSClientConfig
	if _, body := d.do(t, "GET", strings.Replace(origin.URL, "https", "http", 1)+"/secret/x"); body != "by TLS" {
		t.Error(body)
	}
}

// tunnel opens a tunnel to addr by hand.
func (d *door) tunnel(t *testing.T, addr string) (net.Conn, *http.Response) {
	t.Helper()
	c, err := net.Dial("tcp", d.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	fmt.Fprintf(c, "CONNECT %s HTTP/1.1\r\nHost: %s\r\n\r\n", addr, addr)
	resp, err := http.ReadResponse(bufio.NewReaderSize(c, 16), &http.Request{Method: "CONNECT"})
	if err != nil {
		t.Fatal(err)
	}
	return c, resp
}

func TestConnectIsATunnel(t *testing.T) {
	d := newDoor(t, nil, upstream.Config{})
	origin := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, r.URL, r.Header.Get("X-Dragonfly-Priority"))
	}))
	defer origin.Close()
	d.client.Transport.(*http.Transport).TLSClientConfig = origin.Client().Transport.(*http.Transport).TLSClientConfig
	// The certificate that the client sees is the origin's, and so is the answer.
	if _, body := d.do(t, "GET", origin.URL+"/v2/a/blobs/sha256:x", "X-Dragonfly-Priority", "6"); body != "/v2/a/blobs/sha256:x6" {
		t.Error(body)
	}
	if len(d.asked) > 0 {
		t.Error("the proxy looked into a tunnel")
	}
	if _, resp := d.tunnel(t, "127.0.0.1:1"); resp.StatusCode != 502 {
		t.Errorf("nobody there: %d", resp.StatusCode)
	}
}

// A tunnel passes on the end of each direction, and ends with the door.
func TestTunnelEnds(t *testing.T) {
	d := newDoor(t, func(c *Config) { c.Tunnels = 1 }, upstream.Config{})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	heard := make(chan string, 2)
	go func() {
		for range 2 {
			c, err := l.Accept()
			if err != nil {
				return
			}
			b, _ := io.ReadAll(c)
			heard <- string(b)
			_, _ = io.WriteString(c, "bye")
			c.Close()
		}
	}()
	c, _ := d.tunnel(t, l.Addr().String())
	if _, resp := d.tunnel(t, l.Addr().String()); resp.StatusCode != 503 {
		t.Errorf("one tunnel too many: %d", resp.StatusCode)
	}
	_, _ = io.WriteString(c, "hello")
	_ = c.(*net.TCPConn).CloseWrite()
	if got := <-heard; got != "hello" {
		t.Errorf("heard %q", got)
	}
	if b, err := io.ReadAll(c); string(b) != "bye" || err != nil {
		t.Errorf("%q %v", b, err)
	}
	d.handler.tunnels.mu.Lock() // the place is given back a moment after the last byte
	for d.handler.tunnels.count > 0 {
		d.handler.tunnels.mu.Unlock()
		d.handler.tunnels.wg.Wait()
		d.handler.tunnels.mu.Lock()
	}
	d.handler.tunnels.mu.Unlock()
	c, _ = d.tunnel(t, l.Addr().String())
	_, _ = io.WriteString(c, "cut")
	d.handler.Close()
	if got := <-heard; got != "cut" && got != "" {
		t.Errorf("heard %q", got)
	}
	if _, err := io.ReadAll(c); err != nil && !strings.Contains(err.Error(), "reset") {
		t.Error(err)
	}
	if _, resp := d.tunnel(t, l.Addr().String()); resp.StatusCode != 503 {
		t.Errorf("a closed door opened a tunnel: %d", resp.StatusCode)
	}
}

func TestNoOpenProxy(t *testing.T) {
	const blob = "/v2/a/blobs/sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
	for name, test := range map[string]struct {
		from, method, target string
		clients              []string
		lists                upstream.Config
		status               int
	}{
		"stranger":                   {"192.0.2.7:9", "GET", "http://ghcr.io" + blob, nil, upstream.Config{}, 403},
		"stranger's tunnel":          {"192.0.2.7:9", "CONNECT", "ghcr.io:443", nil, upstream.Config{}, 403},
		"no address":                 {"", "GET", "http://ghcr.io" + blob, nil, upstream.Config{}, 403},
		"own, blob":                  {"127.0.0.1:9", "GET", "http://ghcr.io" + blob, nil, upstream.Config{}, 404},
		"own by IPv6":                {"[::1]:9", "GET", "http://ghcr.io" + blob, nil, upstream.Config{}, 404},
		"own, mapped":                {"[::ffff:127.0.0.1]:9", "GET", "http://ghcr.io" + blob, nil, upstream.Config{}, 404},
		"named client":               {"10.1.2.3:9", "GET", "http://ghcr.io" + blob, []string{"10.0.0.0/8"}, upstream.Config{}, 404},
		"named client, this host":    {"10.1.2.3:9", "GET", "http://127.0.0.1:8080/x", []string{"10.0.0.0/8"}, upstream.Config{}, 403},
		"named client, its name":     {"10.1.2.3:9", "GET", "http://localhost:8080" + blob, []string{"10.0.0.0/8"}, upstream.Config{}, 403},
		"named client, metadata":     {"10.1.2.3:9", "CONNECT", "169.254.169.254:80", []string{"10.0.0.0/8"}, upstream.Config{}, 403},
		"denied":                     {"127.0.0.1:9", "GET", "http://ghcr.io" + blob, nil, upstream.Config{Deny: []string{"ghcr.io"}}, 403},
		"denied tunnel":              {"127.0.0.1:9", "CONNECT", "a.example.com:443", nil, upstream.Config{Deny: []string{"*.example.com"}}, 403},
		"not among what is allowed":  {"127.0.0.1:9", "CONNECT", "ghcr.io:443", nil, upstream.Config{Allow: []string{"docker.io"}}, 403},
		"another scheme":             {"127.0.0.1:9", "GET", "ftp://ghcr.io/x", nil, upstream.Config{}, 400},
		"not a host":                 {"127.0.0.1:9", "GET", "http://a..b" + blob, nil, upstream.Config{}, 400},
		"a write to a registry":      {"127.0.0.1:9", "POST", "http://127.0.0.1:1/v2/a/blobs/uploads/", nil, upstream.Config{}, 502},
		"an own request to the door": {"127.0.0.1:9", "GET", "/v2/", nil, upstream.Config{}, 200},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDoor(t, func(c *Config) {
				if test.clients != nil {
					c.Clients = test.clients
				}
			}, test.lists)
			r := httptest.NewRequest(test.method, "http://x/", nil)
			r.RemoteAddr = test.from
			if test.method == "CONNECT" {
				r.URL, r.Host = &url.URL{Host: test.target}, test.target
			} else {
				r.URL, _ = url.Parse(test.target)
				r.Host = r.URL.Host
			}
			w := httptest.NewRecorder()
			d.handler.ServeHTTP(w, r)
			if w.Code != test.status {
				t.Errorf("%d %s, want %d", w.Code, w.Body, test.status)
			}
		})
	}
}

func TestConfigFaults(t *testing.T) {
	for key, change := range map[string]func(*Config){
		"rules":          func(c *Config) { c.Rules = []string{"("} },
		"use_tls":        func(c *Config) { c.UseTLS = []string{"["} },
		"clients":        func(c *Config) { c.Clients = []string{"here"} },
		"prefetch_slots": func(c *Config) { c.PrefetchSlots = 0 },
		"tunnels":        func(c *Config) { c.Tunnels = -1 },
	} {
		c := Default()
		change(&c)
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), key) {
			t.Errorf("%s: %v", key, err)
		}
	}
	if err := Default().Validate(); err != nil {
		t.Error(err)
	}
}
