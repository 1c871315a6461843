package fetcher

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/containerd/errdefs"
	"github.com/containerd/log"
	"github.com/opencontainers/go-digest"

	"github.com/darter-p2p/darter/fetcher/httpsource"
	"github.com/darter-p2p/darter/fetcher/source"
	"github.com/darter-p2p/darter/fetcher/source/httpread"
	"github.com/darter-p2p/darter/internal/block"
	"github.com/darter-p2p/darter/p2p"
)

// URL names a content by an http or https URL, and who asks for it.
type URL struct {
	URL string
	// Tag and Application tell contents of one URL apart where their users want that.
	Tag, Application string
	// Digest is the content's, "" = not known. A public content with a digest is shared
	// with every other source of the same digest. The bytes given are not checked
	// against it: the reader does.
	Digest digest.Digest
	// Validator is the generation that is wanted, "" = the present one. Where the origin
	// has another, Open fails with ErrFailedPrecondition.
	Validator string
	// Header holds the reader's own headers for the origin. With any of them but Accept
	// and User-Agent the content is read for this reader alone.
	Header http.Header
}

// request is what is asked for, in the words of rules.
func (u URL) request(parsed *url.URL) block.Request {
	return block.Request{URL: block.URL(string(httpsource.Origin(parsed, ""))), Application: u.Application, Tag: u.Tag}
}

// urlTries is how often a content that changes while it is opened is opened anew.
const urlTries = 3

// private reports whether the answer may depend on who asks.
func (u URL) private(parsed *url.URL) bool {
	if parsed.User != nil {
		return true
	}
	for name := range u.Header {
		if name != "Accept" && name != "User-Agent" {
			return true
		}
	}
	return false
}

// OpenURL returns the bytes of a range of a URL's content; errors are those of Open.
// A Body's Size and Length are -1 where the origin does not say them; its Validator is
// "" where it cannot be resumed.
//
// A content is shared by generation: the origin is asked first, for each reader with his
// own URL, and what it says (a signature that it refuses, a validator) is what counts.
func (l *Local) OpenURL(ctx context.Context, u URL, r Range) (*Body, error) {
	parsed, err := httpsource.ParseURL(u.URL)
	if err != nil {
		return nil, err
	}
	if r.Offset < 0 {
		return nil, fmt.Errorf("range from the end of a URL: %w", errdefs.ErrInvalidArgument)
	}
	canonical, signed := httpsource.Canonical(parsed, l.cfg.FilteredQuery)
	unshared := p2p.TaskOfURL(canonical, u.Tag, u.Application)
	var w wish
	if err := l.admit(&w, u.request(parsed)); err != nil {
		return nil, err
	}
	if u.private(parsed) {
		w.task, w.origin, w.header = unshared, httpsource.Origin(parsed, u.Validator), withUser(u.Header, parsed)
		return l.direct(ctx, w, r)
	}
	if u.Digest != "" && !signed && u.Validator == "" {
		task, err := p2p.TaskOfDigest(u.Digest)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", err, errdefs.ErrInvalidArgument)
		}
		w.task, w.origin, w.header, w.anywhere = task, httpsource.Origin(parsed, ""), u.Header, true
		return l.sharedOrDirect(ctx, w, r)
	}
	for try := 1; ; try++ {
		body, err := l.openGeneration(ctx, u, w, parsed, canonical, r)
		if err == nil || u.Validator != "" || try >= urlTries || !errdefs.IsFailedPrecondition(err) {
			return body, err
		}
		// It changed since the origin was asked: ask again.
	}
}

// openGeneration opens the present generation of a public content, or the one wanted.
func (l *Local) openGeneration(ctx context.Context, u URL, w wish, parsed *url.URL, canonical string, r Range) (*Body, error) {
	at, err := l.askURL(ctx, httpsource.Origin(parsed, u.Validator), u.Header)
	if err != nil {
		return nil, err
	}
	if r.Offset > 0 && at.Size >= 0 && r.Offset >= at.Size {
		return nil, fmt.Errorf("offset %d of %d bytes: %w", r.Offset, at.Size, errdefs.ErrOutOfRange)
	}
	origin := httpsource.Origin(parsed, at.Validator)
	w.task = p2p.TaskOfGeneration(canonical, u.Tag, u.Application, at.Validator)
	w.origin, w.header, w.open = origin, u.Header, true
	switch {
	case !l.sharable(parsed) || at.Size == 0 || at.Validator == "" && at.Moment == "":
		return l.direct(ctx, w, r)
	case at.Validator == "" || at.Size < 0:
		if r.Offset > 0 { // parts cannot be had; the reader may have a better origin
			return l.direct(ctx, w, r)
		}
		name := func(part string) p2p.TaskID {
			return p2p.TaskOfGeneration(canonical, u.Tag, u.Application, cmp.Or(at.Validator, at.Moment)+" "+part)
		}
		return l.openSerial(ctx, w, at, name, r.Length)
	}
	body, err := l.sharedOrDirect(ctx, w, r)
	if err != nil {
		return nil, err
	}
	body.MediaType, body.Validator = at.MediaType, at.Validator
	return body, nil
}

// sharable reports whether seeds may read a host: what is on this machine's loopback
// is another content on a seed's.
func (l *Local) sharable(u *url.URL) bool {
	return l.policy == nil || l.policy.Host(u.Hostname(), httpread.PortOf(u)) == nil
}

// sharedOrDirect opens a content of the piece network, or of its origin where that fails.
func (l *Local) sharedOrDirect(ctx context.Context, w wish, r Range) (*Body, error) {
	body, err := l.granted(ctx, w, r)
	if err == nil || final(ctx, err) {
		return body, err
	}
	log.G(ctx).WithField("task", w.task).WithError(err).Info("piece network does not give the content: read from its origin")
	return l.direct(ctx, w, r)
}

// askURL asks an origin for size and validator; readers at the same time share the answer.
func (l *Local) askURL(ctx context.Context, origin p2p.Origin, h http.Header) (*source.Response, error) {
	type result struct {
		at  *source.Response
		err error
	}
	answer := make(chan result, 1)
	key := fmt.Sprintf("%s %q", string(origin), h["Accept"])
	l.asking.Go(func() {
		v, err, _ := l.flight.Do(key, func() (any, error) {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
			defer cancel()
			defer context.AfterFunc(l.life, cancel)()
			return l.origin.Stat(ctx, source.Request{Origin: origin, Header: h})
		})
		at, _ := v.(*source.Response)
		answer <- result{at, err}
	})
	select {
	case a := <-answer:
		return a.at, a.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// withUser puts the URL's user and password where an origin expects them.
func withUser(h http.Header, u *url.URL) http.Header {
	if u.User == nil || h.Get("Authorization") != "" {
		return h
	}
	password, _ := u.User.Password()
	r := http.Request{Header: h.Clone()}
	if r.Header == nil {
		r.Header = http.Header{}
	}
	r.SetBasicAuth(u.User.Username(), password)
	return r.Header
}
