package fetcher

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"

	"github.com/darter-p2p/darter/fetcher/registry"
	"github.com/darter-p2p/darter/fetcher/source"
	"github.com/darter-p2p/darter/p2p"
)

// Resolve implements Fetcher. Every call asks the registry; calls at the same time
// with the same credential share an answer.
func (l *Local) Resolve(ctx context.Context, c Content, tag string) (Descriptor, error) {
	c.Kind = Manifest
	origin := c.place(tag)
	if origin == "" {
		return Descriptor{}, fmt.Errorf("tag %q: no registry is named: %w", tag, errdefs.ErrNotFound)
	}
	who := sha256.Sum256([]byte(c.Header.Get("Authorization") + "\x00" + c.Header.Get("Accept")))
	answer := l.flight.DoChan(fmt.Sprintf("%s %x", origin, who), func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
		defer cancel()
		return l.ask(ctx, source.Request{Origin: origin, Length: -1, Header: c.Header})
	})
	var got Descriptor
	select {
	case a := <-answer:
		if a.Err != nil {
			return l.stale(c, origin, a.Err)
		}
		got = a.Val.(Descriptor)
	case <-ctx.Done():
		return Descriptor{}, ctx.Err()
	}
	if !c.private() {
		l.tags.put(origin, got)
	}
	return got, nil
}

// stale returns what a public tag named when its registry last answered, where the
// registry fails now; what it refuses stays refused.
func (l *Local) stale(c Content, origin p2p.Origin, err error) (Descriptor, error) {
	if !errdefs.IsUnavailable(err) || c.private() {
		return Descriptor{}, err
	}
	if d, ok := l.tags.get(origin); ok {
		d.Stale = true
		return d, nil
	}
	return Descriptor{}, err
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

// maxTags bounds how many tags are remembered.
const maxTags = 10_000

// tagMemory is what public tags named when they were asked for last.
type tagMemory struct {
	life time.Duration
	mu   sync.Mutex
	tags map[p2p.Origin]remembered
}

type remembered struct {
	Descriptor
	at time.Time
}

func (m *tagMemory) put(o p2p.Origin, d Descriptor) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.tags == nil {
		m.tags = map[p2p.Origin]remembered{}
	}
	if len(m.tags) >= maxTags {
		for old, r := range m.tags { // any of the expired, else any
			if time.Since(r.at) > m.life || len(m.tags) >= maxTags {
				delete(m.tags, old)
			}
		}
	}
	m.tags[o] = remembered{d, time.Now()}
}

func (m *tagMemory) get(o p2p.Origin) (Descriptor, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r, ok := m.tags[o]
	return r.Descriptor, ok && time.Since(r.at) <= m.life
}

// Digest returns what a public tag named when it was asked for last, for explaining.
func (l *Local) Digest(registryName, repository, tag string) (digest.Digest, bool) {
	d, ok := l.tags.get(registry.Origin(registryName, repository, registry.Manifests, tag))
	return d.Digest, ok
}
