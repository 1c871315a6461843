package jobs

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"github.com/containerd/log"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	nodev1 "github.com/darter-p2p/darter/api/node/v1"
	"github.com/darter-p2p/darter/manager/model"
)

// run is one attempt at a job.
type run struct {
	*Worker
	job      *model.Job
	args     Args
	digest   string // of the image
	targets  []Node
	contents []*nodev1.Content
	base     *nodev1.FetchRequest // registry, repository and tag

	mu     sync.Mutex
	ledger *ledger
}

// name names the job at nodes; each attempt has the same, so that pins do not add up.
func (r *run) name() string { return fmt.Sprintf("job-%d", r.job.ID) }

// prepare finds the nodes and the contents.
func (r *run) prepare(ctx context.Context) error {
	all, err := r.nodes.NodesOf(ctx, r.job.ClusterID)
	if err != nil {
		return fmt.Errorf("list nodes: %w", err)
	}
	if r.targets, err = r.args.Select(r.job.ID, all); err != nil {
		return err
	}
	r.base = &nodev1.FetchRequest{Job: r.name(), Authorization: r.args.Authorization, PinSeconds: r.args.PinSeconds}
	if r.args.Image != "" {
		if err := r.resolve(ctx, all); err != nil {
			return err
		}
	}
	for _, f := range r.args.Files {
		r.contents = append(r.contents, &nodev1.Content{Kind: nodev1.Kind_KIND_URL, Url: f.URL, Digest: f.Digest.String(), Size: -1})
	}
	r.ledger.plan(r.targets, r.contents)
	return r.flush(ctx)
}

// resolve has a seed read the image's manifests. A seed that cannot be reached is passed
// over; what a registry said is the job's end.
func (r *run) resolve(ctx context.Context, all []Node) error {
	var unreached error
	for _, n := range resolvers(r.job.ID, all) {
		found, err := r.resolveAt(ctx, n)
		if err == nil {
			r.digest, r.contents = found.GetDigest(), found.GetContents()
			r.base.Registry, r.base.Repository, r.base.Tag = found.GetRegistry(), found.GetRepository(), found.GetTag()
			return nil
		}
		if ctx.Err() != nil {
			return err
		}
		if !unreachable(err) {
			return fmt.Errorf("%s: %s: %w", n.Name, message(err), err)
		}
		unreached = errors.Join(unreached, fmt.Errorf("%s: %s", n.Name, message(err)))
	}
	if unreached == nil {
		return fmt.Errorf("no node of the cluster is up to resolve %s: %w", r.args.Image, errdefs.ErrUnavailable)
	}
	return fmt.Errorf("no node that could resolve %s: %w: %w", r.args.Image, unreached, errdefs.ErrUnavailable)
}

func (r *run) resolveAt(ctx context.Context, n Node) (*nodev1.ResolveResponse, error) {
	a, err := r.dial(n)
	if err != nil {
		return nil, err
	}
	defer a.Close()
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	return a.Resolve(ctx, &nodev1.ResolveRequest{Image: r.args.Image, Platforms: r.args.Platforms, Authorization: r.args.Authorization})
}

// onNodes has every node do its part, so many at a time, and writes what they say.
func (r *run) onNodes(ctx context.Context) {
	flushed := make(chan struct{})
	fctx, stop := context.WithCancel(ctx)
	go func() {
		defer close(flushed)
		tick := time.NewTicker(r.cfg.Flush)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				_ = r.flush(fctx) // tried again; renew notices a lost lease
			case <-fctx.Done():
				return
			}
		}
	}()
	places := make(chan struct{}, r.args.AtOnce)
	var parts sync.WaitGroup
	for _, n := range r.targets {
		select {
		case places <- struct{}{}:
		case <-ctx.Done():
		}
		if ctx.Err() != nil {
			break
		}
		parts.Go(func() {
			defer func() { <-places }()
			r.onNode(ctx, n)
		})
	}
	parts.Wait()
	stop()
	<-flushed
}

// onNode has one node do its part; one that cannot be reached is tried again.
func (r *run) onNode(ctx context.Context, n Node) {
	var err error
	for try := range r.cfg.Tries {
		if err = r.try(ctx, n); err == nil || ctx.Err() != nil || !unreachable(err) || try == r.cfg.Tries-1 {
			break
		}
		select {
		case <-time.After(r.cfg.Retry << try):
		case <-ctx.Done():
		}
	}
	if err == nil {
		return
	}
	if ctx.Err() != nil { // the job was stopped: perform says why
		return
	}
	why := message(err)
	if unreachable(err) {
		why = fmt.Sprintf("the node cannot be reached at %s: %s", n.Address, why)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ledger.endNode(n.Name, model.Failed, why)
}

func (r *run) try(ctx context.Context, n Node) error {
	a, err := r.dial(n)
	if err != nil {
		return err
	}
	defer a.Close()
	return r.part(ctx, n, a)
}

// batch is how many items are written at a time.
const batch = 2000

// flush writes the items that changed.
func (r *run) flush(ctx context.Context) error {
	r.mu.Lock()
	items := r.ledger.take()
	r.mu.Unlock()
	for len(items) > 0 {
		some := items[:min(len(items), batch)]
		if err := r.store.PutItems(ctx, r.job, some, time.Now()); err != nil {
			r.mu.Lock()
			defer r.mu.Unlock()
			for _, i := range items {
				r.ledger.dirty[key{i.Member, i.Content}] = true
			}
			if ctx.Err() == nil {
				log.G(ctx).WithField("job", r.job.ID).WithError(err).Warn("a job's items cannot be written now")
			}
			return err
		}
		items = items[len(some):]
	}
	return nil
}

// unreachable reports whether an error says that the node itself does not answer.
func unreachable(err error) bool {
	return status.Code(err) == codes.Unavailable || errdefs.IsUnavailable(err)
}

// message is an error in the words of who refused, without gRPC's.
func message(err error) string {
	var s interface{ GRPCStatus() *status.Status }
	if errors.As(err, &s) {
		return strings.TrimSpace(s.GRPCStatus().Message())
	}
	return err.Error()
}
