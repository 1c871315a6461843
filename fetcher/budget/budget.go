// Package budget keeps a node within what its origins allow. An origin that answered 429,
// or 503 with a Retry-After, is not asked again until the time it named is over: readers
// wait, where that is soon, or get the same answer with what is left of the time. What
// an origin said to another node counts as well (Note), so that a cluster has one budget.
package budget

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

	"github.com/containerd/errdefs"

	"github.com/darter-p2p/darter/fetcher/source"
	"github.com/darter-p2p/darter/p2p"
)

const (
	// patience is how long a reader waits for the end of a pause rather than be refused.
	patience = 2 * time.Second
	// least is how long an origin is left alone that answered 429 and named no time.
	least = time.Second
	// most bounds what an origin can ask for.
	most = 5 * time.Minute
	// maxPauses bounds how many pauses are remembered.
	maxPauses = 4096
)

// Book is what origins said of when to ask them again. Its methods may be called
// concurrently. The clock is monotonic: setting a node's time changes nothing.
type Book struct {
	mu     sync.Mutex
	pauses map[payer]pause
}

// payer is whose budget a request counts against: all who show no credential share one,
// for they come from the same networks; others have the one of their credential.
type payer struct {
	server     string
	credential [sha256.Size]byte // zero = none
}

type pause struct {
	status int
	until  time.Time
}

// New returns an empty book.
func New() *Book { return &Book{pauses: map[payer]pause{}} }

func payerOf(o p2p.Origin, h http.Header) (payer, bool) {
	u, err := url.Parse(string(o))
	if err != nil || u.Host == "" {
		return payer{}, false
	}
	p := payer{server: u.Host}
	if a := h.Get("Authorization"); a != "" {
		p.credential = sha256.Sum256([]byte(a))
	}
	return p, true
}

// Note takes down that an origin asked another node, which showed no credential, to come
// again after d.
func (b *Book) Note(o p2p.Origin, status int, d time.Duration) {
	if p, ok := payerOf(o, nil); ok {
		b.note(p, status, d, time.Now())
	}
}

func (b *Book) note(p payer, status int, d time.Duration, now time.Time) {
	until := now.Add(min(max(d, least), most))
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.pauses) >= maxPauses {
		for other, was := range b.pauses {
			if !now.Before(was.until) {
				delete(b.pauses, other)
			}
		}
	}
	if was := b.pauses[p]; len(b.pauses) < maxPauses && until.After(was.until) {
		b.pauses[p] = pause{status, until}
	}
}

// left returns how long an origin is still to be left alone.
func (b *Book) left(p payer, now time.Time) (pause, time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	was, ok := b.pauses[p]
	if !ok {
		return pause{}, 0
	}
	d := was.until.Sub(now)
	if d <= 0 {
		delete(b.pauses, p)
	}
	return was, max(d, 0)
}

// Source is a source.Source that asks within a budget.
type Source struct {
	Under source.Source
	Book  *Book
}

var _ source.Source = Source{}

// Open implements source.Source.
func (s Source) Open(ctx context.Context, r source.Request) (*source.Response, error) {
	return s.within(ctx, r, s.Under.Open)
}

// Stat implements source.Source.
func (s Source) Stat(ctx context.Context, r source.Request) (*source.Response, error) {
	return s.within(ctx, r, s.Under.Stat)
}

// Bearer gives the token that Under gets for a reader's password (fetcher.Bearers).
func (s Source) Bearer(ctx context.Context, r source.Request) (p2p.Secret, error) {
	if b, ok := s.Under.(interface {
		Bearer(context.Context, source.Request) (p2p.Secret, error)
	}); ok {
		return b.Bearer(ctx, r)
	}
	return "", fmt.Errorf("%s: no tokens: %w", r.Origin, errdefs.ErrNotFound)
}

// within asks when the budget allows it, and notes what the origin says of it.
func (s Source) within(ctx context.Context, r source.Request, ask func(context.Context, source.Request) (*source.Response, error)) (*source.Response, error) {
	p, ok := payerOf(r.Origin, r.Header)
	if !ok {
		return ask(ctx, r)
	}
	for {
		was, left := s.Book.left(p, time.Now())
		if left > patience {
			return nil, refusal(p, was, left)
		}
		if left == 0 {
			break
		}
		select {
		case <-time.After(left):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	resp, err := ask(ctx, r)
	var said *source.Error
	if errors.As(err, &said) && (said.Status == http.StatusTooManyRequests || said.Status == http.StatusServiceUnavailable && said.RetryAfter > 0) {
		s.Book.note(p, said.Status, said.RetryAfter, time.Now())
	}
	return resp, err
}

// refusal is the origin's answer of a moment ago, with what is left of its time.
func refusal(p payer, was pause, left time.Duration) error {
	seconds := int64((left + time.Second - 1) / time.Second)
	return &source.Error{
		Status: was.status, Host: p.server, RetryAfter: time.Duration(seconds) * time.Second,
		Header: http.Header{"Retry-After": {strconv.FormatInt(seconds, 10)}},
		Err:    fmt.Errorf("it asked the cluster to come again in %d s", seconds),
	}
}
