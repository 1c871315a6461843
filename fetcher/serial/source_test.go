package serial

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/containerd/errdefs"
	"go.uber.org/goleak"

	"github.com/darter-p2p/darter/fetcher/source"
	"github.com/darter-p2p/darter/p2p"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// pipe is an origin whose content comes by hand.
type pipe struct {
	opens atomic.Int32
	open  func(r source.Request) (io.Reader, error)
}

func (p *pipe) Open(ctx context.Context, r source.Request) (*source.Response, error) {
	p.opens.Add(1)
	in, err := p.open(r)
	if err != nil {
		return nil, err
	}
	return &source.Response{Body: io.NopCloser(under{ctx, in}), Size: -1, Length: -1, Offset: r.Offset}, nil
}

func (p *pipe) Stat(ctx context.Context, r source.Request) (*source.Response, error) {
	return p.Open(ctx, r)
}

// under ends what blocks when ctx does.
type under struct {
	ctx context.Context
	in  io.Reader
}

func (u under) Read(b []byte) (int, error) {
	if c, ok := u.in.(chunks); ok {
		select {
		case x, more := <-c:
			if !more {
				return 0, io.EOF
			}
			return copy(b, x), nil
		case <-u.ctx.Done():
			return 0, u.ctx.Err()
		}
	}
	return u.in.Read(b)
}

type chunks chan []byte

func (chunks) Read([]byte) (int, error) { panic("unused") }

const base = p2p.Origin("http://origin/f")

// get reads a segment.
func get(t *testing.T, s *Source, o p2p.Origin) (Head, []byte, error) {
	t.Helper()
	resp, err := s.Open(t.Context(), source.Request{Origin: o, Length: -1})
	if err != nil {
		return Head{}, nil, err
	}
	b, err := io.ReadAll(resp.Body)
	if err != nil || int64(len(b)) != resp.Size {
		t.Fatalf("%d of %d bytes, %v", len(b), resp.Size, err)
	}
	h, err := ParseHead(b)
	if err != nil {
		t.Fatal(err)
	}
	return h, b[HeadLen:], nil
}

// all reads a content segment by segment.
func all(t *testing.T, s *Source) (got []byte, last Head, err error) {
	t.Helper()
	o := First(base, "m")
	for {
		h, b, err := get(t, s, o)
		if err != nil {
			return got, last, err
		}
		if h.Offset != int64(len(got)) || h.Reading != last.Reading && h.Index > 0 || h.Index > 0 && h.Index != last.Index+1 {
			t.Fatalf("%+v after %+v and %d bytes", h, last, len(got))
		}
		got, last = append(got, b...), h
		if h.End {
			return got, last, nil
		}
		o = Later(base, h.Reading, h.Index+1)
	}
}

func TestSegments(t *testing.T) {
	for _, size := range []int{0, 1, firstSegment - 1, firstSegment, firstSegment + maxSegment, 11<<20 + 3} {
		data := bytes.Repeat([]byte("0123456789abcdef!"), size/17+1)[:size]
		p := &pipe{open: func(source.Request) (io.Reader, error) { return bytes.NewReader(data), nil }}
		s := New(p, true)
		for range 2 { // the second time some are gone
			got, last, err := all(t, s)
			if err != nil || !bytes.Equal(got, data) || last.Size != int64(size) || last.Sum != sha256.Sum256(data) {
				t.Errorf("%d bytes: %d, %+v, %v", size, len(got), last, err)
			}
			if size <= firstSegment && p.opens.Load() != 1 {
				t.Errorf("%d bytes: read %d times", size, p.opens.Load())
			}
		}
		s.Close()
	}
}

// What waits for a slow origin gets what is there.
func TestSlowOrigin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in := make(chunks)
		s := New(&pipe{open: func(source.Request) (io.Reader, error) { return in, nil }}, true)
		defer s.Close()
		go func() {
			in <- []byte("one")
			time.Sleep(3 * time.Second)
			in <- []byte("two")
			time.Sleep(3 * time.Second)
			close(in)
		}()
		began := time.Now()
		h, b, err := get(t, s, First(base, ""))
		if took := time.Since(began); err != nil || string(b) != "one" || h.End || took != cutAfter {
			t.Errorf("%q, %+v, %v after %v", b, h, err, took)
		}
		h, b, err = get(t, s, Later(base, h.Reading, 1))
		if err != nil || string(b) != "two" || h.Offset != 3 {
			t.Errorf("%q, %+v, %v", b, h, err)
		}
		h, b, err = get(t, s, Later(base, h.Reading, 2))
		if err != nil || len(b) > 0 || !h.End || h.Size != 6 || h.Sum != sha256.Sum256([]byte("onetwo")) {
			t.Errorf("%q, %+v, %v", b, h, err)
		}
	})
}

// An origin that breaks off is an error to all who come soon, and is asked again later.
func TestBreaksOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &pipe{open: func(source.Request) (io.Reader, error) {
			return io.MultiReader(bytes.NewReader(make([]byte, 3<<20)), broken{}), nil
		}}
		s := New(p, true)
		defer s.Close()
		for range 3 {
			_, _, err := all(t, s)
			var said *source.Error
			if !errors.As(err, &said) || said.Status != http.StatusOK || !errdefs.IsUnavailable(err) || p.opens.Load() != 1 {
				t.Errorf("%v; asked %d times", err, p.opens.Load())
			}
		}
		time.Sleep(failureFor)
		if _, _, err := all(t, s); err == nil || p.opens.Load() != 2 {
			t.Errorf("%v; asked %d times", err, p.opens.Load())
		}
	})
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// A content that a validator names is gone on with where its answer broke off.
func TestResumes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		data := make([]byte, 3<<20)
		const named = base + "#darter-generation=x"
		var p *pipe
		p = &pipe{open: func(r source.Request) (io.Reader, error) {
			if p.opens.Load() < 4 {
				return io.MultiReader(bytes.NewReader(data[r.Offset:r.Offset+1000]), broken{}), nil
			}
			return bytes.NewReader(data[r.Offset:]), nil
		}}
		s := New(p, true)
		defer s.Close()
		h, b, err := get(t, s, First(named, ""))
		if err != nil || h.Offset != 0 || len(b) == 0 {
			t.Errorf("%d bytes, %+v, %v", len(b), h, err)
		}
	})
}

// What the origin refuses is its own word.
func TestRefusal(t *testing.T) {
	s := New(&pipe{open: func(source.Request) (io.Reader, error) { return nil, &source.Error{Status: 404, Host: "origin"} }}, true)
	defer s.Close()
	if _, _, err := get(t, s, First(base, "")); !errdefs.IsNotFound(err) {
		t.Error(err)
	}
}

// Who does not have a reading says so in the class that has another host asked at once.
func TestElsewhere(t *testing.T) {
	p := &pipe{open: func(source.Request) (io.Reader, error) { return bytes.NewReader(make([]byte, 20<<20)), nil }}
	node, seed := New(p, false), New(p, true)
	defer node.Close()
	defer seed.Close()
	h, _, err := get(t, seed, First(base, ""))
	if err != nil {
		t.Fatal(err)
	}
	for name, ask := range map[string]func() error{
		"a node":          func() error { _, _, err := get(t, node, First(base, "")); return err },
		"another reading": func() error { _, _, err := get(t, seed, Later(base, Reading{9}, 1)); return err },
		"another origin":  func() error { _, _, err := get(t, seed, Later("http://other/f", h.Reading, 1)); return err },
		"far ahead":       func() error { _, _, err := get(t, seed, Later(base, h.Reading, 1<<31)); return err },
	} {
		if err := ask(); !errdefs.IsPermissionDenied(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A seed reads so many contents at once, and stops those that nobody reads on.
func TestBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var given atomic.Int64
		s := New(&pipe{open: func(source.Request) (io.Reader, error) { return endless{&given}, nil }}, true)
		defer s.Close()
		open := func(i int) error {
			_, _, err := get(t, s, First(base, string(rune('a'+i))))
			return err
		}
		for i := range maxReadings {
			if err := open(i); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		if most := int64(maxReadings * (4*maxSegment + 1<<20)); given.Load() > most {
			t.Errorf("%d bytes were read before anybody asked for them", given.Load())
		}
		if err := open(maxReadings); !errdefs.IsPermissionDenied(err) {
			t.Error(err)
		}
		time.Sleep(abandonAfter + time.Second)
		if err := open(maxReadings); err != nil {
			t.Errorf("after the others were given up: %v", err)
		}
	})
}

type endless struct{ n *atomic.Int64 }

func (e endless) Read(b []byte) (int, error) {
	e.n.Add(int64(len(b)))
	return len(b), nil
}
