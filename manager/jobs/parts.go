package jobs

import (
	"context"
	"fmt"

	nodev1 "github.com/darter-p2p/darter/api/node/v1"
	"github.com/darter-p2p/darter/manager/model"
)

// part has a node do its part of the job.
func (r *run) part(ctx context.Context, n Node, a Agent) error {
	switch {
	case r.job.Kind == Preheat && r.args.DryRun:
		return r.measure(ctx, n, a)
	case r.job.Kind == Preheat:
		return r.fetch(ctx, n, a)
	case r.job.Kind == Delete:
		return r.remove(ctx, n, a)
	case r.job.Kind == Collect:
		return r.collect(ctx, n, a)
	case r.job.Kind == Find:
		return r.find(ctx, n, a)
	}
	return r.sync(ctx, n, a)
}

// fetch has a node bring what has not settled yet.
func (r *run) fetch(ctx context.Context, n Node, a Agent) error {
	q := &nodev1.FetchRequest{
		Job: r.base.GetJob(), Registry: r.base.GetRegistry(), Repository: r.base.GetRepository(), Tag: r.base.GetTag(),
		Authorization: r.base.GetAuthorization(), PinSeconds: r.base.GetPinSeconds(),
	}
	r.mu.Lock()
	for _, c := range r.contents {
		if i := r.ledger.items[key{n.Name, name(c)}]; i != nil && !i.State.Final() {
			q.Contents = append(q.Contents, c)
		}
	}
	r.mu.Unlock()
	return a.Fetch(ctx, q, func(m *nodev1.FetchResponse) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.ledger.heard(n.Name, q.GetContents()[m.GetIndex()], m)
	})
}

// held asks a node what it holds of the contents; answers stand in their order. A URL's
// task is known to its reader only, unless it has a digest.
func (r *run) held(ctx context.Context, a Agent) ([]*nodev1.Holding, error) {
	found := make([]*nodev1.Holding, len(r.contents))
	q := &nodev1.HeldRequest{}
	var at []int
	for i, c := range r.contents {
		if c.GetDigest() != "" {
			q.Tasks = append(q.Tasks, c.GetDigest())
			at = append(at, i)
		}
	}
	if len(at) == 0 {
		return found, nil
	}
	h, err := a.Held(ctx, q)
	if err != nil {
		return nil, err
	}
	if len(h.GetHoldings()) != len(at) {
		return nil, fmt.Errorf("the node was asked for %d contents and answered for %d", len(at), len(h.GetHoldings()))
	}
	for k, i := range at {
		found[i] = h.GetHoldings()[k]
	}
	return found, nil
}

// measure says what a preheat would move to a node.
func (r *run) measure(ctx context.Context, n Node, a Agent) error {
	found, err := r.held(ctx, a)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, c := range r.contents {
		h := found[i]
		move := max(c.GetSize(), h.GetSize(), 0) - h.GetBytes()
		r.ledger.total.BytesMove += move
		r.ledger.nodes[n.Name].BytesMove += move
		r.ledger.change(n.Name, name(c), func(item *model.JobItem) {
			seen(r.ledger, item, h)
		})
	}
	return nil
}

// seen writes down what a node was seen to hold; that it was asked is the success.
func seen(l *ledger, item *model.JobItem, h *nodev1.Holding) {
	l.hold(item, h)
	item.State = model.Succeeded
	if !h.GetComplete() {
		item.Error = "not held whole"
	}
}

// find says what a node holds.
func (r *run) find(ctx context.Context, n Node, a Agent) error {
	found, err := r.held(ctx, a)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, c := range r.contents {
		r.ledger.change(n.Name, name(c), func(item *model.JobItem) {
			seen(r.ledger, item, found[i])
		})
	}
	return nil
}

// remove has a node delete the contents.
func (r *run) remove(ctx context.Context, n Node, a Agent) error {
	q := &nodev1.DeleteRequest{}
	var names []string
	for _, c := range r.contents {
		if c.GetDigest() != "" {
			q.Tasks = append(q.Tasks, c.GetDigest())
			names = append(names, name(c))
			continue
		}
		r.mu.Lock()
		r.ledger.end(n.Name, name(c), model.Failed, "a URL without a digest cannot be found on other nodes: give its digest")
		r.mu.Unlock()
	}
	if len(names) == 0 {
		return nil
	}
	d, err := a.Delete(ctx, q)
	if err != nil {
		return err
	}
	if len(d.GetDeletions()) != len(names) {
		return fmt.Errorf("the node was asked to delete %d contents and answered for %d", len(names), len(d.GetDeletions()))
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, done := range d.GetDeletions() {
		r.ledger.total.BytesFreed += done.GetBytes()
		if f := done.GetFailure(); f != nil {
			r.ledger.end(n.Name, names[i], model.Failed, f.GetMessage())
			continue
		}
		r.ledger.end(n.Name, names[i], model.Succeeded, "")
	}
	return nil
}

// collect has a node give back what is old.
func (r *run) collect(ctx context.Context, n Node, a Agent) error {
	c, err := a.Collect(ctx, &nodev1.CollectRequest{UnusedSeconds: r.args.UnusedSeconds})
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ledger.total.BytesFreed += c.GetBytes()
	r.ledger.change(n.Name, whole, func(i *model.JobItem) { i.State, i.Bytes = model.Succeeded, c.GetBytes() })
	return nil
}

// sync asks a node for all that it holds.
func (r *run) sync(ctx context.Context, n Node, a Agent) error {
	h, err := a.Held(ctx, &nodev1.HeldRequest{})
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ledger.change(n.Name, whole, func(i *model.JobItem) {
		i.State = model.Succeeded
		for _, c := range h.GetHoldings() {
			i.Bytes += c.GetBytes()
			i.Pieces += int64(c.GetPieces())
			i.Verified += int64(c.GetPiecesHeld())
		}
	})
	return nil
}
