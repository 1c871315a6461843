package proxy

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/darter-p2p/darter/fetcher"
	"github.com/darter-p2p/darter/fetcher/source"
	"github.com/darter-p2p/darter/fetcher/upstream"
)

// onDemand and prefetch are the headers that nydusd 2.4.3 sends through a proxy.
var (
	onDemand = []string{"User-Agent", "nydusd/1.0.0", "X-Dragonfly-Priority", "6", "X-Dragonfly-Use-P2P", "true", "X-Dragonfly-Prefetch", "true"}
	ahead    = []string{"User-Agent", "nydusd/1.0.0", "X-Dragonfly-Priority", "3", "X-Dragonfly-Use-P2P", "true", "X-Dragonfly-Prefetch", "true"}
)

func with(header []string, more ...string) []string {
	return append(append([]string{}, header...), more...)
}

// What nydusd asks for, in the order of a mount: the blob's size, the chunk table at its
// end, chunks, and with stream_prefetch the whole and the rest.
func TestReadsOfNydusd(t *testing.T) {
	d := newDoor(t, nil, upstream.Config{})
	blob := bytes.Repeat([]byte("0123456789abcdef"), 1000)
	target := "http://ghcr.io/v2/org/app/blobs/" + d.put(blob).String()
	for _, test := range []struct {
		method, ranges string
		status         int
		header, body   string
		asked          fetcher.Range
	}{
		{"HEAD", "", 200, "", "", fetcher.Range{}},
		{"GET", "bytes=15000-15999", 206, "bytes 15000-15999/16000", string(blob[15000:]), fetcher.Range{Offset: 15000, Length: 1000}},
		{"GET", "bytes=5-5", 206, "bytes 5-5/16000", "5", fetcher.Range{Offset: 5, Length: 1}},
		{"GET", "bytes=4096-8191", 206, "bytes 4096-8191/16000", string(blob[4096:8192]), fetcher.Range{Offset: 4096, Length: 4096}},
		{"GET", "", 200, "", string(blob), fetcher.All},
		{"GET", "bytes=8000-", 206, "bytes 8000-15999/16000", string(blob[8000:]), fetcher.Range{Offset: 8000, Length: -1}},
		{"GET", "bytes=16000-16001", 416, "bytes */16000", "*", fetcher.Range{Offset: 16000, Length: 2}},
	} {
		t.Run(test.method+" "+test.ranges, func(t *testing.T) {
			header := onDemand
			if test.ranges != "" {
				header = with(onDemand, "Range", test.ranges)
			}
			resp, body := d.do(t, test.method, target, header...)
			if resp.StatusCode != test.status || resp.Header.Get("Content-Range") != test.header || test.body != "*" && body != test.body {
				t.Fatalf("%d %q, %d bytes; want %d %q, %d bytes", resp.StatusCode, resp.Header.Get("Content-Range"), len(body), test.status, test.header, len(test.body))
			}
			if test.method == http.MethodHead {
				if resp.ContentLength != 16000 {
					t.Fatalf("the size is %d", resp.ContentLength)
				}
				return
			}
			if test.status < 400 && resp.ContentLength != int64(len(test.body)) {
				t.Errorf("Content-Length is %d, want %d", resp.ContentLength, len(test.body))
			}
			// The hint to prefetch makes no read any longer.
			if got := d.ranges[len(d.ranges)-1]; got != test.asked {
				t.Errorf("the fetcher was asked for %+v, want %+v", got, test.asked)
			}
		})
	}
	for _, c := range d.asked {
		if c.Registry != "ghcr.io" || c.Repository != "org/app" || c.Header.Get("User-Agent") != "nydusd/1.0.0" || !c.Urgent {
			t.Errorf("the fetcher was asked for %+v", c)
		}
	}
}

// nydusd gets tokens itself, beside the proxy, for which it needs the challenge.
func TestChallengeIsPassedOn(t *testing.T) {
	d := newDoor(t, nil, upstream.Config{})
	target := "http://ghcr.io/v2/org/app/blobs/" + d.put([]byte("x")).String()
	const challenge = `Bearer realm="https://ghcr.io/token",service="ghcr.io",scope="repository:org/app:pull"`
	d.err = &source.Error{Status: 401, Header: http.Header{"Www-Authenticate": {challenge}}}
	resp, _ := d.do(t, "GET", target, onDemand...)
	if resp.StatusCode != 401 || resp.Header.Get("WWW-Authenticate") != challenge || resp.Header.Get("X-Dragonfly-Error-Type") != "backend" {
		t.Fatalf("%d %v", resp.StatusCode, resp.Header)
	}
	d.err = nil
	d.do(t, "GET", target, with(onDemand, "Authorization", "Bearer t")...)
	if got := d.asked[len(d.asked)-1].Header.Get("Authorization"); got != "Bearer t" {
		t.Fatalf("the fetcher got the credential %q", got)
	}
}

// A request ends before nydusd's 5 s do: with an error that has it go to the origin, or
// with a body that is visibly cut.
func TestAnswersInTime(t *testing.T) {
	d := newDoor(t, nil, upstream.Config{})
	target := "http://ghcr.io/v2/org/app/blobs/" + d.put(make([]byte, 1000)).String()
	d.hang = make(chan struct{}) // never closed
	resp, _ := d.do(t, "GET", target, with(onDemand, "Range", "bytes=0-9")...)
	if resp.StatusCode != 503 || resp.Header.Get("X-Dragonfly-Error-Type") != "proxy" {
		t.Fatalf("%d %v", resp.StatusCode, resp.Header)
	}
	d.hang = nil
	d.body = func() io.Reader { return io.MultiReader(strings.NewReader("some"), stuckReader{}) }
	if _, body, err := d.try("GET", target, onDemand...); err == nil {
		t.Fatalf("a body that stalls was given as whole: %q", body)
	}
}

// Prefetches beyond their slots are refused as nydusd understands it; who waits for
// bytes is not among them.
func TestPrefetchIsBounded(t *testing.T) {
	d := newDoor(t, func(c *Config) { c.PrefetchSlots = 1 }, upstream.Config{})
	d.hang = make(chan struct{})
	target := "http://ghcr.io/v2/org/app/blobs/" + d.put(make([]byte, 1000)).String()
	d.handler.prefetch <- struct{}{} // the slot is taken
	resp, _ := d.do(t, "GET", target, with(ahead, "Range", "bytes=0-9")...)
	if resp.StatusCode != 429 || resp.Header.Get("X-Dragonfly-Error-Type") != "proxy" || resp.Header.Get("Retry-After") == "" {
		t.Fatalf("%d %v", resp.StatusCode, resp.Header)
	}
	close(d.hang)
	if resp, _ := d.do(t, "GET", target, with(onDemand, "Range", "bytes=0-9")...); resp.StatusCode != 206 {
		t.Fatalf("on demand: %d", resp.StatusCode)
	}
	<-d.handler.prefetch
	for i := range 3 { // a slot is given back
		if resp, _ := d.do(t, "GET", target, with(ahead, "Range", fmt.Sprintf("bytes=%d-9", i))...); resp.StatusCode != 206 {
			t.Fatalf("prefetch: %d", resp.StatusCode)
		}
		if c := d.asked[len(d.asked)-1]; !c.Background || c.Urgent {
			t.Errorf("a prefetch is asked for as %+v", c)
		}
	}
}

func TestPing(t *testing.T) {
	d := newDoor(t, nil, upstream.Config{})
	for _, path := range []string{"/", "/healthz", "/healthy", "/server/ping"} {
		for status, set := range map[int]func(){503: func() { d.health.NotReady("starting") }, 200: d.health.Ready} {
			set()
			resp, err := http.Get("http://" + d.addr + path)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if resp.StatusCode != status {
				t.Errorf("%s: %d, want %d", path, resp.StatusCode, status)
			}
		}
	}
	http.DefaultClient.CloseIdleConnections()
}
