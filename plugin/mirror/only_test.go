package mirror

import (
	"net/http"
	"testing"
	"time"

	"github.com/darter-p2p/darter/fetcher/source"
	"github.com/darter-p2p/darter/internal/config"
)

// nydus-snapshotter's mirrors send plain requests: no ns, no header, the mirror's host.
func TestDoorOfOneRegistry(t *testing.T) {
	f := newFake()
	d := f.put([]byte("a chunk"))
	h := newHandler(t, f, func(c *Config) { c.LazyTimeout = config.Duration(50 * time.Millisecond) })
	one, err := h.Only("GHCR.io")
	if err != nil {
		t.Fatal(err)
	}
	resp := do(one, "GET", "http://127.0.0.1:65010/v2/org/app/blobs/"+d.String(), "Range", "bytes=2-6", "User-Agent", "nydusd/1.0.0")
	if resp.StatusCode != http.StatusPartialContent || bodyOf(t, resp) != "chunk" || f.last().Registry != "ghcr.io" {
		t.Errorf("%d of %q", resp.StatusCode, f.last().Registry)
	}
	// What a client names otherwise does not count.
	do(one, "GET", "http://127.0.0.1:65010/v2/org/app/blobs/"+d.String()+"?ns=evil.example", "X-Dragonfly-Registry", "https://evil.example")
	if f.last().Registry != "ghcr.io" {
		t.Errorf("asked %q", f.last().Registry)
	}
	if resp := do(one, "GET", "http://127.0.0.1:65010/v2/"); resp.StatusCode != http.StatusOK {
		t.Errorf("ping: %d", resp.StatusCode)
	}
	// The other door is as before, and shares what broke.
	if do(h, "GET", "/v2/library/nginx/blobs/"+d.String()); f.last().Registry != "docker.io" {
		t.Errorf("asked %q", f.last().Registry)
	}
	if one.broken != h.broken || one.buffers != h.buffers {
		t.Error("the doors do not share what they should")
	}

	f.hang = true
	resp = do(one, "GET", "http://127.0.0.1:65010/v2/org/app/blobs/"+d.String())
	if resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get(errorTypeHeader) != "proxy" {
		t.Errorf("nobody answers: %d %q", resp.StatusCode, resp.Header.Get(errorTypeHeader))
	}
	f.hang, f.err = false, &source.Error{Status: http.StatusNotFound}
	resp = do(one, "GET", "http://127.0.0.1:65010/v2/org/app/blobs/"+d.String())
	if resp.StatusCode != http.StatusNotFound || resp.Header.Get(errorTypeHeader) != "backend" {
		t.Errorf("the registry has none: %d %q", resp.StatusCode, resp.Header.Get(errorTypeHeader))
	}

	if _, err := h.Only("no host"); err == nil {
		t.Error("a door of no host")
	}
}
