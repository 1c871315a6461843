package cluster

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/darter-p2p/darter/fetcher"
	"github.com/darter-p2p/darter/internal/pki"
)

// teller is a web server that gives one file from its beginning only, as programs that
// make their answers do: no ranges, and no length unless it says it.
type teller struct {
	*httptest.Server
	data   []byte
	etag   string
	length bool
	breaks int           // bytes after which every answer breaks off; 0 = none
	wait   chan struct{} // what comes after the first MiB waits for it; nil = no wait
	mu     sync.Mutex
	gets   int
	whole  int // requests for all of it; others ask for a byte and break off
	wasted int // bytes of those
}

func newTeller(t *testing.T, o *teller) *teller {
	o.Server = httptest.NewUnstartedServer(o)
	o.Config.ConnContext = func(ctx context.Context, conn net.Conn) context.Context {
		_ = conn.(*net.TCPConn).SetWriteBuffer(16 << 10) // so that what was written has left
		return ctx
	}
	o.Start()
	t.Cleanup(o.Close)
	return o
}

// ServeHTTP implements http.Handler.
func (s *teller) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	question := r.Header.Get("Range") != ""
	if s.gets++; !question {
		s.whole++
	}
	s.mu.Unlock()
	if s.etag != "" {
		w.Header().Set("ETag", s.etag)
	}
	w.Header().Set("Date", "Sat, 21 Nov 2026 20:00:05 GMT") // all ask in one moment
	if s.length {
		w.Header().Set("Content-Length", fmt.Sprint(len(s.data)))
	}
	end := len(s.data)
	if s.breaks > 0 {
		end = s.breaks
	}
	flush := http.NewResponseController(w).Flush
	for at := 0; at < end; {
		n := min(end-at, 16<<10)
		if _, err := w.Write(s.data[at : at+n]); err != nil {
			return
		}
		if question {
			s.mu.Lock()
			s.wasted += n
			s.mu.Unlock()
		}
		if err := flush(); err != nil {
			return
		}
		if at += n; at == 1<<20 && s.wait != nil {
			select {
			case <-s.wait:
			case <-r.Context().Done():
				return
			}
		}
		if r.Context().Err() != nil {
			return
		}
	}
	if s.breaks > 0 {
		panic(http.ErrAbortHandler)
	}
}

func (s *teller) count() (gets, whole int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.gets, s.whole
}

// Eight nodes read a content of unknown size, or one that nothing identifies: the origin
// sends it once.
func TestSerialShared(t *testing.T) {
	c := New(t)
	c.Start(pki.Seed, "seed", Options{})
	var nodes []*Node
	for i := range 8 {
		nodes = append(nodes, c.Start(pki.Node, fmt.Sprint("n", i), Options{}))
	}
	data := newData(2<<20 + 77)
	for name, s := range map[string]*teller{
		"unknown size":           {etag: `"1"`},
		"unknown size, nameless": {},
		"no ranges, nameless":    {length: true},
	} {
		s.data = data
		newTeller(t, s)
		var wg sync.WaitGroup
		for _, n := range nodes {
			wg.Go(func() {
				got, body, err := readURL(t, n, fetcher.URL{URL: s.URL + "/f"}, fetcher.All)
				if err != nil || !bytes.Equal(got, data) || body.From != "swarm" || body.Digest() != digest.FromBytes(data) {
					t.Errorf("%s: %s: %d bytes, %v, %+v", name, n.ID, len(got), err, body)
				}
				if body != nil && s.length && body.Size != int64(len(data)) {
					t.Errorf("%s: %s: size %d", name, n.ID, body.Size)
				}
			})
		}
		wg.Wait()
		if gets, whole := s.count(); whole != 1 {
			t.Errorf("%s: the origin sent it %d times (%d requests)", name, whole, gets)
		} else {
			t.Logf("%s: %d requests, 1 for the whole; %d bytes went out for questions", name, gets, s.wasted)
		}
	}
}

// newData returns n bytes.
func newData(n int) []byte {
	data := make([]byte, n)
	for i := range data {
		data[i] = byte(i ^ i>>8 ^ i>>16)
	}
	return data
}

// What comes travels before the end is there.
func TestSerialStreams(t *testing.T) {
	c := New(t)
	s := newTeller(t, &teller{data: newData(3 << 20), wait: make(chan struct{})})
	c.Start(pki.Seed, "seed", Options{})
	n := c.Start(pki.Node, "n", Options{})
	body, err := n.Fetcher.OpenURL(patience(t), fetcher.URL{URL: s.URL + "/f"}, fetcher.All)
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	got := make([]byte, 1<<20)
	if _, err := io.ReadFull(body, got); err != nil || body.Digest() != "" {
		t.Fatalf("%v, %s", err, body.Digest())
	}
	close(s.wait)
	rest, err := io.ReadAll(body)
	if err != nil || !bytes.Equal(got, s.data[:len(got)]) || !bytes.Equal(rest, s.data[len(got):]) {
		t.Errorf("%d bytes, %v", len(got)+len(rest), err)
	}
}

// An origin that breaks off is an error to all who read, and nobody asks it again for it.
func TestSerialBreaksOff(t *testing.T) {
	c := New(t)
	s := newTeller(t, &teller{data: newData(6 << 20), breaks: 3 << 20, wait: make(chan struct{})})
	c.Start(pki.Seed, "seed", Options{})
	var bodies []*fetcher.Body
	for i := range 4 { // all have the beginning before it breaks
		n := c.Start(pki.Node, fmt.Sprint("n", i), Options{})
		body, err := n.Fetcher.OpenURL(patience(t), fetcher.URL{URL: s.URL + "/f"}, fetcher.All)
		if err != nil {
			t.Fatal(err)
		}
		defer body.Close()
		bodies = append(bodies, body)
	}
	close(s.wait)
	for i, body := range bodies {
		if got, err := io.ReadAll(body); err == nil || !bytes.HasPrefix(s.data, got) {
			t.Errorf("n%d: %d bytes, %v", i, len(got), err)
		}
	}
	if gets, whole := s.count(); whole != 1 {
		t.Errorf("the origin was read %d times (%d requests)", whole, gets)
	}
}
