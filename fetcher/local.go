package fetcher

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/singleflight"

	"github.com/darter-p2p/darter/fetcher/access"
	"github.com/darter-p2p/darter/fetcher/httpsource"
	"github.com/darter-p2p/darter/fetcher/registry"
	"github.com/darter-p2p/darter/fetcher/source"
	"github.com/darter-p2p/darter/fetcher/upstream"
	"github.com/darter-p2p/darter/internal/block"
	"github.com/darter-p2p/darter/internal/config"
	"github.com/darter-p2p/darter/p2p"
	"github.com/darter-p2p/darter/p2p/limit"
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
	Urgent        config.Duration `toml:"urgent" doc:"The same two waits, where they are longer, for bytes that a program is blocked on (a lazy image, nydusd). Keep it below mirror.answer.lazy_timeout."`
	Slow          config.Rate     `toml:"slow" doc:"Where less comes from neighbours, and less than a quarter of what the origin was seen to give, this node asks its scheduler to let it read the origin. 0 = never."`
	TagMemory     config.Duration `toml:"tag_memory" doc:"How long what a tag named is remembered for the time that its registry fails."`
	StaleTags     string          `toml:"stale_tags" doc:"Whose word on a tag is taken while its registry fails and this node does not remember it: own (nobody's), seeds, or members (any node of the cluster; what most say). Such answers are marked as stale."`
	FilteredQuery []string        `toml:"filtered_query" doc:"Query parameters of URLs that do not change what the URL names, such as signatures and expiry; x-* is all that begin so."`
}

// Default returns the settings that suit data centres.
func Default() Config {
	return Config{
		FirstByte: config.Duration(8 * time.Second), Stall: config.Duration(10 * time.Second), Urgent: config.Duration(2 * time.Second), Slow: config.Rate(node.Default().SlowRate * 8),
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
	}{{"first_byte", c.FirstByte}, {"stall", c.Stall}, {"urgent", c.Urgent}, {"tag_memory", c.TagMemory}} {
		if d.d <= 0 || d.d > config.Duration(7*24*time.Hour) {
			errs = append(errs, fmt.Errorf("%s: %v, want more than 0 and at most 168h", d.key, d.d))
		}
	}
	if c.Slow < 0 {
		errs = append(errs, fmt.Errorf("slow: %v, want 0 or more", c.Slow))
	}
	if !slices.Contains([]string{StaleOwn, StaleSeeds, StaleMembers}, c.StaleTags) {
		errs = append(errs, fmt.Errorf("stale_tags: %q, want own, seeds or members", c.StaleTags))
	}
	return errors.Join(errs...)
}

// Options are what a Local is given beside its configuration.
type Options struct {
	Tags    *Tags                 // nil = remembered in memory
	Hearsay Hearsay               // nil = nobody is told and asked of tags
	Policy  *upstream.Policy      // URLs that seeds may read; others are read for their reader alone; nil = all
	Access  *access.Config        // for how long a registry's word on who may read counts; nil = the default
	Metrics prometheus.Registerer // where the fetcher counts; nil = nowhere
	Limits  *limit.Limits         // for what origins send to one reader; nil = none
	Rules   *Rules                // what is blocked and what is urgent; nil = nothing
	Parts   Parts                 // for readers who verify what they read; nil = they read as others do
}

// Local is a node's Fetcher: content comes from the piece network, to readers whom its
// registry lets have it, and straight from the registry where the network cannot give it.
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
	counts  counts
	limits  *limit.Limits
	rules   *Rules
	parts   Parts

	mu     sync.Mutex
	access *access.Memory
}

var _ Fetcher = (*Local)(nil)

// New returns a node's fetcher.
func New(cfg Config, swarm Swarm, origin source.Source, o Options) (*Local, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("fetch: %w", err)
	}
	l := &Local{cfg: cfg, swarm: swarm, origin: origin, tags: o.Tags, hearsay: o.Hearsay, policy: o.Policy, limits: o.Limits, rules: o.Rules, parts: o.Parts}
	who := access.Default()
	if o.Access != nil {
		who = *o.Access
	}
	if err := who.Validate(); err != nil {
		return nil, fmt.Errorf("auth: %w", err)
	}
	salt := make([]byte, 32)
	_, _ = rand.Read(salt) // never fails
	l.access = access.New(who, salt)
	var err error
	if l.counts, err = newCounts(o.Metrics); err != nil {
		return nil, err
	}
	l.life, l.end = context.WithCancel(context.Background())
	if l.tags == nil {
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

// private reports whether a content is asked for with a credential.
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
	w := wish{task: task, origin: c.place(c.Digest.String()), header: c.Header, urgent: c.Urgent, background: c.Background, verifies: c.Verifies}
	w.unblocked = c.Direct
	if c.Listed != "" && c.Kind == Blob {
		w.listed = Content{Registry: c.Registry, Repository: c.Repository, Kind: Manifest, Digest: c.Listed}
	}
	if err := l.admit(&w, c.request(c.Digest.String())); err != nil {
		return nil, err
	}
	if c.Direct || c.Header.Get("Cookie") != "" { // nobody knows what a cookie is good for
		return l.direct(ctx, w, r)
	}
	body, err := l.granted(ctx, w, r)
	switch {
	case err == nil:
		return body, nil
	case w.origin == "":
		return nil, fmt.Errorf("%s: no registry is named, and no node has it for everybody: %w: %w", c.Digest, errdefs.ErrNotFound, err)
	case final(ctx, err):
		return nil, err
	}
	return l.direct(ctx, w, r)
}

// refused is the registry's word on a reader.
type refused struct{ error }

// Unwrap returns what the registry said.
func (r refused) Unwrap() error { return r.error }

// final reports whether the origin would not help where the network did not.
func final(ctx context.Context, err error) bool {
	return ctx.Err() != nil || errdefs.IsOutOfRange(err) || errors.As(err, new(*block.Error)) || errors.Is(err, node.ErrRevoked) ||
		errors.Is(err, errSlowRegistry) || errors.As(err, new(refused))
}

// granted opens a content of the piece network for a reader who may have it.
func (l *Local) granted(ctx context.Context, w wish, r Range) (*Body, error) {
	if err := l.letIn(ctx, w); err != nil {
		if !fails(err) || ctx.Err() != nil {
			return nil, asRefused(err)
		}
		// Who he is cannot be asked: he gets what is everybody's.
		if body, aerr := l.granted(ctx, w.anonymous(), r); aerr == nil {
			return body, nil
		}
		return nil, err
	}
	body, readings, err := l.shared(ctx, w, r)
	if err != nil {
		return nil, err
	}
	if err = l.mayHave(ctx, w, readings); err == nil && w.origin == "" {
		err = l.anyAllowed(readings)
	}
	if err != nil {
		_ = body.Close()
		return nil, asRefused(err)
	}
	return body, nil
}

// asRefused marks what the registry said of the reader.
func asRefused(err error) error {
	if refuses(err) {
		return refused{err}
	}
	return err
}

// direct reads a content from its registry for one reader.
func (l *Local) direct(ctx context.Context, w wish, r Range) (*Body, error) {
	if w.origin == "" {
		return nil, fmt.Errorf("%s: no registry is named: %w", w.task, errdefs.ErrNotFound)
	}
	req := source.Request{Origin: w.origin, Offset: r.Offset, Length: r.Length, Header: w.header}
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
	body := &countedBody{ReadCloser: resp.Body, in: l.limits.Receiving(w.task, p2p.Urgent).Reader(ctx, resp.Body), l: l, task: w.task, wish: w}
	if err := body.begin(); err != nil && resp.Length != 0 && (resp.Length > 0 || !errors.Is(err, io.EOF)) {
		_ = body.Close()
		return nil, fmt.Errorf("%s sent the head of an answer and no byte: %w: %w", w.origin, err, errdefs.ErrUnavailable)
	}
	return &Body{
		ReadCloser: body,
		Size:       resp.Size, Offset: resp.Offset, Length: resp.Length, MediaType: resp.MediaType, Validator: resp.Validator, From: "origin",
	}, nil
}

// countedBody counts the bytes that an origin sent to this node alone.
type countedBody struct {
	io.ReadCloser
	in    io.Reader // its bytes, at the pace of the limits
	l     *Local
	task  p2p.TaskID
	wish  wish
	n     int64
	first []byte // what begin read
}

// begin waits for the first byte.
func (b *countedBody) begin() error {
	var first [1]byte
	n, err := io.ReadFull(b.in, first[:])
	b.n += int64(n)
	b.first = first[:n]
	return err
}

// Read implements io.Reader.
func (b *countedBody) Read(p []byte) (int, error) {
	if len(b.first) > 0 {
		n := copy(p, b.first)
		b.first = b.first[n:]
		return n, nil
	}
	if err := b.l.allowed(&b.wish); err != nil {
		return 0, err
	}
	n, err := b.in.Read(p)
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
	w := wish{task: task, origin: c.place(c.Digest.String()), header: c.Header, unblocked: c.Direct}
	if err := l.admit(&w, c.request(c.Digest.String())); err != nil {
		return Descriptor{}, err
	}
	if size, ok := l.statHere(w); ok {
		return Descriptor{Digest: c.Digest, Size: size}, nil
	}
	if w.origin == "" {
		return Descriptor{}, fmt.Errorf("%s: no registry is named: %w", c.Digest, errdefs.ErrNotFound)
	}
	alone := c.Header.Get("Cookie") != ""
	if !alone && l.hung(w.origin) {
		if d, err := l.statShared(ctx, w); err == nil {
			return d, nil
		}
	}
	// A registry that hangs leaves time to ask the piece network.
	soon, cancel := context.WithTimeout(ctx, l.cfg.FirstByte.Duration())
	resp, err := l.origin.Stat(soon, source.Request{Origin: w.origin, Length: -1, Header: c.Header})
	late := soon.Err() != nil
	cancel()
	if err == nil {
		if !alone {
			l.learn(l.key(w.origin, c.Header), c.Header, nil)
		}
		return Descriptor{Digest: c.Digest, Size: resp.Size, MediaType: resp.MediaType}, nil
	}
	if late && ctx.Err() == nil {
		l.hang(w.origin)
		err = fmt.Errorf("registry %s does not answer: %w: %w", c.Registry, errdefs.ErrUnavailable, err)
	}
	if alone || !errdefs.IsUnavailable(err) || ctx.Err() != nil {
		return Descriptor{}, err
	}
	d, serr := l.statShared(ctx, w)
	if refuses(serr) {
		return Descriptor{}, serr
	}
	if serr != nil {
		return Descriptor{}, fmt.Errorf("%w; and the piece network: %w", err, serr)
	}
	return d, nil
}

// statShared describes a content that the piece network gives the reader.
func (l *Local) statShared(ctx context.Context, w wish) (Descriptor, error) {
	body, err := l.granted(ctx, w, Range{Offset: 0, Length: 1})
	if err != nil {
		return Descriptor{}, err
	}
	defer body.Close()
	d, _ := w.task.Digest()
	return Descriptor{Digest: d, Size: body.Size}, nil
}

// statHere returns the size of a content that this host holds whole and that is public
// without asking.
func (l *Local) statHere(w wish) (int64, bool) {
	s, ok := l.swarm.Task(w.task)
	if !ok || !s.Complete {
		return 0, false
	}
	if w.origin == "" {
		return s.Geometry.Size, access.Public(s.Readings)
	}
	r, ok := access.Of(w.origin, s.Readings)
	return s.Geometry.Size, ok && access.Vouched(w.origin, s.Readings) && l.freshPublic(r)
}
