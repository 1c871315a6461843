package node

import (
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/darter-p2p/darter/internal/pki"
	"github.com/darter-p2p/darter/p2p"
	"github.com/darter-p2p/darter/p2p/exchange"
	"github.com/darter-p2p/darter/p2p/store"
	"github.com/darter-p2p/darter/p2p/trust"
)

type member struct{ *pki.Identity }

func (m member) Signer(token []byte) (*trust.Signer, error) {
	key, cert := m.Identity.Signer()
	return trust.NewSigner(key, cert, token)
}

// silent is a tracker and a wire on which nothing happens.
type silent struct {
	Tracker
	Exchange
}

// letterbox is a link that keeps what is sent.
type letterbox struct {
	host p2p.HostID
	seed bool
	sent []exchange.Message
}

func (l *letterbox) Host() p2p.HostID        { return l.host }
func (l *letterbox) Seed() bool              { return l.seed }
func (l *letterbox) Parts() bool             { return true }
func (l *letterbox) Send(m exchange.Message) { l.sent = append(l.sent, m) }
func (l *letterbox) Close()                  {}

// take returns what was sent since the last call, without Bitmaps and Haves.
func (l *letterbox) take() []exchange.Message {
	got := slices.DeleteFunc(l.sent, func(m exchange.Message) bool {
		switch m.(type) {
		case exchange.Bitmap, exchange.Have:
			return true
		}
		return false
	})
	l.sent = nil
	return got
}

// mesh is a node with a seed and two peers for neighbours, in one task of 400 pieces.
type mesh struct {
	t          *testing.T
	node       *Node
	task       p2p.TaskID
	geometry   p2p.Geometry
	signer     *trust.Signer
	seed, a, b *letterbox
}

func newMesh(t *testing.T) *mesh {
	ca, err := pki.CreateCA("test", time.Now(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	identity := func(role pki.Role, name string) *pki.Identity {
		id, err := ca.Identity(role, name)
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	m := &mesh{
		t: t, task: p2p.TaskOfURL("https://r.example/x", "", ""), geometry: p2p.GeometryFor(100 << 20),
		seed: &letterbox{host: "seed", seed: true}, a: &letterbox{host: "a"}, b: &letterbox{host: "b"},
	}
	if m.signer, err = (member{identity(pki.Seed, "seed")}).Signer(nil); err != nil {
		t.Fatal(err)
	}
	if m.node, err = New(Default(), "self", store.NewMemory(0), nil, member{identity(pki.Node, "self")}, Events{}); err != nil {
		t.Fatal(err)
	}
	m.node.Bind(silent{}, silent{})
	m.node.mu.Lock()
	task := m.node.newTaskLocked(m.task, "")
	err = m.node.setSizeLocked(task, m.geometry.Size)
	m.node.mu.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range []*letterbox{m.seed, m.a, m.b} {
		m.node.Connected(l)
		m.says(l, exchange.Bitmap{Task: m.task, Geometry: m.geometry, Have: p2p.NewPieceSet(m.geometry.Pieces())})
		l.take()
	}
	return m
}

func (m *mesh) says(l *letterbox, msg exchange.Message) {
	m.t.Helper()
	if err := m.node.Received(l, msg); err != nil {
		m.t.Fatal(err)
	}
}

func (m *mesh) batch(first p2p.Piece, n int) exchange.Digests {
	m.t.Helper()
	digests := make([]p2p.PieceDigest, n)
	for i := range digests {
		digests[i] = p2p.PieceDigest{byte(first), byte(i)}
	}
	b, err := m.signer.Batch(trust.Batch{Task: m.task, Geometry: m.geometry, First: first, Digests: digests, Final: n == m.geometry.Pieces()}, time.Now())
	if err != nil {
		m.t.Fatal(err)
	}
	return exchange.Digests{Batch: b}
}

func (m *mesh) want(l *letterbox, want ...exchange.Message) {
	m.t.Helper()
	if got := l.take(); !reflect.DeepEqual(got, want) && len(got)+len(want) > 0 {
		m.t.Errorf("to %s: %s, want %s", l.host, inShort(got), inShort(want))
	}
}

func inShort(messages []exchange.Message) (s []string) {
	for _, msg := range messages {
		if d, ok := msg.(exchange.Digests); ok {
			s = append(s, fmt.Sprintf("digests of %d pieces from %d on", len(d.Batch.Digests), d.Batch.First))
		} else {
			s = append(s, fmt.Sprintf("%T%+v", msg, msg))
		}
	}
	return s
}

func TestBatchGoesToAllButWhereItCameFrom(t *testing.T) {
	m := newMesh(t)
	first := m.batch(0, 16)
	m.says(m.a, first)
	m.want(m.seed) // signed it
	m.want(m.a)
	m.want(m.b, first)
}

func TestRepeatPrunes(t *testing.T) {
	m := newMesh(t)
	first, second := m.batch(0, 16), m.batch(16, 1)
	m.says(m.seed, first)
	m.want(m.a, first)
	m.says(m.a, first)
	m.want(m.a, exchange.Prune{Task: m.task})
	m.says(m.a, first)
	m.want(m.a) // said once
	m.says(m.b, second)
	m.want(m.a, second) // it did not say Prune
	m.says(m.seed, second)
	m.want(m.seed) // a seed is never pruned
}

func TestPrunedNeighbourIsGraftedByItsHaves(t *testing.T) {
	m := newMesh(t)
	first := m.batch(0, 16)
	m.says(m.seed, first)
	m.says(m.a, first)
	m.a.take()
	m.b.take()
	m.says(m.a, exchange.Have{Task: m.task, Pieces: []p2p.Piece{3, 15}})
	m.want(m.a)
	m.says(m.a, exchange.Have{Task: m.task, Pieces: []p2p.Piece{15, 16, 30}})
	m.want(m.a, exchange.Graft{Task: m.task, Pieces: []p2p.Piece{16, 30}})
	m.says(m.a, exchange.Have{Task: m.task, Pieces: []p2p.Piece{17}})
	m.want(m.a) // on its way: what it sends now comes before the haves
	m.says(m.b, exchange.Have{Task: m.task, Pieces: []p2p.Piece{18}})
	m.want(m.b) // was never pruned
}

func TestPruneAndGraftOfANeighbour(t *testing.T) {
	m := newMesh(t)
	batches := []exchange.Digests{m.batch(0, 16), m.batch(16, 8), m.batch(24, 8), m.batch(32, 1)}
	m.says(m.a, exchange.Graft{Task: m.task, Pieces: []p2p.Piece{1}})
	m.says(m.a, exchange.Prune{Task: m.task})
	for _, b := range batches[:3] {
		m.says(m.seed, b)
	}
	m.want(m.a)
	m.says(m.a, exchange.Graft{Task: m.task, Pieces: []p2p.Piece{3, 4, 24, 100}})
	m.want(m.a, batches[0], batches[2])
	m.says(m.a, exchange.Graft{Task: m.task, Pieces: []p2p.Piece{3}})
	m.want(m.a) // it had it
	m.says(m.seed, batches[3])
	m.want(m.a, batches[3])
}

func TestFinalBatchGoesToPruned(t *testing.T) {
	m := newMesh(t)
	final := m.batch(0, m.geometry.Pieces())
	m.says(m.a, exchange.Prune{Task: m.task})
	m.says(m.seed, m.batch(0, 16))
	m.want(m.a)
	m.b.take()
	m.says(m.seed, final)
	m.want(m.a, final)
	m.says(m.b, final)
	m.want(m.b, final) // no Prune: nothing will come after it
}

func TestNewLinkForgetsPrunes(t *testing.T) {
	m := newMesh(t)
	first, second := m.batch(0, 16), m.batch(16, 1)
	m.says(m.seed, first)
	m.says(m.a, first)
	m.says(m.a, exchange.Prune{Task: m.task})
	m.a.take()
	m.node.Connected(m.a)
	m.want(m.a, first) // as everything is told on a new link
	m.says(m.seed, second)
	m.want(m.a, second)
	m.says(m.a, second)
	m.want(m.a, exchange.Prune{Task: m.task})
}
