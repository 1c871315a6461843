package containerd

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/darter-p2p/darter/integration/lab"
)

// liarPort is where a liar listens on its host.
const liarPort = 5001

// liar is a registry that passes on what the real one says, but changes one byte
// in the middle of every large blob, whichever range of it is asked for.
type liar struct {
	Addr string
	lies atomic.Int64 // answers whose bytes were changed
}

// smallestLie is the size of the smallest blob that a liar changes. Configs and
// manifests stay right.
const smallestLie = 64 << 10

// startLiar makes the host a liar in front of the registry until the test ends.
func startLiar(t *testing.T, host *lab.Host, registry *lab.Registry) *liar {
	t.Helper()
	listener, err := host.Listen(liarPort)
	if err != nil {
		t.Fatal(err)
	}
	l := &liar{Addr: host.HostPort(liarPort)}
	transport := host.Transport()
	server := &http.Server{
		ReadHeaderTimeout: 10 * time.Second,
		Handler: &httputil.ReverseProxy{
			Transport:      transport,
			Rewrite:        func(r *httputil.ProxyRequest) { r.SetURL(&url.URL{Scheme: "http", Host: registry.Addr}) },
			ModifyResponse: l.change,
			ErrorHandler:   func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) },
		},
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("liar: %v", err)
		}
	}()
	t.Cleanup(func() {
		_ = server.Close() // connections that are in use may complain
		<-ended
		transport.CloseIdleConnections()
	})
	return l
}

// change puts a lie into an answer that holds the middle of a large blob.
func (l *liar) change(response *http.Response) error {
	request := response.Request
	if request.Method != http.MethodGet || !strings.Contains(request.URL.Path, "/blobs/sha256:") || response.StatusCode >= 300 {
		return nil
	}
	start, size := int64(0), response.ContentLength
	if response.StatusCode == http.StatusPartialContent {
		// bytes <first>-<last>/<size>
		var err error
		start, size, err = contentRange(response.Header.Get("Content-Range"))
		if err != nil {
			return err
		}
	}
	at := size/2 - start
	if size < smallestLie || at < 0 || at >= response.ContentLength {
		return nil
	}
	l.lies.Add(1)
	response.Body = &changedBody{ReadCloser: response.Body, at: at}
	return nil
}

// contentRange reads the first byte and the whole size of a Content-Range.
func contentRange(header string) (start, size int64, err error) {
	rest, ok := strings.CutPrefix(header, "bytes ")
	span, whole, ok2 := strings.Cut(rest, "/")
	first, _, ok3 := strings.Cut(span, "-")
	if !ok || !ok2 || !ok3 {
		return 0, 0, errors.New("Content-Range " + header)
	}
	start, err = strconv.ParseInt(first, 10, 64)
	if err != nil {
		return 0, 0, err
	}
	size, err = strconv.ParseInt(whole, 10, 64)
	return start, size, err
}

// changedBody flips the bits of the byte at a position.
type changedBody struct {
	io.ReadCloser
	at int64 // how many bytes before it
}

func (c *changedBody) Read(b []byte) (int, error) {
	n, err := c.ReadCloser.Read(b)
	if c.at >= 0 && c.at < int64(n) {
		b[c.at] ^= 0xff
	}
	c.at -= int64(n)
	return n, err
}

// TestLiarIsCaught shows that the liar lies, and what containerd alone makes of it.
func TestLiarIsCaught(t *testing.T) {
	s := newStage(t, stageOptions{nodes: 1})
	l := startLiar(t, s.addHost(t, "liar"), s.registry)
	node := s.nodes[0]
	if err := node.UseMirror(l.Addr, ""); err != nil {
		t.Fatal(err)
	}
	ref := strings.Replace(s.image.Ref, s.registry.Addr, l.Addr, 1)
	err := node.Pull(t.Context(), lab.Ctr, ref)
	if err == nil || !strings.Contains(err.Error(), "digest") {
		t.Errorf("the pull from the liar ended with: %v", err)
	}
	if l.lies.Load() == 0 {
		t.Error("the liar did not lie")
	}
	if has := nodeHas(t.Context(), node, s.image, "layer"); has == s.image.Layers {
		t.Error("containerd kept every layer of the liar's")
	}
	// Until its next garbage collection containerd resumes what it fetched of the
	// failed pull, lies and all, and a blob that is whole and wrong fails every pull.
	if err := node.Collect(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := node.Pull(t.Context(), lab.Ctr, s.image.Ref); err != nil {
		t.Fatalf("the pull from the registry itself: %v", err)
	}
	if err := node.Verify(t.Context(), lab.Ctr, s.image); err != nil {
		t.Error(err)
	}
}

// nodeHas counts the blobs of a kind that the node's containerd has, right or wrong.
func nodeHas(ctx context.Context, node *lab.Containerd, i lab.Image, kind string) int {
	n := 0
	for _, blob := range i.Blobs {
		if blob.Kind != kind {
			continue
		}
		if _, err := node.Ctr(ctx, "content", "get", blob.Digest.String()); err == nil {
			n++
		}
	}
	return n
}
