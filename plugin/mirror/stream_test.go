package mirror

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/darter-p2p/darter/fetcher"
	"github.com/darter-p2p/darter/internal/config"
)

// serve runs a handler on loopback and returns its URL. A handler's panic with
// http.ErrAbortHandler is part of the door's contract, net/http takes it.
func serve(t *testing.T, h http.Handler) string {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	return srv.URL
}

func get(t *testing.T, url, byteRange string) (status int, body []byte, err error) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if byteRange != "" {
		r.Header.Set("Range", byteRange)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err = io.ReadAll(resp.Body)
	return resp.StatusCode, body, err
}

func TestBrokenBody(t *testing.T) {
	const size, sent = 1_000_000, 600_000
	for name, breaks := range map[string]func(context.Context, io.ReadCloser) io.ReadCloser{
		"error":     func(_ context.Context, r io.ReadCloser) io.ReadCloser { return &cut{r, sent, errSwarm} },
		"short":     func(_ context.Context, r io.ReadCloser) io.ReadCloser { return &cut{r, sent, io.EOF} },
		"no answer": func(ctx context.Context, r io.ReadCloser) io.ReadCloser { return &stuck{cut{r, sent, nil}, ctx} },
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake()
			data := bytes.Repeat([]byte("0123456789"), size/10)
			d := f.put(data)
			other := f.put(data[1:])
			f.wrap = breaks
			h := newHandler(t, f, func(c *Config) { c.StallTimeout = config.Duration(time.Second) })
			base := serve(t, h) + "/v2/a/blobs/"
			status, body, err := get(t, base+d.String(), "")
			if status != 200 || !errors.Is(err, io.ErrUnexpectedEOF) || len(body) > sent || !bytes.HasPrefix(data, body) {
				t.Fatalf("%d, %d bytes, %v; want a body that breaks", status, len(body), err)
			}
			if n := testutil.ToFloat64(h.metrics.brokenBodies); n != 1 {
				t.Errorf("%v broken bodies counted", n)
			}
			f.wrap = nil
			for _, offset := range []int{len(body), sent, 1} {
				if status, _, _ := get(t, base+d.String(), fmt.Sprintf("bytes=%d-", offset)); status != 503 {
					t.Errorf("resume at %d: %d, want 503", offset, status)
				}
			}
			if status, _, err := get(t, base+d.String(), fmt.Sprintf("bytes=%d-", sent+1)); status != 206 || err != nil {
				t.Errorf("a part beyond the break: %d, %v", status, err)
			}
			if status, body, err := get(t, base+d.String(), ""); status != 200 || err != nil || !bytes.Equal(body, data) {
				t.Errorf("a new start: %d, %v", status, err)
			}
			if status, _, err := get(t, base+other.String(), "bytes=5-"); status != 206 || err != nil {
				t.Errorf("another blob: %d, %v", status, err)
			}
		})
	}
}

func TestResumeIsRefusedForAWhileOnly(t *testing.T) {
	b := newBroken(time.Minute)
	k := brokenKey{"10.0.0.1", digest.FromString("x")}
	now := time.Unix(1000, 0)
	b.add(k, 100, 500, now)
	for _, tc := range []struct {
		k      brokenKey
		offset int64
		after  time.Duration
		want   bool
	}{
		{k, 500, 0, true},
		{k, 100, 59 * time.Second, true},
		{k, 99, 0, false},
		{k, 501, 0, false},
		{k, -5, 0, false},
		{brokenKey{"10.0.0.2", k.digest}, 500, 0, false},
		{brokenKey{k.client, digest.FromString("y")}, 500, 0, false},
		{k, 500, time.Minute, false},
	} {
		if got := b.resumes(tc.k, tc.offset, now.Add(tc.after)); got != tc.want {
			t.Errorf("%v at %d after %v: %v", tc.k, tc.offset, tc.after, got)
		}
	}
	for i := range 3 * maxBroken {
		b.add(brokenKey{fmt.Sprint(i), k.digest}, 0, 1, now.Add(time.Duration(i)*time.Millisecond))
		if len(b.bodies) > maxBroken {
			t.Fatalf("%d bodies remembered", len(b.bodies))
		}
	}
	if !b.resumes(brokenKey{fmt.Sprint(3*maxBroken - 1), k.digest}, 1, now.Add(4*time.Second)) {
		t.Error("the newest was forgotten first")
	}
}

// A client that closes an open-ended range after what it wanted is no failure.
func TestClientLeaves(t *testing.T) {
	f := newFake()
	d := f.put(make([]byte, 8<<20))
	left := make(chan struct{})
	f.wrap = func(ctx context.Context, r io.ReadCloser) io.ReadCloser {
		context.AfterFunc(ctx, func() { close(left) })
		return &stuck{cut{r, 1 << 20, nil}, ctx}
	}
	h := newHandler(t, f, nil)
	url := serve(t, h) + "/v2/a/blobs/" + d.String()
	ctx, cancel := context.WithCancel(t.Context())
	r, _ := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	r.Header.Set("Range", "bytes=0-")
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(resp.Body, make([]byte, 1000)); err != nil {
		t.Fatal(err)
	}
	cancel()
	resp.Body.Close()
	select {
	case <-left:
	case <-time.After(10 * time.Second):
		t.Fatal("the fetcher was not told that the client left")
	}
	f.wrap = nil
	if status, _, err := get(t, url, "bytes=1000-"); status != 206 || err != nil {
		t.Errorf("the next part: %d, %v", status, err)
	}
	if n := testutil.ToFloat64(h.metrics.brokenBodies); n != 0 {
		t.Errorf("%v broken bodies counted", n)
	}
}

// A slow client is not a stall of the fetcher.
func TestStallCountsWaitingOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, w := newWatch(t.Context(), time.Hour)
		defer w.end()
		data := &stuck{cut{io.NopCloser(bytes.NewReader(make([]byte, 30))), 30, nil}, ctx}
		r := watched{data, w, time.Second}
		p := make([]byte, 10)
		for range 3 {
			if _, err := r.Read(p); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Minute) // the client is slow
		}
		started := time.Now()
		if _, err := r.Read(p); err == nil || !errors.Is(context.Cause(ctx), errSlow) || w.clientGone() {
			t.Errorf("%v, cause %v", err, context.Cause(ctx))
		}
		if d := time.Since(started); d != time.Second {
			t.Errorf("cut after %v", d)
		}
	})
}

// file is a Body that is a file, as a complete task of the store is.
type file struct {
	*os.File
	n      int64
	direct *bool
}

func (f file) WriteTo(w io.Writer) (int64, error) {
	_, *f.direct = w.(io.ReaderFrom)
	return io.Copy(w, io.LimitReader(f.File, f.n))
}

// files serves a file.
type files struct {
	*fake
	path   string
	direct bool
}

func (f *files) Open(_ context.Context, _ fetcher.Content, r fetcher.Range) (*fetcher.Body, error) {
	fd, err := os.Open(f.path)
	if err != nil {
		return nil, err
	}
	info, err := fd.Stat()
	if err != nil {
		return nil, err
	}
	if _, err := fd.Seek(r.Offset, io.SeekStart); err != nil {
		return nil, err
	}
	n := info.Size() - r.Offset
	return &fetcher.Body{ReadCloser: file{fd, n, &f.direct}, Size: info.Size(), Offset: r.Offset, Length: n, From: "store"}, nil
}

func TestFileGoesOutDirectly(t *testing.T) {
	data := bytes.Repeat([]byte("0123456789"), 100_000)
	path := filepath.Join(t.TempDir(), "blob")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	f := &files{fake: newFake(), path: path}
	h := newHandler(t, f, nil)
	status, body, err := get(t, serve(t, h)+"/v2/a/blobs/"+digest.FromBytes(data).String(), "bytes=5-")
	if status != 206 || err != nil || !bytes.Equal(body, data[5:]) || !f.direct {
		t.Errorf("%d, %d bytes, %v, by ReaderFrom %v", status, len(body), err, f.direct)
	}
	if n := testutil.ToFloat64(h.metrics.bytes.WithLabelValues("store")); n != float64(len(data)-5) {
		t.Errorf("%v bytes counted", n)
	}
}
