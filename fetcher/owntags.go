package fetcher

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/containerd/log"

	"github.com/darter-p2p/darter/fetcher/access"
	"github.com/darter-p2p/darter/fetcher/source"
	"github.com/darter-p2p/darter/p2p"
)

// rememberOwn keeps what a tag names for a reader with a credential, for the same
// credential, in memory.
func (l *Local) rememberOwn(c Content, origin p2p.Origin, d Descriptor) {
	if c.Header.Get("Cookie") != "" {
		return
	}
	k, now := l.key(origin, c.Header), time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.access.Name(k, p2p.Tag{Origin: origin, Digest: d.Digest, Size: d.Size, MediaType: d.MediaType, Seen: now}, now)
	if access.Basic(c.Header.Get("Authorization")) {
		l.access.Passworded(origin, now)
	}
}

// staleOwn returns what a tag named for this credential while its registry fails.
func (l *Local) staleOwn(ctx context.Context, c Content, origin p2p.Origin, err error) (Descriptor, error) {
	if c.Header.Get("Cookie") != "" {
		return Descriptor{}, err
	}
	k := l.key(origin, c.Header)
	l.mu.Lock()
	tag, ok := l.access.Named(k, time.Now())
	l.mu.Unlock()
	if !ok {
		return Descriptor{}, err
	}
	log.G(ctx).WithFields(log.Fields{"tag": origin, "digest": tag.Digest, "seen": tag.Seen.UTC().Format(time.RFC3339)}).
		WithError(err).Warn("registry fails: a stale tag is served to a reader whom it let in before")
	return Descriptor{Digest: tag.Digest, Size: tag.Size, MediaType: tag.MediaType, Stale: true}, nil
}

// askPassword turns a failing registry's error into the challenge that it would have
// answered with, for a reader without a credential, where this node knows one that is good
// for the origin: clients show theirs only when they are asked. Others keep the error.
func (l *Local) askPassword(origin p2p.Origin, err error) error {
	l.mu.Lock()
	known := l.access.AsksPassword(origin, time.Now())
	l.mu.Unlock()
	if !known {
		return err
	}
	return &source.Error{
		Status: http.StatusUnauthorized, Host: access.RegistryOf(origin),
		Header: http.Header{"Www-Authenticate": {`Basic realm="darter"`}},
		Err:    errors.New("the registry fails, and a credential that it took before is needed: " + err.Error()),
	}
}
