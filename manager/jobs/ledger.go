package jobs

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"

	nodev1 "github.com/darter-p2p/darter/api/node/v1"
	"github.com/darter-p2p/darter/manager/model"
)

// whole stands for the content of an item that is about a node and no content of it.
const whole = ""

// ledger is the items of a job, one for each node and content. It is pure: it keeps what
// nodes said, which items are new since they were written last, and what they add up to.
type ledger struct {
	items map[key]*model.JobItem
	names []string // of the contents that each node has an item of
	dirty map[key]bool
	total Totals
	nodes map[string]*NodeResult
}

type key struct{ member, content string }

func newLedger() *ledger {
	return &ledger{items: map[key]*model.JobItem{}, dirty: map[key]bool{}, nodes: map[string]*NodeResult{}}
}

// Result is what a job that ended says of all of it.
type Result struct {
	Digest string `json:"digest,omitempty"` // of the image
	DryRun bool   `json:"dry_run,omitempty"`
	Totals
	// Nodes are at most maxNodes, those that failed first.
	Nodes []NodeResult `json:"nodes_detail,omitempty"`
	Left  int          `json:"nodes_left_out,omitempty"`
}

// Totals add up items.
type Totals struct {
	Nodes      int   `json:"nodes"`
	Contents   int   `json:"contents"`
	Bytes      int64 `json:"bytes"`       // of the contents, once
	Items      int   `json:"items"`       // one for each node and content
	Succeeded  int   `json:"succeeded"`   // items
	Failed     int   `json:"failed"`      // items
	BytesHeld  int64 `json:"bytes_held"`  // verified, on all nodes
	BytesMove  int64 `json:"bytes_move"`  // of a dry run: what nodes lack
	BytesFreed int64 `json:"bytes_freed"` // of delete and gc
}

// NodeResult is what became of a job on one node.
type NodeResult struct {
	Name      string         `json:"name"`
	IP        string         `json:"ip,omitempty"`
	Hostname  string         `json:"hostname,omitempty"`
	Seed      bool           `json:"seed,omitempty"`
	State     model.JobState `json:"state"`
	Error     string         `json:"error,omitempty"` // the first
	Contents  int            `json:"contents"`        // that it holds whole, or that were freed
	Bytes     int64          `json:"bytes"`           // of these
	BytesMove int64          `json:"bytes_move,omitempty"`
	Peers     int64          `json:"from_peers,omitempty"`
	Seeds     int64          `json:"from_seed,omitempty"`
	Origin    int64          `json:"from_origin,omitempty"`
}

// maxNodes bounds a Result.
const maxNodes = 200

// plan makes the items of nodes and contents.
func (l *ledger) plan(nodes []Node, contents []*nodev1.Content) {
	l.total.Contents = len(contents)
	for _, c := range contents {
		l.total.Bytes += max(c.GetSize(), 0)
		l.names = append(l.names, name(c))
	}
	if len(contents) == 0 {
		l.names = []string{whole}
	}
	for _, n := range nodes {
		l.nodes[n.Name] = &NodeResult{Name: n.Name, IP: n.IP, Hostname: n.Hostname, Seed: n.Seed, State: model.Waiting}
		for _, c := range contents {
			l.put(model.JobItem{Member: n.Name, Content: name(c), State: model.Waiting, Bytes: max(c.GetSize(), 0)})
		}
		if len(contents) == 0 {
			l.put(model.JobItem{Member: n.Name, Content: whole, State: model.Waiting})
		}
	}
}

// maxItemName bounds a content's name in items, in bytes.
const maxItemName = 500

// name is a content's name in items; URLs that are alike at their beginning keep names of
// their own.
func name(c *nodev1.Content) string {
	if c.GetKind() == nodev1.Kind_KIND_URL {
		if u := c.GetUrl(); len(u) > maxItemName {
			sum := sha256.Sum256([]byte(u))
			return model.Text(u, maxItemName-20) + "..." + hex.EncodeToString(sum[:8])
		}
		return model.Text(c.GetUrl(), maxItemName)
	}
	return c.GetDigest()
}

func (l *ledger) put(i model.JobItem) {
	k := key{i.Member, i.Content}
	l.items[k] = &i
	l.dirty[k] = true
}

// change changes an item that has not ended.
func (l *ledger) change(member, content string, f func(*model.JobItem)) {
	k := key{member, content}
	i := l.items[k]
	if i == nil || i.State.Final() {
		return
	}
	was := *i
	f(i)
	i.Error = model.Text(i.Error, 2000)
	if *i != was {
		l.dirty[k] = true
	}
}

// heard takes what a node said of a content: while it comes, and when that has ended.
func (l *ledger) heard(member string, c *nodev1.Content, r *nodev1.FetchResponse) {
	l.change(member, name(c), func(i *model.JobItem) {
		i.State = model.Running
		l.hold(i, r.GetHolding())
		if !r.GetSettled() {
			return
		}
		switch {
		case r.GetFailure() != nil:
			i.State, i.Error = model.Failed, r.GetFailure().GetMessage()
		case !r.GetHolding().GetComplete() || i.Verified != i.Pieces:
			// Whatever the node thinks of it: this is no proof.
			i.State, i.Error = model.Failed, fmt.Sprintf("the node says that it is done, and holds %d of %d pieces", i.Verified, i.Pieces)
		default:
			i.State = model.Succeeded
		}
	})
	if n := l.nodes[member]; n != nil && r.GetSettled() {
		s := r.GetHolding().GetSource()
		n.Peers, n.Seeds, n.Origin = n.Peers+s.GetFromPeers(), n.Seeds+s.GetFromSeed(), n.Origin+s.GetFromOrigin()
	}
}

// hold writes down what a node holds of a content.
func (l *ledger) hold(i *model.JobItem, h *nodev1.Holding) {
	if h.GetTask() == "" {
		return
	}
	i.Pieces, i.Verified = int64(h.GetPieces()), int64(h.GetPiecesHeld())
	if h.GetSize() >= 0 && h.GetPieces() > 0 {
		i.Bytes = h.GetSize()
	}
}

// end ends an item.
func (l *ledger) end(member, content string, state model.JobState, why string) {
	l.change(member, content, func(i *model.JobItem) { i.State, i.Error = state, why })
}

// endNode ends all items of a node that have not ended.
func (l *ledger) endNode(member string, state model.JobState, why string) {
	for _, content := range l.names {
		l.end(member, content, state, why)
	}
}

// endAll ends all items that have not ended.
func (l *ledger) endAll(state model.JobState, why string) {
	for k := range l.items {
		l.end(k.member, k.content, state, why)
	}
}

// take returns the items that changed since it was called last, in order.
func (l *ledger) take() []model.JobItem {
	changed := make([]model.JobItem, 0, len(l.dirty))
	for k := range l.dirty {
		changed = append(changed, *l.items[k])
	}
	clear(l.dirty)
	slices.SortFunc(changed, func(a, b model.JobItem) int {
		return cmp.Or(cmp.Compare(a.Member, b.Member), cmp.Compare(a.Content, b.Content))
	})
	return changed
}

// settle adds everything up: one item that failed makes the job fail, and one that was
// cancelled makes it cancelled.
func (l *ledger) settle() (model.JobState, Result, string) {
	state, first := model.Succeeded, ""
	r := Result{Totals: l.total}
	r.Totals.Nodes = len(l.nodes)
	r.Items = len(l.items)
	cancelled := 0
	keys := make([]key, 0, len(l.items))
	for k := range l.items {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b key) int { return cmp.Or(cmp.Compare(a.member, b.member), cmp.Compare(a.content, b.content)) })
	for _, k := range keys {
		i := l.items[k]
		n := l.nodes[k.member]
		switch i.State {
		case model.Succeeded:
			r.Succeeded++
			r.BytesHeld += held(i)
			if i.Error == "" {
				n.Contents++
				n.Bytes += i.Bytes
			}
			if n.State == model.Waiting {
				n.State = model.Succeeded
			}
		case model.Cancelled:
			cancelled++
			n.State = model.Cancelled
		default:
			r.Failed++
			r.BytesHeld += held(i)
			if n.State != model.Failed {
				n.State, n.Error = model.Failed, i.Error
			}
			if first == "" {
				first = i.Member + ": " + i.Error
			}
		}
	}
	switch {
	case r.Failed > 0:
		state = model.Failed
		first = fmt.Sprintf("%d of %d items failed; %s", r.Failed, r.Items, first)
	case cancelled > 0:
		state, first = model.Cancelled, fmt.Sprintf("%d of %d items were left when the job was cancelled", cancelled, r.Items)
	}
	r.Nodes, r.Left = l.detail()
	return state, r, model.Text(first, 2000)
}

// held is how many bytes of an item are verified.
func held(i *model.JobItem) int64 {
	if i.Pieces <= 0 {
		return 0
	}
	if i.Verified >= i.Pieces {
		return i.Bytes
	}
	return i.Bytes / i.Pieces * i.Verified
}

// detail lists nodes, those that failed first.
func (l *ledger) detail() (nodes []NodeResult, left int) {
	for _, n := range l.nodes {
		nodes = append(nodes, *n)
	}
	slices.SortFunc(nodes, func(a, b NodeResult) int {
		if (a.State == model.Failed) != (b.State == model.Failed) {
			if a.State == model.Failed {
				return -1
			}
			return 1
		}
		return cmp.Compare(a.Name, b.Name)
	})
	left = max(0, len(nodes)-maxNodes)
	return nodes[:len(nodes)-left], left
}
