package client

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// server answers at a Unix socket.
func server(t *testing.T, h http.HandlerFunc) *Client {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	s := &httptest.Server{Listener: l, Config: &http.Server{Handler: h}}
	s.Start()
	t.Cleanup(s.Close)
	c := New(path)
	t.Cleanup(c.Close)
	return c
}

func good() Request {
	return Request{
		ID: "a-1", Bootstrap: "/b/image.boot", Mountpoint: "/m", Registry: "docker.io", Repository: "library/x",
		Blobs: []digest.Digest{digest.FromString("x")},
	}
}

func TestMount(t *testing.T) {
	var got Request
	c := server(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPut || r.URL.Path != MountsPath+"/a-1" {
			t.Errorf("%s %s", r.Method, r.URL.Path)
		}
		if err := json.NewDecoder(r.Body).Decode(&got); err != nil {
			t.Error(err)
		}
		w.WriteHeader(http.StatusNoContent)
	})
	if err := c.Mount(t.Context(), good()); err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(got) != fmt.Sprint(good()) {
		t.Errorf("the server got %v", got)
	}
}

func TestRequestsThatCannotBeRight(t *testing.T) {
	for name, change := range map[string]func(*Request){
		"no id":               func(r *Request) { r.ID = "" },
		"an id with a slash":  func(r *Request) { r.ID = "a/b" },
		"an id of dots":       func(r *Request) { r.ID = ".." },
		"a relative path":     func(r *Request) { r.Bootstrap = "x" },
		"an unclean path":     func(r *Request) { r.Mountpoint = "/a/../b" },
		"no registry":         func(r *Request) { r.Registry = "" },
		"a digest of nothing": func(r *Request) { r.Blobs = []digest.Digest{"sha256:12"} },
		"too many blobs":      func(r *Request) { r.Blobs = make([]digest.Digest, maxBlobs+1) },
	} {
		t.Run(name, func(t *testing.T) {
			r := good()
			change(&r)
			if err := r.Validate(); !errdefs.IsInvalidArgument(err) {
				t.Error(err)
			}
		})
	}
}

// Every class of errors arrives as it was sent, with the server's words.
func TestErrorClasses(t *testing.T) {
	for _, tc := range classes {
		c := server(t, func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(StatusOf(fmt.Errorf("x: %w", tc.class)))
			_ = json.NewEncoder(w).Encode(Refusal{Message: "in words"})
		})
		err := c.Unmount(t.Context(), "a")
		if StatusOf(err) != tc.status || !strings.Contains(err.Error(), "in words") {
			t.Errorf("%v became %v", tc.class, err)
		}
	}
}

func TestNobodyAnswers(t *testing.T) {
	c := New(filepath.Join(t.TempDir(), "none"))
	defer c.Close()
	if _, err := c.List(t.Context()); !errdefs.IsUnavailable(err) {
		t.Error(err)
	}
}
