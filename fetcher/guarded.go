package fetcher

import (
	"context"
	"io"

	"github.com/darter-p2p/darter/fetcher/source"
	"github.com/darter-p2p/darter/internal/block"
)

// guarded is a source without what is blocked, for as long as it is.
type guarded struct {
	source.Source
	rules *Rules
}

func (g guarded) check(r source.Request) (block.Request, *block.Rules, error) {
	q, rules := block.Request{URL: block.URL(string(r.Origin))}, g.rules.blocked.Rules()
	return q, rules, rules.Check(q)
}

// Open implements source.Source.
func (g guarded) Open(ctx context.Context, r source.Request) (*source.Response, error) {
	q, rules, err := g.check(r)
	if err != nil {
		return nil, err
	}
	resp, err := g.Source.Open(ctx, r)
	if err == nil && resp.Body != nil {
		resp.Body = &guardedBody{resp.Body, g.rules, q, rules}
	}
	return resp, err
}

// Stat implements source.Source.
func (g guarded) Stat(ctx context.Context, r source.Request) (*source.Response, error) {
	if _, _, err := g.check(r); err != nil {
		return nil, err
	}
	return g.Source.Stat(ctx, r)
}

// guardedBody ends when its content is blocked.
type guardedBody struct {
	io.ReadCloser
	rules   *Rules
	asked   block.Request
	checked *block.Rules
}

// Read implements io.Reader.
func (b *guardedBody) Read(p []byte) (int, error) {
	if now := b.rules.blocked.Rules(); now != b.checked {
		if err := now.Check(b.asked); err != nil {
			return 0, err
		}
		b.checked = now
	}
	return b.ReadCloser.Read(p)
}
