package exchange

import (
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"
)

// gathering returns a gatherer on a TCP connection, and the end that feeds it.
func gathering(t *testing.T) (*gatherer, net.Conn, net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	far, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { far.Close() })
	near, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { near.Close() })
	if err := near.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	return newGatherer(near), near, far
}

func TestReadsWaitForManyBytes(t *testing.T) {
	g, _, far := gathering(t)
	const total = 1 << 20
	go func() {
		for range total >> 10 {
			_, _ = far.Write(make([]byte, 1<<10))
		}
	}()
	buf := make([]byte, 64<<10)
	reads, read := 0, 0
	for ; read < total; reads++ {
		n, err := g.read(buf, min(64<<10, total-read)) // not for more than will come
		if err != nil {
			t.Fatal(err)
		}
		read += n
	}
	if reads > total>>14 { // fewer than 64 KiB where the receive window is full
		t.Errorf("%d reads, want at most %d", reads, total>>14)
	}
}

// A wait for more than fits the buffer is one wait; what a lesser one left is waited for anew.
func TestWhatIsThereIsReadWithoutWaiting(t *testing.T) {
	g, _, far := gathering(t)
	if _, err := far.Write(make([]byte, 10<<10)); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 4<<10)
	for i, want := range []struct{ n, here int }{{4 << 10, 6 << 10}, {4 << 10, 2 << 10}, {2 << 10, 0}} {
		if n, err := g.read(buf, 10<<10); n != want.n || g.here != want.here || err != nil {
			t.Fatalf("read %d: %d bytes, %d left here, %v, want %d, %d", i, n, g.here, err, want.n, want.here)
		}
	}
	g.here = 8 << 10 // as where a full window ended the wait
	if _, err := far.Write(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	if n, err := g.read(buf[:1], 1); n != 1 || err != nil { // there already, or on its way
		t.Fatalf("%d bytes, %v, want 1", n, err)
	}
	if _, err := far.Write(make([]byte, 3)); err != nil {
		t.Fatal(err)
	}
	for got := 0; got < 3; {
		n, err := g.read(buf, 3-got)
		if err != nil {
			t.Fatal(err)
		}
		got += n
	}
}

func TestEndOfConnectionDoesNotWait(t *testing.T) {
	for name, read := range map[string]func(g *gatherer, far net.Conn){
		"before the read": func(_ *gatherer, far net.Conn) { far.Close() },
		"during the read": func(_ *gatherer, far net.Conn) { time.AfterFunc(50*time.Millisecond, func() { far.Close() }) },
	} {
		t.Run(name, func(t *testing.T) {
			g, _, far := gathering(t)
			if _, err := far.Write(make([]byte, 10<<10)); err != nil {
				t.Fatal(err)
			}
			read(g, far)
			buf := make([]byte, 64<<10)
			got := 0
			for {
				n, err := g.read(buf, 64<<10)
				got += n
				if errors.Is(err, io.EOF) {
					break
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			if got != 10<<10 {
				t.Errorf("%d bytes before the end, want %d", got, 10<<10)
			}
		})
	}
}

func TestGatheringEndsAtTheDeadline(t *testing.T) {
	g, near, far := gathering(t)
	if _, err := far.Write(make([]byte, 10<<10)); err != nil {
		t.Fatal(err)
	}
	if err := near.SetReadDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 64<<10)
	if n, err := g.read(buf, 64<<10); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("%d bytes, %v, want the deadline's error", n, err)
	}
	// What is there is not lost.
	if err := near.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	if n, err := g.read(buf, 1); n != 10<<10 || err != nil {
		t.Fatalf("%d bytes, %v, want %d", n, err, 10<<10)
	}
}
