package fetcher

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sync/singleflight"

	"github.com/darter-p2p/darter/fetcher/httpsource"
	"github.com/darter-p2p/darter/fetcher/registry"
	"github.com/darter-p2p/darter/fetcher/source"
	"github.com/darter-p2p/darter/fetcher/upstream"
	"github.com/darter-p2p/darter/internal/config"
	"github.com/darter-p2p/darter/p2p"
	"github.com/darter-p2p/darter/p2p/node"
)

// Swarm is what a fetcher needs of this host's part in the piece network; *node.Node is one.
type Swarm interface {
	Open(ctx context.Context, w node.Want) (*node.Reader, error)
	Task(id p2p.TaskID) (node.Snapshot, bool)
	CountOrigin(id p2p.TaskID, bytes int64)
}

// Config is how long the network may take before the origin is asked.
type Config struct {
	FirstByte     config.Duration `toml:"first_byte" doc:"Longest wait for a content's first byte from the piece network; then this node reads the origin itself. Keep it below mirror.first_byte_timeout."`
	Stall         config.Duration `toml:"stall" doc:"Longest wait for the next byte from the piece network; then this node reads the rest from the origin itself."`
	TagMemory     config.Duration `toml:"tag_memory" doc:"How long what a tag named is remembered for the time that its registry fails."`
	StaleTags     string          `toml:"stale_tags" doc:"Whose word on a tag is taken while its registry fails and this node does not remember it: own (nobody's), seeds, or members (any node of the cluster; what most say). Such answers are marked as stale."`
	FilteredQuery []string        `toml:"filtered_query" doc:"Query parameters of URLs that do not change what the URL names, such as signatures and expiry; x-* is all that begin so."`
}

// Default returns the settings that suit data centres.
func Default() Config {
	return Config{
		FirstByte: config.Duration(8 * time.Second), Stall: config.Duration(10 * time.Second),
		TagMemory: config.Duration(24 * time.Hour), StaleTags: StaleMembers,
		FilteredQuery: httpsource.FilteredQuery(),
	}
}

// Validate reports every setting that cannot work, by its key.
func (c Config) Validate() error {
	var errs []error
	for _, d := range []struct {
		key string
		d   config.Duration
	}{{"first_byte", c.FirstByte}, {"stall", c.Stall}, {"tag_memory", c.TagMemory}} {
		if d.d <= 0 || d.d > config.Duration(7*24*time.Hour) {
			errs = append(errs, fmt.Errorf("%s: %v, want more than 0 and at most 168h", d.key, d.d))
		}
	}
	if !slices.Contains([]string{StaleOwn, StaleSeeds, StaleMembers}, c.StaleTags) {
		errs = append(errs, fmt.Errorf("stale_tags: %q, want own, seeds or members", c.StaleTags))
	}
	return errors.Join(errs...)
}

// Options are what a Local is given beside its configuration.
type Options struct {
	Tags    *Tags            // nil = remembered in memory
	Hearsay Hearsay          // nil = nobody is told and asked of tags
	Policy  *upstream.Policy // URLs that seeds may read; others are read for their reader alone; nil = all
}

// Local is a node's Fetcher: content that anyone may read comes from the piece
// network, everything else straight from its registry.
type Local struct {
	cfg     Config
	swarm   Swarm
	origin  source.Source
	tags    *Tags
	hearsay Hearsay
	policy  *upstream.Policy
	flight  singleflight.Group // questions to registries
	asking  sync.WaitGroup     // for those
	life    context.Context
	end     context.CancelFunc
}

var _ Fetcher = (*Local)(nil)

// New returns a node's fetcher.
func New(cfg Config, swarm Swarm, origin source.Source, o Options) (*Local, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("fetch: %w", err)
	}
	l := &Local{cfg: cfg, swarm: swarm, origin: origin, tags: o.Tags, hearsay: o.Hearsay, policy: o.Policy}
	l.life, l.end = context.WithCancel(context.Background())
	if l.tags == nil {
		var err error
		if l.tags, _, err = OpenTags("", cfg.TagMemory.Duration()); err != nil {
			return nil, err
		}
	}
	return l, nil
}

// Close ends what the fetcher still asks of registries, whose readers may have gone,
// and waits for it. No method is called after it.
func (l *Local) Close() {
	l.end()
	l.asking.Wait()
}

// private reports whether a content is asked for with a credential: then it is read
// from the registry for that reader alone, and not shared.
func (c Content) private() bool {
	return c.Header.Get("Authorization") != "" || c.Header.Get("Cookie") != ""
}

// place returns the content's origin, "" where no registry is known.
func (c Content) place(reference string) p2p.Origin {
	if c.Registry == "" || c.Repository == "" {
		return ""
	}
	return registry.Origin(c.Registry, c.Repository, registry.Kind(c.Kind), reference)
}

// Open implements Fetcher.
func (l *Local) Open(ctx context.Context, c Content, r Range) (*Body, error) {
	task, err := p2p.TaskOfDigest(c.Digest)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", err, errdefs.ErrInvalidArgument)
	}
	origin := c.place(c.Digest.String())
	if c.private() {
		return l.direct(ctx, task, origin, c.Header, r)
	}
	body, err := l.shared(ctx, task, origin, c.Header, r)
	switch {
	case err == nil:
		return body, nil
	case origin == "":
		return nil, fmt.Errorf("%s: no registry is named, and no node has it: %w: %w", c.Digest, errdefs.ErrNotFound, err)
	case ctx.Err() != nil, errdefs.IsOutOfRange(err), errors.Is(err, node.ErrRevoked):
		return nil, err
	}
	return l.direct(ctx, task, origin, c.Header, r)
}

// shared opens a content of the piece network, and waits for its first byte.
func (l *Local) shared(ctx context.Context, task p2p.TaskID, origin p2p.Origin, h http.Header, r Range) (*Body, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	patience := time.AfterFunc(l.cfg.FirstByte.Duration(), func() {
		cancel(fmt.Errorf("the piece network sent no byte within %v: %w", l.cfg.FirstByte, errdefs.ErrUnavailable))
	})
	rd, err := l.swarm.Open(ctx, node.Want{Task: task, Origin: origin, Size: -1, Offset: r.Offset, Length: r.Length, Class: p2p.Window})
	if err == nil {
		if err = rd.Await(ctx); err != nil {
			_ = rd.Close()
		}
	}
	if !patience.Stop() || err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
			if rd != nil {
				_ = rd.Close()
			}
		}
		cancel(nil)
		return nil, err
	}
	from := "swarm"
	if rd.Held() {
		from = "store"
	}
	return &Body{
		ReadCloser: &sharedBody{l: l, ctx: ctx, cancel: cancel, rd: rd, task: task, origin: origin, header: h},
		Size:       rd.Size(), Offset: rd.Offset(), Length: rd.Length(), From: from,
	}, nil
}

// sharedBody reads from the piece network for as long as bytes come, and what is
// left after that from the origin.
type sharedBody struct {
	l      *Local
	ctx    context.Context
	cancel context.CancelCauseFunc
	rd     *node.Reader
	task   p2p.TaskID
	origin p2p.Origin
	header http.Header
	rest   *Body // from the origin; nil while the network serves
}

// Read implements io.Reader.
func (b *sharedBody) Read(p []byte) (int, error) {
	if b.rest != nil {
		return b.rest.Read(p)
	}
	err := b.await()
	if err == nil {
		return b.rd.Read(p)
	}
	if b.ctx.Err() != nil {
		return 0, context.Cause(b.ctx)
	}
	if b.origin == "" || errors.Is(err, node.ErrRevoked) {
		return 0, err
	}
	left := b.rd.Offset() + b.rd.Length() - b.rd.Position()
	rest, derr := b.l.direct(b.ctx, b.task, b.origin, b.header, Range{Offset: b.rd.Position(), Length: left})
	if derr != nil {
		return 0, fmt.Errorf("%w; and the origin: %w", err, derr)
	}
	b.rest = rest
	return rest.Read(p)
}

// WriteTo implements io.WriterTo: what the store holds goes to w as a file.
func (b *sharedBody) WriteTo(w io.Writer) (int64, error) {
	var sent int64
	for b.rest == nil && b.rd.Position() < b.rd.Offset()+b.rd.Length() {
		if err := b.await(); err != nil {
			break // Read says why, or goes on at the origin
		}
		n, err := b.rd.WriteSure(w)
		sent += n
		if err != nil {
			return sent, err
		}
	}
	n, err := io.Copy(w, onlyReader{b})
	return sent + n, err
}

// onlyReader hides WriteTo from io.Copy.
type onlyReader struct{ io.Reader }

// await waits for the next byte from the piece network, but not for longer than a stall.
func (b *sharedBody) await() error {
	if b.rd.Ready() {
		return nil
	}
	stall, cancel := context.WithTimeout(b.ctx, b.l.cfg.Stall.Duration())
	defer cancel()
	return b.rd.Await(stall)
}

// Close implements io.Closer.
func (b *sharedBody) Close() error {
	defer b.cancel(nil)
	if b.rest != nil {
		b.rest.Close()
	}
	return b.rd.Close()
}

// direct reads a content from its registry for one reader.
func (l *Local) direct(ctx context.Context, task p2p.TaskID, origin p2p.Origin, h http.Header, r Range) (*Body, error) {
	if origin == "" {
		return nil, fmt.Errorf("%s: no registry is named: %w", task, errdefs.ErrNotFound)
	}
	req := source.Request{Origin: origin, Offset: r.Offset, Length: r.Length, Header: h}
	if r.Offset < 0 {
		at, err := l.origin.Stat(ctx, req)
		if err != nil {
			return nil, err
		}
		req.Offset, req.Length = max(0, at.Size+r.Offset), -1
	}
	resp, err := l.origin.Open(ctx, req)
	if err != nil {
		return nil, err
	}
	return &Body{
		ReadCloser: &countedBody{ReadCloser: resp.Body, l: l, task: task},
		Size:       resp.Size, Offset: resp.Offset, Length: resp.Length, MediaType: resp.MediaType, Validator: resp.Validator, From: "origin",
	}, nil
}

// countedBody counts the bytes that an origin sent to this node alone.
type countedBody struct {
	io.ReadCloser
	l    *Local
	task p2p.TaskID
	n    int64
}

// Read implements io.Reader.
func (b *countedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.n += int64(n)
	return n, err
}

// Close implements io.Closer.
func (b *countedBody) Close() error {
	b.l.swarm.CountOrigin(b.task, b.n)
	b.n = 0
	return b.ReadCloser.Close()
}

// Stat implements Fetcher. Of a manifest that comes from the piece network the media
// type is not known; its bytes say it.
func (l *Local) Stat(ctx context.Context, c Content) (Descriptor, error) {
	task, err := p2p.TaskOfDigest(c.Digest)
	if err != nil {
		return Descriptor{}, fmt.Errorf("%w: %w", err, errdefs.ErrInvalidArgument)
	}
	if !c.private() {
		if s, ok := l.swarm.Task(task); ok && s.Complete {
			return Descriptor{Digest: c.Digest, Size: s.Geometry.Size}, nil
		}
	}
	origin := c.place(c.Digest.String())
	if origin == "" {
		return Descriptor{}, fmt.Errorf("%s: no registry is named: %w", c.Digest, errdefs.ErrNotFound)
	}
	// A registry that hangs leaves time to ask the piece network.
	soon, cancel := context.WithTimeout(ctx, l.cfg.FirstByte.Duration())
	resp, err := l.origin.Stat(soon, source.Request{Origin: origin, Length: -1, Header: c.Header})
	late := soon.Err() != nil
	cancel()
	if err == nil {
		return Descriptor{Digest: c.Digest, Size: resp.Size, MediaType: resp.MediaType}, nil
	}
	if late && ctx.Err() == nil {
		err = fmt.Errorf("registry %s does not answer: %w: %w", c.Registry, errdefs.ErrUnavailable, err)
	}
	if c.private() || !errdefs.IsUnavailable(err) || ctx.Err() != nil {
		return Descriptor{}, err
	}
	body, serr := l.shared(ctx, task, origin, c.Header, Range{Offset: 0, Length: 1})
	if serr != nil {
		return Descriptor{}, fmt.Errorf("%w; and the piece network: %w", err, serr)
	}
	defer body.Close()
	return Descriptor{Digest: c.Digest, Size: body.Size}, nil
}
