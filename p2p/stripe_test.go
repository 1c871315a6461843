package p2p

import "testing"

func TestStripesShareAll(t *testing.T) {
	const run = 10
	for of := 1; of <= MaxStripes; of++ {
		for off := range int64(200) {
			readers := 0
			for i := range of {
				s := Stripe{Run: run, Of: of, Mine: 1 << i}
				if err := s.Validate(); err != nil {
					t.Fatal(err)
				}
				if s.Has(off) {
					readers++
				}
				if s.Has(off) != s.Has(off/run*run) {
					t.Fatalf("%d of %d: byte %d is another's than its run", i, of, off)
				}
			}
			if readers != 1 {
				t.Fatalf("byte %d is read by %d of %d", off, readers, of)
			}
		}
	}
	if s := (Stripe{}); !s.Whole() || !s.Has(1<<40) || s.Validate() != nil {
		t.Error("the zero stripe is not the whole")
	}
	for _, s := range []Stripe{{Of: 1, Mine: 1}, {Run: 1, Of: 2, Mine: 4}, {Run: 1, Of: 2}, {Run: 1, Of: 9, Mine: 1}, {Run: -1, Of: 2, Mine: 1}, {Helper: true}} {
		if s.Validate() == nil {
			t.Errorf("%+v is taken", s)
		}
	}
}
