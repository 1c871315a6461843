package node

import (
	"testing"
	"time"

	"github.com/zeebo/blake3"

	"github.com/darter-p2p/darter/p2p"
	"github.com/darter-p2p/darter/p2p/exchange"
)

// reading is a mesh whose node reads the origin.
type reading struct {
	*mesh
	puller *puller
}

func newReading(t *testing.T) *reading {
	m := newMesh(t)
	r := &reading{mesh: m, puller: &puller{n: m.node, t: m.node.tasks[m.task], signer: m.signer, due: make(chan struct{}, 1)}}
	r.puller.t.puller = r.puller
	return r
}

// reads stores a piece of zeros as the origin's, and signs what is due.
func (r *reading) reads(pieces ...p2p.Piece) {
	r.t.Helper()
	for _, p := range pieces {
		bytes := make([]byte, r.geometry.Length(p))
		w, err := r.puller.t.handle.Write(p)
		if err == nil {
			_, err = w.Write(bytes)
		}
		if err == nil {
			_, err = w.Commit(nil)
		}
		if err == nil {
			err = r.puller.keep(p, blake3.Sum256(bytes))
		}
		if err == nil {
			r.young()
			err = r.puller.signIfDue()
		}
		if err != nil {
			r.t.Fatal(err)
		}
	}
}

// young has the batch never be old, however long the test takes.
func (r *reading) young() {
	r.node.mu.Lock()
	defer r.node.mu.Unlock()
	r.puller.batch.since = time.Now().Add(time.Hour)
}

// told are the batches and haves that a neighbour got since the last call.
func (r *reading) told(l *letterbox) (signed []p2p.Piece, haves []p2p.Piece) {
	r.node.mu.Lock()
	defer r.node.mu.Unlock()
	for _, msg := range l.sent {
		switch msg := msg.(type) {
		case exchange.Digests:
			for i := range msg.Batch.Digests {
				signed = append(signed, msg.Batch.First+p2p.Piece(i))
			}
		case exchange.Have:
			haves = append(haves, msg.Pieces...)
		}
	}
	l.sent = nil
	return signed, haves
}

func (r *reading) wantTold(want ...p2p.Piece) {
	r.t.Helper()
	signed, haves := r.told(r.a)
	if len(signed) != len(want) || len(haves) != len(want) {
		r.t.Fatalf("told of digests %v and pieces %v, want %v", signed, haves, want)
	}
	for i, p := range want {
		if signed[i] != p || haves[i] != p {
			r.t.Fatalf("told of digests %v and pieces %v, want %v", signed, haves, want)
		}
	}
}

// The first piece is signed at once. Those after it can be sent before they are signed, and
// are neither announced nor shown till then.
func TestPiecesAreSentBeforeTheyAreSigned(t *testing.T) {
	r := newReading(t)
	r.reads(0)
	r.wantTold(0)
	r.reads(1, 2)
	r.wantTold()
	a := r.node.Serve("a", exchange.Request{ID: 1, Task: r.task, First: 2, Count: 1})
	if a.Status != exchange.StatusOK {
		t.Fatalf("piece 2 that is not signed: status %v", a.Status)
	}
	if shown := r.puller.t.shown(); shown.Count() != 1 || !shown.Has(0) {
		t.Errorf("%d pieces are shown, want the signed one", shown.Count())
	}
	select {
	case <-r.puller.due:
		t.Error("a digest is due before its piece was sent")
	default:
	}
	a.Done(a.Length, nil)
	select {
	case <-r.puller.due:
	default:
		t.Error("a piece was sent, and its digest is not due")
	}
	if err := r.puller.sign(); err != nil {
		t.Fatal(err)
	}
	r.wantTold(1, 2)
}

// A batch is of pieces in a row, and of batchPieces at most.
func TestBatchesOfPiecesInARow(t *testing.T) {
	r := newReading(t)
	r.reads(0)
	r.wantTold(0)
	r.reads(3, 4, 7)
	r.wantTold(3, 4)
	if err := r.puller.sign(); err != nil {
		t.Fatal(err)
	}
	r.wantTold(7)
	for p := range p2p.Piece(batchPieces - 1) {
		r.reads(20 + p)
	}
	r.wantTold()
	r.reads(20 + batchPieces - 1)
	if signed, _ := r.told(r.a); len(signed) != batchPieces {
		t.Errorf("%d pieces signed, want %d", len(signed), batchPieces)
	}
}

// The end of a reading signs what is left; what somebody else's reading here has not
// signed yet has its digest from the store.
func TestEndOfReadingSignsTheRest(t *testing.T) {
	r := newReading(t)
	end := r.puller.beginSigning()
	r.reads(0)
	r.wantTold(0)
	r.reads(1)
	zeros := blake3.Sum256(make([]byte, r.geometry.Length(1)))
	r.node.mu.Lock()
	got := r.puller.t.held(r.puller.t.handle)
	r.node.mu.Unlock()
	if got[1] != zeros || got[2] != (p2p.PieceDigest{}) {
		t.Errorf("the digests of pieces 1 and 2 are %x, %x", got[1], got[2])
	}
	if err := end(); err != nil {
		t.Fatal(err)
	}
	n := r.node
	n.mu.Lock()
	defer n.mu.Unlock()
	if known := r.puller.t.known; !known.Has(1) {
		t.Error("piece 1 is not signed at the end")
	}
}
