package picker

import (
	"math/rand/v2"
	"testing"

	"github.com/darter-p2p/darter/p2p"
)

func random(rng *rand.Rand, n int, share float64) *p2p.PieceSet {
	s := p2p.NewPieceSet(n)
	for p := range n {
		if rng.Float64() < share {
			s.Add(p2p.Piece(p))
		}
	}
	return s
}

// The slow twins look at piece after piece.

func slowInOrder(open, held *p2p.PieceSet, from p2p.Piece) (p2p.Piece, bool) {
	n := open.Len()
	if int(from) >= n {
		from = 0
	}
	for k := range n {
		if p := p2p.Piece((int(from) + k) % n); open.Has(p) && held.Has(p) {
			return p, true
		}
	}
	return 0, false
}

func slowLeast(open, held *p2p.PieceSet, avail Availability) (int, bool) {
	least, found := 0, false
	for p := range open.Len() {
		if open.Has(p2p.Piece(p)) && held.Has(p2p.Piece(p)) && (!found || int(avail[p]) < least) {
			least, found = int(avail[p]), true
		}
	}
	return least, found
}

func TestChoicesAgainstTwins(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	for range 2000 {
		n := rng.IntN(sample) + 1
		open, held := random(rng, n, rng.Float64()), random(rng, n, rng.Float64())
		from := p2p.Piece(rng.IntN(n + 3))
		p, ok := InOrder(open, held, from)
		if want, wantOK := slowInOrder(open, held, from); p != want || ok != wantOK {
			t.Fatalf("InOrder of %d pieces from %d = %d, %v; want %d, %v", n, from, p, ok, want, wantOK)
		}
		avail := make(Availability, n)
		for i := range avail {
			avail[i] = uint16(rng.IntN(5))
		}
		p, ok = Rarest(rng, open, held, avail)
		least, wantOK := slowLeast(open, held, avail)
		if ok != wantOK || ok && (!open.Has(p) || !held.Has(p) || int(avail[p]) != least) {
			t.Fatalf("Rarest of %d pieces = %d, %v; want one held by %d, %v", n, p, ok, least, wantOK)
		}
		if Any(open, held) != wantOK {
			t.Fatalf("Any = %v, want %v", !wantOK, wantOK)
		}
	}
}

func TestRarestTiesFallEvenly(t *testing.T) {
	rng := rand.New(rand.NewPCG(2, 2))
	open := p2p.NewPieceSet(10)
	open.Fill()
	count := make([]int, 10)
	for range 10000 {
		p, _ := Rarest(rng, open, open, make(Availability, 10))
		count[p]++
	}
	for p, n := range count {
		if n < 800 || n > 1200 {
			t.Errorf("piece %d was taken %d times of 10000, want about 1000", p, n)
		}
	}
}

func TestEmptyTask(t *testing.T) {
	none := p2p.NewPieceSet(0)
	if _, ok := InOrder(none, none, 0); ok {
		t.Error("InOrder found a piece in an empty task")
	}
	if _, ok := Rarest(rand.New(rand.NewPCG(1, 1)), none, none, nil); ok {
		t.Error("Rarest found a piece in an empty task")
	}
}

func TestAvailability(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 3))
	a := make(Availability, 100)
	x, y := random(rng, 100, 0.5), random(rng, 100, 0.5)
	a.Add(x, 1)
	a.Add(y, 1)
	a.Add(x, -1)
	for p := range a {
		if want := uint16(0); (a[p] == 1) != y.Has(p2p.Piece(p)) || a[p] > 1 {
			t.Errorf("piece %d is counted %d, want %d or 1 as y has it", p, a[p], want)
		}
	}
}
