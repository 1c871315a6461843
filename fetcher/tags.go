package fetcher

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"time"

	"github.com/containerd/errdefs"
	"github.com/containerd/log"
	"github.com/opencontainers/go-digest"

	"github.com/darter-p2p/darter/fetcher/registry"
	"github.com/darter-p2p/darter/fetcher/source"
	"github.com/darter-p2p/darter/p2p"
)

// Hearsay is what hosts tell each other of tags; *tracker.Client is one.
type Hearsay interface {
	// TellTag tells others what a tag names now. It returns at once.
	TellTag(t p2p.Tag)
	// FindTag returns what others told, what most say first; it is bounded in time.
	FindTag(ctx context.Context, o p2p.Origin) ([]p2p.ToldTag, error)
}

// Whose word on a tag is taken when its registry fails, after the node's own.
const (
	StaleOwn     = "own"
	StaleSeeds   = "seeds"
	StaleMembers = "members"
)

// Resolve implements Fetcher. Every call asks the registry; calls at the same time
// with the same credential share an answer.
func (l *Local) Resolve(ctx context.Context, c Content, tag string) (Descriptor, error) {
	c.Kind = Manifest
	origin := c.place(tag)
	if origin == "" {
		return Descriptor{}, fmt.Errorf("tag %q: no registry is named: %w", tag, errdefs.ErrNotFound)
	}
	if err := l.admit(&wish{unblocked: c.Direct}, c.request(tag)); err != nil {
		return Descriptor{}, err
	}
	late := fmt.Errorf("registry %s does not answer: %w", c.Registry, errdefs.ErrUnavailable)
	if l.hung(origin) {
		if d, err := l.stale(ctx, c, origin, late); err == nil || refuses(err) {
			return d, err
		}
	}
	who := sha256.Sum256([]byte(c.Header.Get("Authorization") + "\x00" + c.Header.Get("Accept")))
	key := fmt.Sprintf("%s %x", origin, who)
	type result struct {
		d   Descriptor
		err error
	}
	answer := make(chan result, 1)
	l.asking.Go(func() {
		d, err, _ := l.flight.Do(key, func() (any, error) {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
			defer cancel()
			defer context.AfterFunc(l.life, cancel)()
			return l.ask(ctx, source.Request{Origin: origin, Length: -1, Header: c.Header})
		})
		named, _ := d.(Descriptor)
		answer <- result{named, err}
	})
	// A registry that hangs must not keep from its reader what he could have.
	patience := time.NewTimer(l.cfg.FirstByte.Duration())
	defer patience.Stop()
	for {
		select {
		case a := <-answer:
			if a.err != nil {
				return l.stale(ctx, c, origin, a.err)
			}
			if c.Header.Get("Cookie") == "" { // it gave him the manifest that has this digest
				l.learn(l.key(c.place(a.d.Digest.String()), c.Header), c.Header, nil)
			}
			if !c.private() {
				l.remember(ctx, origin, a.d)
			} else {
				l.rememberOwn(c, origin, a.d)
			}
			return a.d, nil
		case <-patience.C:
			l.hang(origin)
			if d, err := l.stale(ctx, c, origin, late); err == nil || refuses(err) {
				return d, err
			}
		case <-ctx.Done():
			return Descriptor{}, ctx.Err()
		}
	}
}

// remember keeps what a public tag names for the time that its registry fails, here
// and by telling others.
func (l *Local) remember(ctx context.Context, origin p2p.Origin, d Descriptor) {
	tag := p2p.Tag{Origin: origin, Digest: d.Digest, Size: d.Size, MediaType: d.MediaType, Seen: time.Now()}
	news, err := l.tags.put(tag)
	if err != nil {
		log.G(ctx).WithError(err).Warn("a tag will be forgotten when darterd stops")
	}
	if news && l.hearsay != nil {
		l.hearsay.TellTag(tag)
	}
}

// stale returns what a public tag named when its registry last answered this node, or
// else another one, where the registry fails now; what it refuses stays refused.
func (l *Local) stale(ctx context.Context, c Content, origin p2p.Origin, err error) (Descriptor, error) {
	if !fails(err) {
		return Descriptor{}, err
	}
	if c.private() {
		return l.staleOwn(ctx, c, origin, err)
	}
	fields := log.Fields{"tag": origin}
	tag, ok := l.tags.get(origin)
	if !ok {
		var told p2p.ToldTag
		if told, ok = l.askOthers(ctx, origin); !ok {
			return Descriptor{}, l.askPassword(origin, err)
		}
		tag = told.Tag
		fields["told_by"], fields["hosts"], fields["seed"] = told.Host, told.Hosts, told.Seed
	}
	fields["digest"], fields["seen"] = tag.Digest, tag.Seen.UTC().Format(time.RFC3339)
	log.G(ctx).WithFields(fields).WithError(err).Warn("registry fails: a stale tag is served")
	return Descriptor{Digest: tag.Digest, Size: tag.Size, MediaType: tag.MediaType, Stale: true}, nil
}

// askOthers returns what most of the other nodes say that a tag named, as far as
// fetch.stale_tags trusts them.
func (l *Local) askOthers(ctx context.Context, origin p2p.Origin) (p2p.ToldTag, bool) {
	if l.hearsay == nil || l.cfg.StaleTags == StaleOwn {
		return p2p.ToldTag{}, false
	}
	all, err := l.hearsay.FindTag(ctx, origin)
	if err != nil && !errdefs.IsNotFound(err) {
		log.G(ctx).WithError(err).Info("other nodes could not be asked for a tag")
	}
	for _, told := range all {
		if time.Since(told.Seen) <= l.cfg.TagMemory.Duration() && (told.Seed || l.cfg.StaleTags == StaleMembers) {
			return told, true
		}
	}
	return p2p.ToldTag{}, false
}

// ask returns what a registry says that a tag names.
func (l *Local) ask(ctx context.Context, r source.Request) (Descriptor, error) {
	head, err := l.origin.Stat(ctx, r)
	if err != nil {
		return Descriptor{}, err
	}
	if d, err := digest.Parse(head.Digest); err == nil && head.Size >= 0 {
		return Descriptor{Digest: d, Size: head.Size, MediaType: head.MediaType}, nil
	}
	full, err := l.origin.Open(ctx, r) // a registry that does not say the digest
	if err != nil {
		return Descriptor{}, err
	}
	defer full.Body.Close()
	sum := digest.SHA256.Digester()
	n, err := io.Copy(sum.Hash(), io.LimitReader(full.Body, registry.MaxManifest+1))
	if err != nil {
		return Descriptor{}, err
	}
	if n > registry.MaxManifest {
		return Descriptor{}, fmt.Errorf("manifest %s is larger than %d bytes: %w", r.Origin, registry.MaxManifest, errdefs.ErrOutOfRange)
	}
	return Descriptor{Digest: sum.Digest(), Size: n, MediaType: full.MediaType}, nil
}
