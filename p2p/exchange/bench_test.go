package exchange

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"syscall"
	"testing"
	"time"

	"github.com/darter-p2p/darter/p2p"
)

// BenchmarkPieces reads pieces over one connection on loopback, both ends in this
// process, two requests outstanding: exchange by sendfile, exchange from memory, with
// TLS, and HTTP/1.1 ranges of the same file beside it (http.ServeContent, sendfile
// too). cpu-s/GB is user and system time of both ends.
func BenchmarkPieces(b *testing.B) {
	for _, length := range []int64{256 << 10, 1 << 20} {
		f := file(b, content(64<<20))
		pieces := (64 << 20) / length
		name := fmt.Sprintf("%dKiB", length>>10)
		inFile := func(_ p2p.HostID, q Request) Answer {
			return Answer{Piece: q.First, File: f, Start: int64(q.First) * length, Length: length}
		}
		inMemory := bytes.NewReader(content(64 << 20))
		b.Run("exchange/sendfile/"+name, func(b *testing.B) { benchExchange(b, length, pieces, false, inFile) })
		b.Run("http/"+name, func(b *testing.B) { benchHTTP(b, length, pieces, f.Name()) })
		b.Run("exchange/memory/"+name, func(b *testing.B) {
			benchExchange(b, length, pieces, false, func(_ p2p.HostID, q Request) Answer {
				return Answer{Piece: q.First, Reader: inMemory, Start: int64(q.First) * length, Length: length}
			})
		})
		b.Run("exchange/tls/"+name, func(b *testing.B) { benchExchange(b, length, pieces, true, inFile) })
	}
}

func benchExchange(b *testing.B, length, pieces int64, tls bool, serve func(p2p.HostID, Request) Answer) {
	c := newCluster(b, nil)
	asker, server := c.host("a"), c.host("b", func(cfg *Config) { cfg.TLSData = tls })
	defer asker.stop()
	defer server.stop()
	server.serve = serve
	s := asker.stream(b, server)
	buf := make([]byte, copyLen)
	sent := 0
	next := func() {
		mustSend(b, s, Request{ID: uint32(sent), Task: task("a"), First: p2p.Piece(int64(sent) % pieces), Count: 1})
		sent++
	}
	next()
	measure(b, length, func() {
		next()
		r, body, err := s.Next()
		if err != nil || int64(r.Length) != length {
			b.Fatalf("%+v, %v", r, err)
		}
		discard(b, body, buf)
	})
}

func benchHTTP(b *testing.B, length, pieces int64, path string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, path) })}
	done := make(chan struct{})
	go func() { defer close(done); _ = srv.Serve(l) }()
	client := &http.Client{Transport: &http.Transport{DisableCompression: true, ReadBufferSize: copyLen}}
	defer func() { client.CloseIdleConnections(); _ = srv.Close(); <-done }()
	buf := make([]byte, copyLen)
	n := int64(0)
	measure(b, length, func() {
		req, err := http.NewRequestWithContext(b.Context(), http.MethodGet, "http://"+l.Addr().String()+"/", nil)
		if err != nil {
			b.Fatal(err)
		}
		at := n % pieces * length
		n++
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", at, at+length-1))
		resp, err := client.Do(req)
		if err != nil || resp.StatusCode != http.StatusPartialContent {
			b.Fatal(resp, err)
		}
		discard(b, resp.Body, buf)
		resp.Body.Close()
	})
}

func discard(b *testing.B, r io.Reader, buf []byte) {
	for {
		_, err := r.Read(buf)
		if err == io.EOF {
			return
		}
		if err != nil {
			b.Fatal(err)
		}
	}
}

func measure(b *testing.B, length int64, one func()) {
	b.SetBytes(length)
	b.ReportAllocs()
	before := cpuTime(b)
	for b.Loop() {
		one()
	}
	used := cpuTime(b) - before
	b.ReportMetric(used.Seconds()/(float64(b.N)*float64(length)/1e9), "cpu-s/GB")
}

func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkHave is the hot message, from Send to the other handler's hands, without a network.
func BenchmarkHave(b *testing.B) {
	o := newOutbox(1 << 20)
	var d decoder
	var m Message = Have{Task: task("a"), Pieces: []p2p.Piece{300}}
	var in bytes.Reader
	f := frameReader{r: &in}
	var spare []byte
	b.ReportAllocs()
	for b.Loop() {
		if err := o.add(m); err != nil {
			b.Fatal(err)
		}
		wire := o.take(spare)
		in.Reset(wire)
		for {
			kind, payload, err := f.next()
			if errors.Is(err, io.EOF) {
				break
			}
			if _, err := d.message(kind, payload); err != nil {
				b.Fatal(err)
			}
		}
		spare = wire
	}
}
