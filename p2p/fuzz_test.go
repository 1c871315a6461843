package p2p

import (
	"bytes"
	"math/rand/v2"
	"testing"
)

func FuzzPieceSetFromBinary(f *testing.F) {
	f.Add(0, []byte{})
	f.Add(9, []byte{0xff, 0x01})
	f.Add(64, bytes.Repeat([]byte{0xaa}, 8))
	f.Fuzz(func(t *testing.T, n int, b []byte) {
		s, err := PieceSetFromBinary(n, b)
		if err != nil {
			return
		}
		if out := s.AppendBinary(nil); !bytes.Equal(out, b) {
			t.Fatalf("%x became %x", b, out)
		}
		count := 0
		for p, ok := s.Next(0); ok; p, ok = s.Next(p + 1) {
			count++
		}
		if count != s.Count() {
			t.Fatalf("counts %d, holds %d", s.Count(), count)
		}
	})
}

func FuzzParseTaskID(f *testing.F) {
	f.Add("sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
	f.Add("url:")
	f.Fuzz(func(t *testing.T, s string) {
		if id, err := ParseTaskID(s); err == nil && id.String() != s {
			t.Fatalf("%q became %q", s, id)
		}
	})
}

func FuzzTaskIDFromBinary(f *testing.F) {
	f.Add(TaskOfURL("http://x.test/", "", "").AppendBinary(nil))
	f.Add([]byte{3})
	f.Fuzz(func(t *testing.T, b []byte) {
		id, err := TaskIDFromBinary(b)
		if err == nil && !bytes.Equal(id.AppendBinary(nil), b[:TaskIDLen]) {
			t.Fatalf("%x became %v", b, id)
		}
	})
}

// A PieceSet does what a map of pieces does.
func TestPieceSetAgainstTwin(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	for range 200 {
		n := rng.IntN(200)
		s, twin := NewPieceSet(n), map[Piece]bool{}
		for range 300 {
			p := Piece(rng.IntN(n + 2))
			in := int(p) < n
			if rng.IntN(3) > 0 {
				if s.Add(p) != (in && !twin[p]) {
					t.Fatalf("Add(%d) of %d", p, n)
				}
				if in {
					twin[p] = true
				}
			} else {
				if s.Remove(p) != twin[p] {
					t.Fatalf("Remove(%d) of %d", p, n)
				}
				delete(twin, p)
			}
			if s.Count() != len(twin) || s.Has(p) != twin[p] || s.Full() != (len(twin) == n) {
				t.Fatalf("%d of %d pieces, want %d", s.Count(), n, len(twin))
			}
			want, ok := Piece(0), false
			for q := p; int(q) < n && !ok; q++ {
				if !twin[q] {
					want, ok = q, true
				}
			}
			if got, found := s.NextMissing(p); found != ok || ok && got != want {
				t.Fatalf("NextMissing(%d) = %d, %v; want %d, %v", p, got, found, want, ok)
			}
		}
		if c := s.Clone(); s.HasMissingFrom(c) || c.Count() != s.Count() {
			t.Fatal("a clone differs")
		}
	}
}

func TestGeometryFor(t *testing.T) {
	for _, c := range []struct {
		size, length int64
		pieces       int
	}{
		{0, 1, 0}, {1, 1, 1}, {1<<20 - 1, 1<<20 - 1, 1}, {1 << 20, 256 << 10, 4},
		{100 << 20, 256 << 10, 400}, {512 << 20, 1 << 20, 512}, {4 << 30, 1 << 20, 4096}, {64 << 30, 2 << 20, 32768},
	} {
		g := GeometryFor(c.size)
		if g.PieceLength != c.length || g.Pieces() != c.pieces {
			t.Errorf("size %d: %d pieces of %d, want %d of %d", c.size, g.Pieces(), g.PieceLength, c.pieces, c.length)
		}
		sum := int64(0)
		for p := range g.Pieces() {
			sum += g.Length(Piece(p))
		}
		if err := g.Validate(); err != nil || sum != c.size {
			t.Errorf("size %d: pieces sum to %d, %v", c.size, sum, err)
		}
	}
	if GeometryFor(1<<20).RangeError(1<<20, 1) == nil {
		t.Error("a byte past the end is within the content")
	}
}
