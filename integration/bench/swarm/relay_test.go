package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// ask sends a request without following redirects and returns the body.
func ask(t *testing.T, method, url, rang string) (*http.Response, []byte) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if rang != "" {
		request.Header.Set("Range", rang)
	}
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	response, err := transport.RoundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response, body
}

// relayed starts a relay before a handler and returns its URL.
func relayed(t *testing.T, h http.Handler) (*relay, string) {
	t.Helper()
	origin := httptest.NewServer(h)
	t.Cleanup(origin.Close)
	r, err := newRelay(origin.URL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.close)
	front := httptest.NewServer(r)
	t.Cleanup(front.Close)
	return r, front.URL
}

func TestRelayCountsBodies(t *testing.T) {
	content := bytes.Repeat([]byte("darter "), 200_000)
	r, url := relayed(t, http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		http.ServeContent(w, q, "", time.Time{}, bytes.NewReader(content))
	}))
	if response, body := ask(t, "GET", url+"/v2/x", ""); response.StatusCode != 200 || !bytes.Equal(body, content) {
		t.Fatalf("%s, %d bytes", response.Status, len(body))
	}
	ask(t, "HEAD", url+"/v2/x", "")
	if response, body := ask(t, "GET", url+"/v2/x", "bytes=7-20"); response.StatusCode != 206 || string(body) != "darter darter " {
		t.Fatalf("%s %q", response.Status, body)
	}
	if bodies, requests := r.bodies.Load(), r.requests.Load(); bodies != int64(len(content))+14 || requests != 3 {
		t.Errorf("counted %d bytes of %d requests, want %d of 3", bodies, requests, len(content)+14)
	}
}

func TestRelayTellsRanges(t *testing.T) {
	r, _ := relayed(t, http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		http.ServeContent(w, q, "", time.Time{}, strings.NewReader("a darter waits"))
	}))
	request := httptest.NewRequest("GET", "/v2/x", nil)
	request.Header.Set("Range", "bytes=2-7")
	r.ServeHTTP(httptest.NewRecorder(), request) // until the answer has ended
	if len(r.answers) != 1 || r.answers[0].Path != "/v2/x" || r.answers[0].Range != "bytes=2-7" || r.answers[0].Bytes != 6 {
		t.Errorf("told %+v", r.answers)
	}
}

func TestRelayCountsWhatClientsLeft(t *testing.T) {
	r, url := relayed(t, http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		_, _ = w.Write(make([]byte, 1000))
		_ = http.NewResponseController(w).Flush()
		<-q.Context().Done() // the rest never comes
	}))
	ctx, cancel := context.WithCancel(t.Context())
	request, err := http.NewRequestWithContext(ctx, "GET", url, nil)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	response, err := transport.RoundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(response.Body, make([]byte, 1000)); err != nil {
		t.Fatal(err)
	}
	cancel()
	response.Body.Close()
	if got := r.bodies.Load(); got != 1000 {
		t.Errorf("counted %d bytes, want 1000", got)
	}
}

func TestRelayHandsRedirectsOn(t *testing.T) {
	r, url := relayed(t, http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		http.Redirect(w, q, "http://"+q.Host+"/elsewhere", http.StatusTemporaryRedirect)
	}))
	response, body := ask(t, "GET", url+"/x", "")
	if want := url + "/elsewhere"; response.StatusCode != 307 || response.Header.Get("Location") != want {
		t.Errorf("%s to %s, want %s", response.Status, response.Header.Get("Location"), want)
	}
	if got := r.bodies.Load(); got != int64(len(body)) {
		t.Errorf("counted %d, got %d", got, len(body))
	}
}

func TestRelayMainServesAndEnds(t *testing.T) {
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "hello") }))
	defer origin.Close()
	front, count := freeAddress(t), freeAddress(t)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- relayMain(ctx, origin.URL, front, count) }()
	for deadline := time.Now().Add(10 * time.Second); ; {
		conn, err := net.Dial("tcp", front)
		if err == nil {
			conn.Close()
			if conn, err = net.Dial("tcp", count); err == nil {
				conn.Close()
				break
			}
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
		time.Sleep(time.Millisecond)
	}
	if _, body := ask(t, "GET", "http://"+front+"/", ""); string(body) != "hello" {
		t.Errorf("body %q", body)
	}
	_, said := ask(t, "GET", "http://"+count+"/", "")
	var c counts
	if err := json.Unmarshal(said, &c); err != nil || c.Bodies != 5 || c.Requests != 1 {
		t.Errorf("counts %s: %v", said, err)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestRelayMainSaysThatAnAddressIsTaken(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	err = relayMain(t.Context(), "http://127.0.0.1:1", taken.Addr().String(), freeAddress(t))
	if err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("error %v", err)
	}
}

// freeAddress is an address at which nobody listens now.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
