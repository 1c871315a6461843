package fetcher

import (
	"context"
	"fmt"
	"time"

	"github.com/containerd/errdefs"

	"github.com/darter-p2p/darter/fetcher/httpsource"
	"github.com/darter-p2p/darter/p2p"
)

// keepFirstByte is how long content that nobody waits for may take to begin, at least.
const keepFirstByte = time.Minute

// Keep opens the whole of a content for a reader who may have it, from the piece network
// alone: what its Body gives is in this node's store. Where the network cannot give it,
// that is the error; the origin is not read past it, nor is the rest of the Body.
func (l *Local) Keep(ctx context.Context, c Content) (*Body, p2p.TaskID, error) {
	task, err := p2p.TaskOfDigest(c.Digest)
	if err != nil {
		return nil, task, fmt.Errorf("%w: %w", err, errdefs.ErrInvalidArgument)
	}
	w := wish{task: task, origin: c.place(c.Digest.String()), header: c.Header, kept: true}
	if c.Header.Get("Cookie") != "" {
		return nil, task, fmt.Errorf("%s: content read with a cookie is not kept: %w", c.Digest, errdefs.ErrInvalidArgument)
	}
	if err := l.admit(&w, c.request(c.Digest.String())); err != nil {
		return nil, task, err
	}
	body, err := l.granted(ctx, w, All)
	return body, task, err
}

// KeepURL is Keep for a URL's content.
func (l *Local) KeepURL(ctx context.Context, u URL) (*Body, p2p.TaskID, error) {
	parsed, err := httpsource.ParseURL(u.URL)
	if err != nil {
		return nil, p2p.TaskID{}, err
	}
	canonical, signed := httpsource.Canonical(parsed, l.cfg.FilteredQuery)
	task := p2p.TaskOfURL(canonical, u.Tag, u.Application)
	var w wish
	if err := l.admit(&w, u.request(parsed)); err != nil {
		return nil, task, err
	}
	if u.private(parsed) {
		return nil, task, fmt.Errorf("%s: a URL that needs a credential is read for its reader alone, and not kept: %w", httpsource.Origin(parsed, ""), errdefs.ErrInvalidArgument)
	}
	if u.Digest != "" && !signed {
		if task, err = p2p.TaskOfDigest(u.Digest); err != nil {
			return nil, task, fmt.Errorf("%w: %w", err, errdefs.ErrInvalidArgument)
		}
		w.task, w.origin, w.header, w.anywhere, w.kept = task, httpsource.Origin(parsed, ""), u.Header, true, true
		body, err := l.granted(ctx, w, All)
		return body, task, err
	}
	at, err := l.askURL(ctx, httpsource.Origin(parsed, u.Validator), u.Header)
	if err != nil {
		return nil, task, err
	}
	origin := httpsource.Origin(parsed, at.Validator)
	switch {
	case at.Validator == "" || at.Size <= 0:
		return nil, task, fmt.Errorf("%s: its server gives no size, strong ETag or old Last-Modified, so that nodes cannot share it: %w", origin, errdefs.ErrFailedPrecondition)
	case !l.sharable(parsed):
		return nil, task, fmt.Errorf("%s: [upstream] lets no seed read this host: %w", origin, errdefs.ErrPermissionDenied)
	}
	task = p2p.TaskOfGeneration(canonical, u.Tag, u.Application, at.Validator)
	w.task, w.origin, w.header, w.open, w.kept = task, origin, u.Header, true, true
	body, err := l.granted(ctx, w, All)
	if err == nil {
		body.MediaType, body.Validator = at.MediaType, at.Validator
	}
	return body, task, err
}

// urgency is the class of a wish, and how long its first byte may take.
func (l *Local) urgency(w wish) (p2p.Class, time.Duration) {
	if w.kept {
		return p2p.Background, max(keepFirstByte, l.cfg.FirstByte.Duration())
	}
	switch {
	case w.urgent:
		return p2p.Urgent, min(l.cfg.FirstByte, l.cfg.Urgent).Duration()
	case w.background:
		return p2p.Background, l.cfg.FirstByte.Duration()
	case w.pressing: // and as patient as others: a whole content may be
		return p2p.Urgent, l.cfg.FirstByte.Duration()
	}
	return p2p.Window, l.cfg.FirstByte.Duration()
}
