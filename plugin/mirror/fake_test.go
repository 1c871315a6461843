package mirror

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	"go.uber.org/goleak"

	"github.com/darter-p2p/darter/fetcher"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fake is a Fetcher in memory that fails on command.
type fake struct {
	mu       sync.Mutex
	contents map[digest.Digest][]byte
	types    map[digest.Digest]string
	tags     map[string]fetcher.Descriptor // by registry/repository:tag
	err      error                         // of every call
	hang     bool                          // every call waits for its ctx
	wrap     func(context.Context, io.ReadCloser) io.ReadCloser
	asked    []fetcher.Content
	ranges   []fetcher.Range
	closed   int
}

func newFake() *fake {
	return &fake{
		contents: map[digest.Digest][]byte{}, types: map[digest.Digest]string{}, tags: map[string]fetcher.Descriptor{},
	}
}

func (f *fake) put(data []byte) digest.Digest {
	d := digest.FromBytes(data)
	f.contents[d] = data
	return d
}

func (f *fake) begin(ctx context.Context, c fetcher.Content) error {
	f.mu.Lock()
	f.asked = append(f.asked, c)
	f.mu.Unlock()
	if f.hang {
		<-ctx.Done()
		return ctx.Err()
	}
	return f.err
}

// last is what was asked for last.
func (f *fake) last() fetcher.Content {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.asked) == 0 {
		return fetcher.Content{}
	}
	return f.asked[len(f.asked)-1]
}

func (f *fake) Open(ctx context.Context, c fetcher.Content, r fetcher.Range) (*fetcher.Body, error) {
	f.mu.Lock()
	f.ranges = append(f.ranges, r)
	f.mu.Unlock()
	if err := f.begin(ctx, c); err != nil {
		return nil, err
	}
	data, ok := f.contents[c.Digest]
	if !ok {
		return nil, fmt.Errorf("no such content: %w", errdefs.ErrNotFound)
	}
	size := int64(len(data))
	offset, length := r.Offset, r.Length
	if offset < 0 {
		offset, length = max(size+offset, 0), -1
	}
	if offset > size || offset == size && r != fetcher.All {
		return nil, errdefs.ErrOutOfRange
	}
	if length < 0 || length > size-offset {
		length = size - offset
	}
	rc := io.NopCloser(struct{ io.Reader }{bytes.NewReader(data[offset : offset+length])})
	if f.wrap != nil {
		rc = f.wrap(ctx, rc)
	}
	return &fetcher.Body{
		ReadCloser: &counted{rc, f}, Size: size, Offset: offset, Length: length, MediaType: f.types[c.Digest], From: "swarm",
	}, nil
}

func (f *fake) Stat(ctx context.Context, c fetcher.Content) (fetcher.Descriptor, error) {
	if err := f.begin(ctx, c); err != nil {
		return fetcher.Descriptor{}, err
	}
	data, ok := f.contents[c.Digest]
	if !ok {
		return fetcher.Descriptor{}, fmt.Errorf("no such content: %w", errdefs.ErrNotFound)
	}
	return fetcher.Descriptor{Digest: c.Digest, Size: int64(len(data)), MediaType: f.types[c.Digest]}, nil
}

func (f *fake) Resolve(ctx context.Context, c fetcher.Content, tag string) (fetcher.Descriptor, error) {
	if err := f.begin(ctx, c); err != nil {
		return fetcher.Descriptor{}, err
	}
	d, ok := f.tags[c.Registry+"/"+c.Repository+":"+tag]
	if !ok {
		return d, fmt.Errorf("no such tag: %w", errdefs.ErrNotFound)
	}
	return d, nil
}

// counted counts the closing of bodies.
type counted struct {
	io.ReadCloser
	f *fake
}

func (c *counted) Close() error {
	c.f.mu.Lock()
	defer c.f.mu.Unlock()
	c.f.closed++
	return c.ReadCloser.Close()
}

// cut is a body that fails after some bytes.
type cut struct {
	io.ReadCloser
	left int
	err  error
}

var errSwarm = errors.New("every neighbour is gone")

func (c *cut) Read(p []byte) (int, error) {
	if c.left == 0 {
		return 0, c.err
	}
	n, err := c.ReadCloser.Read(p[:min(len(p), c.left)])
	c.left -= n
	return n, err
}

// stuck is a body that gives some bytes and then waits for its ctx.
type stuck struct {
	cut
	ctx context.Context
}

func (s *stuck) Read(p []byte) (int, error) {
	if s.left == 0 {
		<-s.ctx.Done()
		return 0, s.ctx.Err()
	}
	return s.cut.Read(p)
}

func newHandler(t *testing.T, f fetcher.Fetcher, change func(*Config)) *Handler {
	t.Helper()
	c := Default()
	if change != nil {
		change(&c)
	}
	h, err := New(f, c, Options{Instance: "prod/node-1"})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// do makes a request without a socket.
func do(h http.Handler, method, target string, header ...string) *http.Response {
	r := httptest.NewRequest(method, target, nil)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}

func bodyOf(t *testing.T, resp *http.Response) string {
	t.Helper()
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
