package sourcetest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/containerd/errdefs"

	"github.com/darter-p2p/darter/fetcher/source"
	"github.com/darter-p2p/darter/p2p"
)

// Origin is a place whose content and failures a test commands, and the Source that reads it.
type Origin struct {
	Source source.Source
	// Put makes the place serve a content under a new name, and returns the name.
	Put func(t *testing.T, data []byte) p2p.Origin
	// Missing is a well-formed name of nothing.
	Missing p2p.Origin
	// Fail makes requests for a name fail from now on. Of a Failure the suite uses Status,
	// Header, HangOpen, After, Truncate and Hang. A nil Fail skips the tests that need it.
	Fail func(t *testing.T, o p2p.Origin, f Failure)
}

// Run checks that a Source keeps the contract of source.Source. open is called once
// for each test and cleans up after itself with t.Cleanup.
func Run(t *testing.T, open func(t *testing.T) Origin) {
	t.Run("whole", func(t *testing.T) { testWhole(t, open(t)) })
	t.Run("ranges", func(t *testing.T) { testRanges(t, open(t)) })
	t.Run("bad ranges", func(t *testing.T) { testBadRanges(t, open(t)) })
	t.Run("stat", func(t *testing.T) { testStat(t, open(t)) })
	t.Run("missing", func(t *testing.T) { testMissing(t, open(t)) })
	t.Run("cancelled", func(t *testing.T) { testCancelled(t, open(t)) })
	t.Run("closed early", func(t *testing.T) { testClosedEarly(t, open(t)) })
	t.Run("concurrent", func(t *testing.T) { testConcurrent(t, open(t)) })
	t.Run("refusals", func(t *testing.T) { testRefusals(t, withFail(t, open)) })
	t.Run("truncated", func(t *testing.T) { testTruncated(t, withFail(t, open)) })
	t.Run("hang before headers", func(t *testing.T) { testHangOpen(t, withFail(t, open)) })
	t.Run("hang in body", func(t *testing.T) { testHangBody(t, withFail(t, open)) })
}

func withFail(t *testing.T, open func(t *testing.T) Origin) Origin {
	o := open(t)
	if o.Fail == nil {
		t.Skip("this origin cannot be made to fail")
	}
	return o
}

// pattern returns n bytes without repeats, the same ones each time.
func pattern(n int) []byte {
	b := make([]byte, n)
	// A ChaCha8's Read never fails.
	_, _ = rand.NewChaCha8([32]byte{}).Read(b)
	return b
}

func testContext(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func read(t *testing.T, s source.Source, r source.Request) (*source.Response, []byte) {
	t.Helper()
	resp, err := s.Open(testContext(t), r)
	if err != nil {
		t.Fatalf("open %d+%d: %v", r.Offset, r.Length, err)
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("read %d+%d: %v after %d bytes", r.Offset, r.Length, err, len(got))
	}
	return resp, got
}

func testWhole(t *testing.T, o Origin) {
	for _, n := range []int{0, 1, 1000, 300_001} {
		data := pattern(n)
		name := o.Put(t, data)
		resp, got := read(t, o.Source, source.Request{Origin: name, Length: -1})
		if !bytes.Equal(got, data) {
			t.Errorf("size %d: the content is not what was put", n)
		}
		if resp.Offset != 0 || resp.Length != int64(n) || resp.Size != int64(n) {
			t.Errorf("size %d: response says %d+%d of %d", n, resp.Offset, resp.Length, resp.Size)
		}
	}
}

func testRanges(t *testing.T, o Origin) {
	const size = 100_000
	data := pattern(size)
	name := o.Put(t, data)
	for _, tc := range []struct{ offset, length, want int64 }{
		{0, 0, 0},
		{0, 1, 1},
		{0, size, size},
		{0, size + 1, size},
		{1, -1, size - 1},
		{1000, 0, 0},
		{1000, 5000, 5000},
		{size - 1, 1, 1},
		{size - 1, -1, 1},
		{size - 10, 1 << 40, 10},
	} {
		resp, got := read(t, o.Source, source.Request{Origin: name, Offset: tc.offset, Length: tc.length})
		if !bytes.Equal(got, data[tc.offset:tc.offset+tc.want]) {
			t.Errorf("%d+%d: wrong bytes (%d of them, want %d)", tc.offset, tc.length, len(got), tc.want)
		}
		if resp.Offset != tc.offset || resp.Length != tc.want || resp.Size != size {
			t.Errorf("%d+%d: response says %d+%d of %d", tc.offset, tc.length, resp.Offset, resp.Length, resp.Size)
		}
	}
}

func testBadRanges(t *testing.T, o Origin) {
	name, empty := o.Put(t, pattern(100)), o.Put(t, nil)
	for _, tc := range []struct {
		name           p2p.Origin
		offset, length int64
		want           error
	}{
		{name, -1, 1, errdefs.ErrInvalidArgument},
		{name, 0, -2, errdefs.ErrInvalidArgument},
		{name, 100, -1, errdefs.ErrOutOfRange},
		{name, 100, 1, errdefs.ErrOutOfRange},
		{name, 1 << 40, 1, errdefs.ErrOutOfRange},
		{empty, 0, 1, errdefs.ErrOutOfRange},
	} {
		resp, err := o.Source.Open(testContext(t), source.Request{Origin: tc.name, Offset: tc.offset, Length: tc.length})
		if !errors.Is(err, tc.want) {
			t.Errorf("%d+%d: error %v, want %v", tc.offset, tc.length, err, tc.want)
		}
		if err == nil {
			resp.Body.Close()
		}
	}
}

func testStat(t *testing.T, o Origin) {
	name := o.Put(t, pattern(12_345))
	resp, err := o.Source.Stat(testContext(t), source.Request{Origin: name, Offset: 5, Length: 5})
	if err != nil {
		t.Fatal(err)
	}
	if resp.Size != 12_345 || resp.Body != nil {
		t.Errorf("size %d, body %v; want 12345 and no body", resp.Size, resp.Body)
	}
}

func testMissing(t *testing.T, o Origin) {
	for _, call := range calls(o.Source) {
		err := call.do(testContext(t), o.Missing)
		var refusal *source.Error
		if !errors.Is(err, errdefs.ErrNotFound) || !errors.As(err, &refusal) || refusal.Status != http.StatusNotFound {
			t.Errorf("%s: %v, want a *source.Error of 404", call.name, err)
		}
	}
}

func testCancelled(t *testing.T, o Origin) {
	name := o.Put(t, pattern(100))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, call := range calls(o.Source) {
		if err := call.do(ctx, name); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v, want context.Canceled", call.name, err)
		}
	}
}

func testClosedEarly(t *testing.T, o Origin) {
	data := pattern(4 << 20)
	name := o.Put(t, data)
	for range 5 {
		resp, err := o.Source.Open(testContext(t), source.Request{Origin: name, Length: -1})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(resp.Body, make([]byte, 10)); err != nil {
			t.Error(err)
		}
		if err := resp.Body.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	}
	if _, got := read(t, o.Source, source.Request{Origin: name, Length: -1}); !bytes.Equal(got, data) {
		t.Error("wrong bytes after bodies that were closed early")
	}
}

func testConcurrent(t *testing.T, o Origin) {
	data := pattern(200_000)
	name := o.Put(t, data)
	var wg sync.WaitGroup
	for i := range int64(16) {
		wg.Go(func() {
			r := source.Request{Origin: name, Offset: i * 10_000, Length: 10_000}
			resp, err := o.Source.Open(testContext(t), r)
			if err != nil {
				t.Error(err)
				return
			}
			defer resp.Body.Close()
			got, err := io.ReadAll(resp.Body)
			if err != nil || !bytes.Equal(got, data[r.Offset:r.Offset+r.Length]) {
				t.Errorf("part %d: %v, or wrong bytes", i, err)
			}
		})
	}
	wg.Wait()
}

func testRefusals(t *testing.T, o Origin) {
	for status, class := range map[int]error{
		http.StatusUnauthorized:        errdefs.ErrUnauthenticated,
		http.StatusForbidden:           errdefs.ErrPermissionDenied,
		http.StatusNotFound:            errdefs.ErrNotFound,
		http.StatusTooManyRequests:     errdefs.ErrResourceExhausted,
		http.StatusInternalServerError: errdefs.ErrUnavailable,
		http.StatusServiceUnavailable:  errdefs.ErrUnavailable,
	} {
		name := o.Put(t, pattern(100))
		o.Fail(t, name, Failure{Status: status, Header: http.Header{"Retry-After": {"3"}}})
		for _, call := range calls(o.Source) {
			err := call.do(testContext(t), name)
			var refusal *source.Error
			if !errors.As(err, &refusal) {
				t.Errorf("%s, %d: %v is not a *source.Error", call.name, status, err)
				continue
			}
			if refusal.Status != status || !errors.Is(err, class) || refusal.RetryAfter != 3*time.Second {
				t.Errorf("%s, %d: got %d, %v, retry after %v", call.name, status, refusal.Status, err, refusal.RetryAfter)
			}
		}
	}
}

func testTruncated(t *testing.T, o Origin) {
	data := pattern(500_000)
	for _, r := range []source.Request{{Length: -1}, {Offset: 1000, Length: -1}, {Offset: 1000, Length: 400_000}} {
		r.Origin = o.Put(t, data)
		o.Fail(t, r.Origin, Failure{Truncate: true, After: 100_000})
		resp, err := o.Source.Open(testContext(t), r)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(resp.Body)
		if !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%d+%d: error %v after %d bytes, want io.ErrUnexpectedEOF", r.Offset, r.Length, err, len(got))
		}
		if !bytes.HasPrefix(data[r.Offset:], got) {
			t.Errorf("%d+%d: wrong bytes before the cut", r.Offset, r.Length)
		}
		resp.Body.Close()
	}
}

func testHangOpen(t *testing.T, o Origin) {
	name := o.Put(t, pattern(100))
	o.Fail(t, name, Failure{HangOpen: true})
	for _, call := range calls(o.Source) {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		if err := call.do(ctx, name); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: %v, want context.DeadlineExceeded", call.name, err)
		}
		cancel()
	}
}

func testHangBody(t *testing.T, o Origin) {
	data := pattern(100_000)
	name := o.Put(t, data)
	o.Fail(t, name, Failure{Hang: true, After: 50_000})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	resp, err := o.Source.Open(ctx, source.Request{Origin: name, Length: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	got := make([]byte, 50_000)
	if _, err := io.ReadFull(resp.Body, got); err != nil || !bytes.Equal(got, data[:50_000]) {
		t.Fatalf("first half: %v, or wrong bytes", err)
	}
	cancel()
	if n, err := resp.Body.Read(got); !errors.Is(err, context.Canceled) {
		t.Errorf("read of a body that hangs gave %d, %v after its ctx ended, want context.Canceled", n, err)
	}
}

type call struct {
	name string
	do   func(context.Context, p2p.Origin) error
}

// calls returns Open and Stat in one shape.
func calls(s source.Source) []call {
	return []call{
		{"Open", func(ctx context.Context, o p2p.Origin) error {
			resp, err := s.Open(ctx, source.Request{Origin: o, Length: -1})
			if err == nil {
				resp.Body.Close()
			}
			return err
		}},
		{"Stat", func(ctx context.Context, o p2p.Origin) error {
			_, err := s.Stat(ctx, source.Request{Origin: o, Length: -1})
			return err
		}},
	}
}
