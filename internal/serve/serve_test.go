package serve

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"go.uber.org/goleak"
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

// start serves h and returns the address, how to stop it, and how it ended.
func start(t *testing.T, h http.Handler, drain time.Duration) (url string, stop func(), ended <-chan error) {
	t.Helper()
	l := listen(t)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- HTTP(ctx, l, h, drain) }()
	return "http://" + l.Addr().String(), cancel, done
}

func get(url string) (string, error) {
	c := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	r, err := c.Get(url)
	if err != nil {
		return "", err
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	return string(b), err
}

func TestRequestsFinish(t *testing.T) {
	entered, finish := make(chan struct{}), make(chan struct{})
	url, stop, ended := start(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(entered)
		<-finish
		w.Write([]byte("whole"))
	}), time.Minute)
	body, fault := make(chan string, 1), make(chan error, 1)
	go func() {
		b, err := get(url)
		body <- b
		fault <- err
	}()
	<-entered
	stop()
	close(finish)
	if b, err := <-body, <-fault; b != "whole" || err != nil {
		t.Errorf("%q, %v", b, err)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if _, err := get(url); err == nil {
		t.Error("still serves")
	}
}

func TestHangingRequestsAreCut(t *testing.T) {
	entered := make(chan struct{})
	url, stop, ended := start(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(entered)
		<-r.Context().Done()
	}), time.Millisecond)
	fault := make(chan error, 1)
	go func() {
		_, err := get(url)
		fault <- err
	}()
	<-entered
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if <-fault == nil {
		t.Error("answered")
	}
}

func TestListenerFails(t *testing.T) {
	l := listen(t)
	l.Close()
	if err := HTTP(t.Context(), l, http.NotFoundHandler(), 0); !errors.Is(err, net.ErrClosed) {
		t.Fatal(err)
	}
}

func TestUnix(t *testing.T) {
	path := filepath.Join(t.TempDir(), "run", "s.sock")
	l, err := Unix(path, 0o660)
	if err != nil {
		t.Fatal(err)
	}
	if fi, err := os.Stat(path); err != nil || fi.Mode().Perm() != 0o660 {
		t.Errorf("%v, %v", fi.Mode(), err)
	}
	if _, err := Unix(path, 0o660); !errors.Is(err, errdefs.ErrAlreadyExists) {
		t.Errorf("a second listener: %v", err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false) // as after kill -9
	l.Close()
	if l, err = Unix(path, 0o600); err != nil {
		t.Fatalf("over a dead socket: %v", err)
	}
	l.Close()
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Unix(path, 0o600); !errors.Is(err, errdefs.ErrAlreadyExists) {
		t.Errorf("over a file: %v", err)
	}
}
