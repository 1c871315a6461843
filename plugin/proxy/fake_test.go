package proxy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	"go.uber.org/goleak"

	"github.com/darter-p2p/darter/fetcher"
	"github.com/darter-p2p/darter/fetcher/upstream"
	"github.com/darter-p2p/darter/internal/config"
	"github.com/darter-p2p/darter/internal/health"
	"github.com/darter-p2p/darter/plugin/mirror"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// network is a fetcher in memory.
type network struct {
	mu      sync.Mutex
	blobs   map[digest.Digest][]byte
	urls    map[string][]byte
	err     error
	hang    chan struct{}    // calls wait for it, or for their ctx; nil = they do not
	asking  chan struct{}    // gets one for each call that waits
	body    func() io.Reader // instead of the blob's bytes
	asked   []fetcher.Content
	ranges  []fetcher.Range
	askedBy []fetcher.URL
}

func newNetwork() *network {
	return &network{blobs: map[digest.Digest][]byte{}, urls: map[string][]byte{}, asking: make(chan struct{}, 100)}
}

func (n *network) put(b []byte) digest.Digest {
	d := digest.FromBytes(b)
	n.blobs[d] = b
	return d
}

func (n *network) wait(ctx context.Context) error {
	if n.hang == nil {
		return n.err
	}
	n.asking <- struct{}{}
	select {
	case <-n.hang:
		return n.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (n *network) Open(ctx context.Context, c fetcher.Content, r fetcher.Range) (*fetcher.Body, error) {
	n.mu.Lock()
	n.asked, n.ranges = append(n.asked, c), append(n.ranges, r)
	n.mu.Unlock()
	if err := n.wait(ctx); err != nil {
		return nil, err
	}
	b, ok := n.blobs[c.Digest]
	if !ok {
		return nil, fmt.Errorf("no such blob: %w", errdefs.ErrNotFound)
	}
	return n.bodyOf(ctx, b, r)
}

func (n *network) bodyOf(ctx context.Context, b []byte, r fetcher.Range) (*fetcher.Body, error) {
	size := int64(len(b))
	off, length := r.Offset, r.Length
	if off < 0 {
		off, length = max(0, size+off), -1
	}
	if off >= size {
		return nil, errdefs.ErrOutOfRange
	}
	if length < 0 || length > size-off {
		length = size - off
	}
	var from io.Reader = bytes.NewReader(b[off : off+length])
	if n.body != nil {
		from = n.body()
	}
	return &fetcher.Body{ReadCloser: io.NopCloser(until{ctx, from}), Size: size, Offset: off, Length: length, From: "swarm"}, nil
}

// until fails with its ctx, as bodies of a fetcher do.
type until struct {
	ctx context.Context
	r   io.Reader
}

func (u until) Read(p []byte) (int, error) {
	n, err := u.r.Read(p)
	if errors.Is(err, errStuck) {
		<-u.ctx.Done()
		return n, u.ctx.Err()
	}
	return n, err
}

var errStuck = errors.New("nothing comes any more")

type stuckReader struct{}

func (stuckReader) Read([]byte) (int, error) { return 0, errStuck }

func (n *network) Stat(ctx context.Context, c fetcher.Content) (fetcher.Descriptor, error) {
	if err := n.wait(ctx); err != nil {
		return fetcher.Descriptor{}, err
	}
	b, ok := n.blobs[c.Digest]
	if !ok {
		return fetcher.Descriptor{}, errdefs.ErrNotFound
	}
	return fetcher.Descriptor{Digest: c.Digest, Size: int64(len(b))}, nil
}

func (n *network) Resolve(context.Context, fetcher.Content, string) (fetcher.Descriptor, error) {
	return fetcher.Descriptor{}, errdefs.ErrNotFound
}

func (n *network) OpenURL(ctx context.Context, u fetcher.URL, r fetcher.Range) (*fetcher.Body, error) {
	n.mu.Lock()
	n.askedBy = append(n.askedBy, u)
	n.mu.Unlock()
	b, ok := n.urls[u.URL]
	if !ok {
		return nil, errdefs.ErrNotFound
	}
	return n.bodyOf(ctx, b, r)
}

// door is a proxy that listens, and a client that uses it.
type door struct {
	*network
	handler *Handler
	client  *http.Client
	addr    string
	health  *health.Health
}

const patience = 100 * time.Millisecond

func newDoor(t *testing.T, change func(*Config), lists upstream.Config) *door {
	t.Helper()
	d := &door{network: newNetwork(), health: &health.Health{}}
	answer := mirror.Default()
	answer.LazyTimeout = config.Duration(patience)
	m, err := mirror.New(d.network, answer, mirror.Options{Instance: "node-1"})
	if err != nil {
		t.Fatal(err)
	}
	policy, err := upstream.New(lists)
	if err != nil {
		t.Fatal(err)
	}
	c := Default()
	if change != nil {
		change(&c)
	}
	d.handler, err = New(c, Options{Mirror: m, Files: d.network, Health: d.health, Policy: policy, Patience: patience})
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(d.handler)
	d.addr = s.Listener.Addr().String()
	proxyURL, _ := url.Parse(s.URL)
	tr := &http.Transport{Proxy: http.ProxyURL(proxyURL), DisableCompression: true}
	d.client = &http.Client{Transport: tr}
	t.Cleanup(func() {
		tr.CloseIdleConnections()
		d.handler.Close()
		s.Close()
	})
	return d
}

// do sends a request through the proxy.
func (d *door) do(t *testing.T, method, target string, header ...string) (*http.Response, string) {
	t.Helper()
	resp, body, err := d.try(method, target, header...)
	if err != nil {
		t.Fatal(err)
	}
	return resp, body
}

func (d *door) try(method, target string, header ...string) (*http.Response, string, error) {
	r, err := http.NewRequest(method, target, nil)
	if err != nil {
		return nil, "", err
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	resp, err := d.client.Do(r)
	if err != nil {
		return nil, "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return resp, string(b), err
}
