package jobs

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	nodev1 "github.com/darter-p2p/darter/api/node/v1"
	"github.com/darter-p2p/darter/manager/model"
)

// memory is the plainest Store that keeps the contract.
type memory struct {
	mu    sync.Mutex
	jobs  []*model.Job
	items map[int64]map[key]model.JobItem
	ends  map[int64]int // how often a job was finished
	down  bool
}

func newMemory() *memory {
	return &memory{items: map[int64]map[key]model.JobItem{}, ends: map[int64]int{}}
}

func (m *memory) add(t *testing.T, s *Sealer, kind, args string) int64 {
	t.Helper()
	raw, err := s.Prepare(kind, json.RawMessage(args))
	if err != nil {
		t.Fatal(err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	j := &model.Job{ID: int64(len(m.jobs) + 1), Kind: kind, ClusterID: 1, Args: raw, State: model.Waiting}
	m.jobs = append(m.jobs, j)
	m.items[j.ID] = map[key]model.JobItem{}
	return j.ID
}

func (m *memory) ClaimJob(_ context.Context, holder string, now time.Time, lease time.Duration) (*model.Job, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, j := range m.jobs {
		if j.State == model.Waiting || j.State == model.Running && j.LeaseUntil.Before(now) {
			j.State, j.Holder, j.LeaseUntil = model.Running, holder, model.At(now.Add(lease))
			j.Attempt++
			copied := *j
			return &copied, nil
		}
	}
	return nil, nil
}

func (m *memory) heldLocked(j *model.Job) (*model.Job, error) {
	if m.down {
		return nil, errdefs.ErrUnavailable
	}
	row := m.jobs[j.ID-1]
	if row.Holder != j.Holder || row.Attempt != j.Attempt || row.State != model.Running {
		return nil, fmt.Errorf("attempt %d: %w", j.Attempt, errdefs.ErrFailedPrecondition)
	}
	return row, nil
}

func (m *memory) RenewJob(_ context.Context, j *model.Job, now time.Time, lease time.Duration) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	row, err := m.heldLocked(j)
	if err != nil {
		return false, err
	}
	row.LeaseUntil = model.At(now.Add(lease))
	return row.Cancel, nil
}

func (m *memory) PutItems(_ context.Context, j *model.Job, items []model.JobItem, _ time.Time) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, err := m.heldLocked(j); err != nil {
		return err
	}
	for _, i := range items {
		m.items[j.ID][key{i.Member, i.Content}] = i
	}
	return nil
}

func (m *memory) FinishJob(_ context.Context, j *model.Job, _ time.Time) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	row, err := m.heldLocked(j)
	if err != nil {
		return err
	}
	row.State, row.Result, row.Error = j.State, j.Result, j.Error
	m.ends[j.ID]++
	return nil
}

func (m *memory) cancel(id int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.jobs[id-1].Cancel = true
}

func (m *memory) job(id int64) model.Job {
	m.mu.Lock()
	defer m.mu.Unlock()
	return *m.jobs[id-1]
}

// await waits until a job has ended. It is for synctest's time.
func (m *memory) await(t *testing.T, id int64) (model.Job, Result) {
	t.Helper()
	for range 100_000 {
		if j := m.job(id); j.State.Final() {
			var r Result
			if err := json.Unmarshal(j.Result, &r); err != nil {
				t.Fatal(err)
			}
			return j, r
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Fatalf("job %d does not end: %+v", id, m.job(id))
	return model.Job{}, Result{}
}

// errorsOf lists a job's items that have an error, "member content: error".
func (m *memory) errorsOf(id int64) []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var all []string
	for k, i := range m.items[id] {
		if i.Error != "" {
			all = append(all, fmt.Sprintf("%s %s: %s: %s", k.member, k.content, i.State, i.Error))
		}
	}
	slices.Sort(all)
	return all
}

// fleet is nodes that do what they are told to.
type fleet struct {
	mu    sync.Mutex
	nodes []*fakeNode
}

// fakeNode is a node with a store of digests.
type fakeNode struct {
	Node
	fleet    *fleet
	holds    map[string]bool
	pins     map[string]bool
	moved    map[string]int // how often a content was brought
	dead     bool
	deadFor  int              // calls that do not get through, before it answers
	slow     time.Duration    // a content
	fails    map[string]error // by content
	lies     bool             // says done without the pieces
	mute     bool             // ends a stream too early
	resolves func(*nodev1.ResolveRequest) (*nodev1.ResolveResponse, error)
}

func newFleet(seeds, nodes int) *fleet {
	f := &fleet{}
	for i := range seeds + nodes {
		n := &fakeNode{fleet: f, holds: map[string]bool{}, pins: map[string]bool{}, moved: map[string]int{}, fails: map[string]error{}}
		n.Node = Node{Name: fmt.Sprintf("node%d", i-seeds+1), Up: true, IP: fmt.Sprintf("10.0.0.%d", i+1), Address: "x"}
		if i < seeds {
			n.Name, n.Seed = fmt.Sprintf("seed%d", i+1), true
		}
		n.resolves = image
		f.nodes = append(f.nodes, n)
	}
	return f
}

// image is what resolving finds: a manifest, a config and two layers.
func image(*nodev1.ResolveRequest) (*nodev1.ResolveResponse, error) {
	r := &nodev1.ResolveResponse{Registry: "r.test", Repository: "app", Tag: "1", Digest: sum(0)}
	for i := range 4 {
		kind := nodev1.Kind_KIND_BLOB
		if i == 0 {
			kind = nodev1.Kind_KIND_MANIFEST
		}
		r.Contents = append(r.Contents, &nodev1.Content{Kind: kind, Digest: sum(i), Size: 1000 * int64(i+1)})
	}
	return r, nil
}

func sum(i int) string { return fmt.Sprintf("sha256:%064d", i) }

func (f *fleet) NodesOf(context.Context, int64) ([]Node, error) {
	var all []Node
	for _, n := range f.nodes {
		all = append(all, n.Node)
	}
	return all, nil
}

func (f *fleet) get(name string) *fakeNode {
	return f.nodes[slices.IndexFunc(f.nodes, func(n *fakeNode) bool { return n.Name == name })]
}

func (f *fleet) dial(n Node) (Agent, error) { return f.get(n.Name), nil }

// reach fails where the node does not answer.
func (n *fakeNode) reach() error {
	n.fleet.mu.Lock()
	defer n.fleet.mu.Unlock()
	if n.dead || n.deadFor > 0 {
		n.deadFor--
		return status.Error(codes.Unavailable, "connection refused")
	}
	return nil
}

func (n *fakeNode) Close() error { return nil }

func (n *fakeNode) Resolve(_ context.Context, r *nodev1.ResolveRequest) (*nodev1.ResolveResponse, error) {
	if err := n.reach(); err != nil {
		return nil, err
	}
	return n.resolves(r)
}

func (n *fakeNode) Fetch(ctx context.Context, r *nodev1.FetchRequest, tell func(*nodev1.FetchResponse)) error {
	if err := n.reach(); err != nil {
		return err
	}
	for i, c := range r.GetContents() {
		what := cmp.Or(c.GetDigest(), c.GetUrl())
		select {
		case <-time.After(n.slow):
		case <-ctx.Done():
			return status.FromContextError(ctx.Err()).Err()
		}
		if n.mute {
			return fmt.Errorf("ended: %w", errdefs.ErrUnavailable)
		}
		m := &nodev1.FetchResponse{Index: uint32(i), Settled: true}
		n.fleet.mu.Lock()
		if err := n.fails[what]; err != nil {
			m.Failure = &nodev1.Failure{Code: int32(status.Code(err)), Message: message(err)}
		} else if !n.lies {
			if !n.holds[what] {
				n.moved[what]++
			}
			n.holds[what] = true
			n.pins[r.GetJob()] = true
		}
		m.Holding = n.holdingLocked(what)
		m.Holding.Source = &nodev1.Source{FromPeers: 1}
		n.fleet.mu.Unlock()
		tell(m)
	}
	return nil
}

func (n *fakeNode) holdingLocked(what string) *nodev1.Holding {
	h := &nodev1.Holding{Task: what, Size: -1}
	if n.holds[what] {
		h.Size, h.Bytes, h.Pieces, h.PiecesHeld, h.Complete = 1000, 1000, 3, 3, true
	}
	if n.lies {
		h.Size, h.Pieces, h.PiecesHeld, h.Complete = 1000, 3, 2, true
	}
	return h
}

func (n *fakeNode) Held(_ context.Context, r *nodev1.HeldRequest) (*nodev1.HeldResponse, error) {
	if err := n.reach(); err != nil {
		return nil, err
	}
	n.fleet.mu.Lock()
	defer n.fleet.mu.Unlock()
	out := &nodev1.HeldResponse{}
	for _, what := range r.GetTasks() {
		out.Holdings = append(out.Holdings, n.holdingLocked(what))
	}
	if len(r.GetTasks()) == 0 {
		for what := range n.holds {
			out.Holdings = append(out.Holdings, n.holdingLocked(what))
		}
	}
	return out, nil
}

func (n *fakeNode) Delete(_ context.Context, r *nodev1.DeleteRequest) (*nodev1.DeleteResponse, error) {
	if err := n.reach(); err != nil {
		return nil, err
	}
	n.fleet.mu.Lock()
	defer n.fleet.mu.Unlock()
	out := &nodev1.DeleteResponse{}
	for _, what := range r.GetTasks() {
		d := &nodev1.Deletion{Task: what, Held: n.holds[what]}
		if err := n.fails[what]; err != nil {
			d.Failure = &nodev1.Failure{Message: message(err)}
		} else if d.Held {
			delete(n.holds, what)
			d.Bytes = 1000
		}
		out.Deletions = append(out.Deletions, d)
	}
	return out, nil
}

func (n *fakeNode) Collect(context.Context, *nodev1.CollectRequest) (*nodev1.CollectResponse, error) {
	return &nodev1.CollectResponse{Contents: 2, Bytes: 500}, n.reach()
}

func (n *fakeNode) Unpin(context.Context, *nodev1.UnpinRequest) (*nodev1.UnpinResponse, error) {
	return &nodev1.UnpinResponse{}, n.reach()
}

// words joins for a comparison.
func words(all []string) string { return strings.Join(all, "\n") }
