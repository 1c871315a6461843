package preheat

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	"google.golang.org/grpc"

	nodev1 "github.com/darter-p2p/darter/api/node/v1"
	"github.com/darter-p2p/darter/fetcher"
	"github.com/darter-p2p/darter/fetcher/registry"
	"github.com/darter-p2p/darter/p2p"
)

// Fetch implements nodev1.NodeServiceServer.
func (s *Server) Fetch(r *nodev1.FetchRequest, out grpc.ServerStreamingServer[nodev1.FetchResponse]) error {
	v, err := s.visit(r, out)
	if err != nil {
		return err
	}
	ctx := out.Context()
	if tag := r.GetTag(); tag != "" {
		// The tag is remembered for the time that its registry fails.
		if _, err := s.fetcher.Resolve(ctx, v.base(fetcher.Manifest), tag); err != nil {
			return asStatus(fmt.Errorf("tag %s: %w", tag, err))
		}
	}
	work := make(chan int)
	var bringing sync.WaitGroup
	for range v.atOnce {
		bringing.Go(func() {
			for i := range work {
				v.bring(ctx, i)
			}
		})
	}
	for i := range r.GetContents() {
		select {
		case work <- i:
			continue
		case <-ctx.Done():
		}
		break
	}
	close(work)
	bringing.Wait()
	if ctx.Err() != nil {
		return asStatus(ctx.Err())
	}
	v.send(&nodev1.FetchResponse{Done: true})
	return v.broken
}

// visit is one Fetch.
type visit struct {
	*Server
	request  *nodev1.FetchRequest
	atOnce   int
	registry string
	until    time.Time // of the pins; zero = none

	mu     sync.Mutex
	out    grpc.ServerStreamingServer[nodev1.FetchResponse]
	broken error // of out
}

// visit checks a request.
func (s *Server) visit(r *nodev1.FetchRequest, out grpc.ServerStreamingServer[nodev1.FetchResponse]) (*visit, error) {
	v := &visit{Server: s, request: r, out: out, atOnce: int(min(r.GetConcurrency(), maxConcurrency))}
	pin := time.Duration(min(r.GetPinSeconds(), int64(maxPin/time.Second))) * time.Second
	switch {
	case !jobPattern.MatchString(r.GetJob()):
		return nil, invalid("job %q, want 1 to 64 of a-z, 0-9 and -", r.GetJob())
	case len(r.GetContents()) > maxContents:
		return nil, invalid("%d contents, want at most %d", len(r.GetContents()), maxContents)
	case pin < 0:
		return nil, invalid("pinned for %d seconds", r.GetPinSeconds())
	case pin > 0:
		v.until = time.Now().Add(pin)
	}
	if v.atOnce == 0 {
		v.atOnce = defaultAtOnce
	}
	if r.GetRegistry() == "" {
		return v, nil
	}
	var err error
	if v.registry, err = registry.ParseHost(r.GetRegistry()); err != nil {
		return nil, asStatus(err)
	}
	if _, err = registry.ParseRepository(v.registry, r.GetRepository()); err == nil && r.GetTag() != "" {
		err = registry.CheckReference(r.GetTag())
	}
	return v, asStatus(err)
}

// base names no content of the request's repository yet.
func (v *visit) base(kind fetcher.Kind) fetcher.Content {
	h := header(v.request.GetAuthorization())
	h["Accept"] = accept
	return fetcher.Content{Registry: v.registry, Repository: v.request.GetRepository(), Kind: kind, Header: h}
}

// send tells the manager; after it has gone nothing is sent.
func (v *visit) send(r *nodev1.FetchResponse) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.broken == nil {
		v.broken = v.out.Send(r)
	}
}

// open opens one content to be kept.
func (v *visit) open(ctx context.Context, c *nodev1.Content) (*fetcher.Body, p2p.TaskID, error) {
	kind := fetcher.Blob
	switch c.GetKind() {
	case nodev1.Kind_KIND_URL:
		u := fetcher.URL{URL: c.GetUrl(), Digest: digest.Digest(c.GetDigest()), Header: header(v.request.GetAuthorization())}
		return v.fetcher.KeepURL(ctx, u)
	case nodev1.Kind_KIND_MANIFEST:
		kind = fetcher.Manifest
	case nodev1.Kind_KIND_BLOB:
	default:
		return nil, p2p.TaskID{}, fmt.Errorf("kind %s: %w", c.GetKind(), errdefs.ErrInvalidArgument)
	}
	if v.registry == "" {
		return nil, p2p.TaskID{}, fmt.Errorf("%s: no registry is named: %w", c.GetDigest(), errdefs.ErrInvalidArgument)
	}
	b := v.base(kind)
	b.Digest = digest.Digest(c.GetDigest())
	return v.fetcher.Keep(ctx, b)
}

// tries is how often a content may fail in a row without a new byte, where another try
// may help, and retryAfter the wait in between.
const (
	tries      = 3
	retryAfter = 500 * time.Millisecond
)

// bring brings one content, and tells how that goes.
func (v *visit) bring(ctx context.Context, i int) {
	c := v.request.GetContents()[i]
	index := uint32(i) //nolint:gosec // below maxContents
	var task p2p.TaskID
	var err error
	for try, had := 0, int64(-1); try < tries; try++ {
		if task, err = v.read(ctx, c, index); err == nil || ctx.Err() != nil || !errdefs.IsUnavailable(err) {
			break
		}
		if now := v.holding(task).GetBytes(); now > had {
			try, had = 0, now
		}
		select {
		case <-ctx.Done():
		case <-time.After(retryAfter << try):
		}
	}
	if ctx.Err() != nil {
		return // Fetch says so
	}
	if err != nil {
		err = v.explain(task, err)
	}
	v.send(&nodev1.FetchResponse{Index: index, Holding: v.holding(task), Settled: true, Failure: failure(err)})
}

// explain puts first why this node takes no part in a task: the store's words say more
// than that the network gave nothing.
func (v *visit) explain(task p2p.TaskID, err error) error {
	s, ok := v.swarm.Task(task)
	if !ok || s.Error == nil || errors.Is(err, s.Error) {
		return err
	}
	return fmt.Errorf("%w; %w", s.Error, err)
}

// read reads one content to its end and waits until the whole is known to be right. It
// is pinned while it is open, so that nothing can evict it in between.
func (v *visit) read(ctx context.Context, c *nodev1.Content, index uint32) (p2p.TaskID, error) {
	body, task, err := v.open(ctx, c)
	if err != nil {
		return task, err
	}
	defer body.Close()
	read := make(chan error, 1)
	go func() {
		_, err := io.Copy(io.Discard, body)
		read <- err
	}()
	tick := time.NewTicker(v.every)
	defer tick.Stop()
	for done := false; !done; {
		select {
		case err = <-read:
			done = true
		case <-tick.C:
			v.send(&nodev1.FetchResponse{Index: index, Holding: v.holding(task)})
		}
	}
	if err == nil {
		err = v.settled(ctx, task)
	}
	if err != nil || v.until.IsZero() {
		return task, err
	}
	if err := v.store.Pin(task, pinPrefix+v.request.GetJob(), v.until); err != nil {
		return task, fmt.Errorf("the content is here but cannot be pinned: %w", err)
	}
	return task, nil
}

// settled waits until the digest of the whole matched, after every byte was read.
func (v *visit) settled(ctx context.Context, task p2p.TaskID) error {
	ctx, cancel := context.WithTimeoutCause(ctx, v.settle,
		fmt.Errorf("every byte is here, but within %v nobody vouched for the digest of the whole: %w", v.settle, errdefs.ErrUnavailable))
	defer cancel()
	for wait := time.Millisecond; ; wait = min(2*wait, 200*time.Millisecond) {
		if v.complete(task) {
			return nil
		}
		if s, ok := v.swarm.Task(task); ok && s.Error != nil {
			return s.Error
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(wait):
		}
	}
}
