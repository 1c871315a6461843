package fetcher

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/containerd/errdefs"
	"github.com/containerd/log"

	"github.com/darter-p2p/darter/fetcher/access"
	"github.com/darter-p2p/darter/fetcher/source"
	"github.com/darter-p2p/darter/internal/block"
	"github.com/darter-p2p/darter/p2p"
)

// wish is one reader's wish for a content.
type wish struct {
	task   p2p.TaskID
	origin p2p.Origin  // "" = no place is named
	header http.Header // the reader's own
	// open says that to name the task is to have been let in: that of a URL's present
	// generation, for which its origin was asked.
	open bool
	// anywhere says that the digest is what is asked for, and the origin only where it
	// can be had: what is public at another place need not be asked for there.
	anywhere bool
	// kept says that the content is wanted in this node's store: from the piece network
	// or not at all.
	kept bool
	// segment says that the origin is that of a segment, which only the piece network has.
	segment bool
	// urgent and background are those of a Content; background, too, that the application's
	// priority is low, and pressing that it is high.
	urgent, background, pressing bool
	// verifies is a Content's.
	verifies bool
	// asked is what rules are asked about, and checked the rules that let it in.
	asked     block.Request
	checked   *block.Rules
	unblocked bool // whatever the rules
	// listed is a manifest that names the content, without a header: it is asked for with
	// that of the wish. The zero Content is none.
	listed Content
}

// anonymous is the wish of a reader who shows no credential.
func (w wish) anonymous() wish {
	w.header = w.header.Clone()
	w.header.Del("Authorization")
	return w
}

// key stands for the reader and what he wants, in the memory of answers.
func (l *Local) key(origin p2p.Origin, h http.Header) access.Key {
	l.mu.Lock()
	defer l.mu.Unlock()
	return access.Key{Reader: l.access.Reader(h.Get("Authorization")), Origin: origin}
}

// errSlowRegistry is wrapped where a registry took too long to say who may read.
var errSlowRegistry = errors.New("registry does not answer")

// permit returns nil if the registry lets the reader have what is at the origin, or did
// so within the grace and fails now, and else what it said.
func (l *Local) permit(ctx context.Context, origin p2p.Origin, h http.Header) error {
	k, now := l.key(origin, h), time.Now()
	l.mu.Lock()
	state, refusal := l.access.Look(k, now)
	l.mu.Unlock()
	switch {
	case state == access.Allowed:
		l.counts.check("remembered")
		return nil
	case state == access.Refused:
		l.counts.check("refused")
		return refusal
	case state == access.Lapsed && l.hung(origin):
		l.counts.check("grace")
		return nil
	}
	err := l.askPermit(ctx, k, h)
	switch {
	case err == nil:
		l.counts.check("allowed")
	case refuses(err):
		l.counts.check("refused")
	case ctx.Err() != nil:
	case state == access.Lapsed && fails(err):
		l.counts.check("grace")
		log.G(ctx).WithField("origin", origin).WithError(err).Warn("registry fails: a reader whom it let in before is let in")
		return nil
	default:
		l.counts.check("failed")
		if fails(err) && h.Get("Authorization") == "" {
			err = l.askPassword(origin, err)
		}
	}
	return err
}

// askPermit asks the registry by a HEAD with the reader's credential; readers with the
// same question share the answer.
func (l *Local) askPermit(ctx context.Context, k access.Key, h http.Header) error {
	ask := http.Header{} // what kinds of manifest the reader takes is another matter
	for _, name := range []string{"Authorization", "User-Agent", source.HopHeader} {
		if v := h.Values(name); len(v) > 0 {
			ask[http.CanonicalHeaderKey(name)] = v
		}
	}
	answer := make(chan error, 1)
	l.asking.Go(func() {
		_, err, _ := l.flight.Do(fmt.Sprintf("may %x read %s", k.Reader, string(k.Origin)), func() (any, error) {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
			defer cancel()
			defer context.AfterFunc(l.life, cancel)()
			_, err := l.origin.Stat(ctx, source.Request{Origin: k.Origin, Length: -1, Header: ask})
			l.learn(k, ask, err)
			return nil, err
		})
		answer <- err
	})
	patience := time.NewTimer(l.cfg.FirstByte.Duration())
	defer patience.Stop()
	select {
	case err := <-answer:
		return err
	case <-patience.C:
		l.hang(k.Origin)
		return fmt.Errorf("%s: %w: %w", k.Origin, errSlowRegistry, errdefs.ErrUnavailable)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// learn remembers what a registry answered.
func (l *Local) learn(k access.Key, h http.Header, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	switch {
	case err == nil:
		end, _ := access.Expiry(access.Bearer(h.Get("Authorization")))
		l.access.Allow(k, end, now)
		if access.Basic(h.Get("Authorization")) {
			l.access.Passworded(k.Origin, now)
		}
	case refuses(err):
		l.access.Refuse(k, err, now)
	}
}

// hang takes note that the registry of an origin did not answer in time.
func (l *Local) hang(o p2p.Origin) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.access.Hang(access.RegistryOf(o), time.Now())
}

// hung reports whether it did so a moment ago: what can be had without it is, then.
func (l *Local) hung(o p2p.Origin) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.access.Hung(access.RegistryOf(o), time.Now())
}

// refuses reports whether an error is the registry's word that the reader may not have
// the content, or that it has none such.
func refuses(err error) bool {
	return errdefs.IsUnauthorized(err) || errdefs.IsPermissionDenied(err) || errdefs.IsNotFound(err)
}

// fails reports whether an error says that the registry cannot answer now.
func fails(err error) bool { return errdefs.IsUnavailable(err) || errdefs.IsResourceExhausted(err) }

// errElsewhere says that the network holds a content from another place than the one
// that the reader may read.
var errElsewhere = errors.New("the piece network has the content from elsewhere")

// mayHave decides about a reader without a credential, or one who was let in, when it is
// known where the content that the network gives was read: nil, the registry's refusal,
// or errElsewhere.
func (l *Local) mayHave(ctx context.Context, w wish, readings []p2p.Reading) error {
	switch {
	case w.open:
		return nil
	case (w.origin == "" || w.anywhere) && access.Public(readings):
		return nil
	case w.origin == "":
		return fmt.Errorf("%s: a registry must be named: %w", w.task, errdefs.ErrNotFound)
	case !access.Vouched(w.origin, readings):
		l.counts.check("elsewhere")
		return fmt.Errorf("%s: %w", w.origin, errElsewhere)
	case w.header.Get("Authorization") != "":
		return nil // permit was asked before
	}
	return l.openTo(ctx, w, readings)
}

// openTo returns nil if the origin is everybody's, by what is known of where the content
// was read, or else if the registry lets the reader in. While the registry fails, what
// was public stays so.
func (l *Local) openTo(ctx context.Context, w wish, readings []p2p.Reading) error {
	r, known := access.Of(w.origin, readings)
	known = known && r.Public && access.Vouched(w.origin, readings)
	switch {
	case known && l.freshPublic(r):
		l.counts.check("public")
		return nil
	case known && l.hung(w.origin):
		l.counts.check("grace")
		return nil
	}
	err := l.permit(ctx, w.origin, w.header)
	if errdefs.IsNotFound(err) && w.listed.Digest != "" {
		err = l.permitByList(ctx, w, err)
	}
	if err != nil && known && fails(err) {
		l.counts.check("grace")
		log.G(ctx).WithField("origin", w.origin).WithError(err).Warn("registry fails: what was public is given to all")
		return nil
	}
	return err
}

func (l *Local) freshPublic(r p2p.Reading) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.access.FreshPublic(r, time.Now())
}

// known returns where what this host holds of a task was read.
func (l *Local) known(task p2p.TaskID) []p2p.Reading {
	s, _ := l.swarm.Task(task)
	return s.Readings
}

// letIn asks whether a reader with a credential may have a content, before anything of
// it is asked of the network.
func (l *Local) letIn(ctx context.Context, w wish) error {
	if w.origin == "" || w.open || w.header.Get("Authorization") == "" {
		return nil
	}
	return l.openTo(ctx, w, l.known(w.task))
}
