// Package sourcetest holds a suite that every source.Source passes, and a Source
// in memory that fails on command, for tests of what stands above an origin.
package sourcetest

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/containerd/errdefs"

	"github.com/darter-p2p/darter/fetcher/source"
	"github.com/darter-p2p/darter/p2p"
)

// Content is what an origin of a Memory serves.
type Content struct {
	Data      []byte
	MediaType string
	Digest    string
	Validator string
	// Authorization is the header value that a reader must send, "" = none. Others get 401.
	Authorization string
	// NoSize makes the origin keep the size to itself.
	NoSize bool
}

// Failure is a way in which an origin fails. The zero Failure changes nothing.
type Failure struct {
	// Status refuses the request with this HTTP status and Header.
	Status int
	Header http.Header
	// Err is returned as the cause of an answer that did not come.
	Err error
	// HangOpen makes Open and Stat wait for the end of their ctx.
	HangOpen bool
	// After is how many bytes of the body are delivered before Truncate, Hang or Corrupt act.
	After int64
	// Truncate ends the body early in io.ErrUnexpectedEOF.
	Truncate bool
	// Hang makes the body wait for the end of ctx or its Close.
	Hang bool
	// Corrupt flips the bits of every byte of the body from After on.
	Corrupt bool
	// Delay is waited before each Read of the body, and Chunk is the most that one Read gives (0 = no bound).
	Delay time.Duration
	Chunk int
	// Times is how many requests fail; 0 = all that follow.
	Times int
}

// Memory is a Source in memory. Its zero value is not usable; make one with NewMemory.
// All methods may be called concurrently.
type Memory struct {
	mu       sync.Mutex
	contents map[p2p.Origin]Content
	failures map[p2p.Origin]*Failure
	requests []source.Request
	served   map[p2p.Origin]int64
	opened   chan struct{} // closed and replaced at each request
}

// NewMemory returns an empty Source.
func NewMemory() *Memory {
	return &Memory{
		contents: map[p2p.Origin]Content{},
		failures: map[p2p.Origin]*Failure{},
		served:   map[p2p.Origin]int64{},
		opened:   make(chan struct{}),
	}
}

// Put sets what an origin serves.
func (m *Memory) Put(o p2p.Origin, c Content) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.contents[o] = c
}

// Fail makes requests for an origin fail from now on, "" = those for any origin. The
// zero Failure ends it. Bodies that are open keep what they were opened with.
func (m *Memory) Fail(o p2p.Origin, f Failure) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.failures[o] = &f
}

// Requests returns what was asked by Open so far.
func (m *Memory) Requests() []source.Request {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]source.Request(nil), m.requests...)
}

// Served returns how many bytes of an origin's content were read.
func (m *Memory) Served(o p2p.Origin) int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.served[o]
}

// WaitRequests returns when Open was called at least n times, or with ctx.
func (m *Memory) WaitRequests(ctx context.Context, n int) error {
	for {
		m.mu.Lock()
		got, opened := len(m.requests), m.opened
		m.mu.Unlock()
		if got >= n {
			return nil
		}
		select {
		case <-opened:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Open implements source.Source.
func (m *Memory) Open(ctx context.Context, r source.Request) (*source.Response, error) {
	m.mu.Lock()
	m.requests = append(m.requests, r)
	close(m.opened)
	m.opened = make(chan struct{})
	m.mu.Unlock()

	resp, c, f, err := m.begin(ctx, r)
	if err != nil {
		return nil, err
	}
	if r.Offset < 0 || r.Length < -1 {
		return nil, fmt.Errorf("read origin: range %d+%d: %w", r.Offset, r.Length, errdefs.ErrInvalidArgument)
	}
	size := int64(len(c.Data))
	if r.Offset > 0 && r.Offset >= size || r.Length > 0 && size == 0 {
		h := http.Header{"Content-Range": {fmt.Sprintf("bytes */%d", size)}}
		return nil, &source.Error{Status: http.StatusRequestedRangeNotSatisfiable, Header: h, Host: "memory"}
	}
	data := c.Data[r.Offset:]
	if r.Length >= 0 {
		data = data[:min(r.Length, int64(len(data)))]
	}
	resp.Offset, resp.Length = r.Offset, int64(len(data))
	ctx, cancel := context.WithCancel(ctx)
	resp.Body = &body{m: m, origin: r.Origin, ctx: ctx, cancel: cancel, data: data, f: f}
	return resp, nil
}

// Stat implements source.Source.
func (m *Memory) Stat(ctx context.Context, r source.Request) (*source.Response, error) {
	resp, _, _, err := m.begin(ctx, r)
	return resp, err
}

func (m *Memory) begin(ctx context.Context, r source.Request) (*source.Response, Content, Failure, error) {
	f := m.takeFailure(r.Origin)
	if f.HangOpen {
		<-ctx.Done()
	}
	if err := ctx.Err(); err != nil {
		return nil, Content{}, f, fmt.Errorf("read origin: %w", err)
	}
	if f.Status != 0 || f.Err != nil {
		e := &source.Error{Status: f.Status, Header: f.Header, Host: "memory", Err: f.Err}
		e.RetryAfter = source.RetryAfter(f.Header.Get("Retry-After"), time.Now())
		return nil, Content{}, f, e
	}
	m.mu.Lock()
	c, ok := m.contents[r.Origin]
	m.mu.Unlock()
	if !ok {
		return nil, c, f, &source.Error{Status: http.StatusNotFound, Host: "memory"}
	}
	if c.Authorization != "" && r.Header.Get("Authorization") != c.Authorization {
		h := http.Header{"Www-Authenticate": {`Bearer realm="https://memory/token"`}}
		return nil, c, f, &source.Error{Status: http.StatusUnauthorized, Header: h, Host: "memory"}
	}
	resp := &source.Response{Size: int64(len(c.Data)), MediaType: c.MediaType, Digest: c.Digest, Validator: c.Validator}
	if c.NoSize {
		resp.Size = -1
	}
	return resp, c, f, nil
}

func (m *Memory) takeFailure(o p2p.Origin) Failure {
	m.mu.Lock()
	defer m.mu.Unlock()
	key := o
	f, ok := m.failures[key]
	if !ok {
		key = ""
		f, ok = m.failures[key]
	}
	if !ok {
		return Failure{}
	}
	if f.Times > 0 {
		if f.Times--; f.Times == 0 {
			delete(m.failures, key)
		}
	}
	return *f
}

// body is one reading of a content.
type body struct {
	m      *Memory
	origin p2p.Origin
	ctx    context.Context
	cancel context.CancelFunc
	data   []byte
	n      int64 // bytes read
	f      Failure
}

func (b *body) Read(p []byte) (int, error) {
	if b.f.Delay > 0 {
		select {
		case <-b.ctx.Done():
		case <-time.After(b.f.Delay):
		}
	}
	if err := b.ctx.Err(); err != nil {
		return 0, err
	}
	left := b.data[b.n:]
	if b.f.Truncate || b.f.Hang {
		left = left[:max(min(b.f.After-b.n, int64(len(left))), 0)]
	}
	switch {
	case len(left) > 0 || len(p) == 0:
	case b.f.Hang:
		<-b.ctx.Done()
		return 0, b.ctx.Err()
	case b.f.Truncate:
		return 0, io.ErrUnexpectedEOF
	default:
		return 0, io.EOF
	}
	if b.f.Chunk > 0 {
		p = p[:min(len(p), b.f.Chunk)]
	}
	n := copy(p, left)
	if b.f.Corrupt {
		for i := range p[:n] {
			if b.n+int64(i) >= b.f.After {
				p[i] ^= 0xff
			}
		}
	}
	b.n += int64(n)
	b.m.mu.Lock()
	b.m.served[b.origin] += int64(n)
	b.m.mu.Unlock()
	return n, nil
}

// Close ends a Read that hangs.
func (b *body) Close() error {
	b.cancel()
	return nil
}
