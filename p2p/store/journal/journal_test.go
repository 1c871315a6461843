package journal

import (
	"bytes"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/darter-p2p/darter/p2p"
)

var (
	testTask     = p2p.TaskOfURL("https://example.org/a", "", "")
	testGeometry = p2p.GeometryFor(3<<18 + 1<<18) // 4 pieces
)

// sample is a journal with one record of each kind, and the ends after each record.
func sample() (b []byte, ends []End) {
	b, end := Begin(nil, testTask, testGeometry)
	add := func(next []byte, e End) {
		b, end = next, e
		ends = append(ends, e)
	}
	add(end.Piece(b, 2, p2p.PieceDigest{2}))
	add(end.Piece(b, 0, p2p.PieceDigest{1}))
	covered := end.Offset()
	add(end.Piece(b, 1, p2p.PieceDigest{3}))
	add(end.Synced(b, covered))
	add(end.Proof(b, []byte("first"), false))
	add(end.Proof(b, []byte("second"), true))
	add(end.Pin(b, "mount", time.Unix(5, 6)))
	add(end.Pin(b, "preheat", time.Unix(7, 0)))
	add(end.Pin(b, "preheat", time.Time{}))
	add(end.Piece(b, 3, p2p.PieceDigest{4}))
	add(end.Synced(b, end.Offset()))
	add(end.Complete(b))
	return b, ends
}

func members(s *p2p.PieceSet) []p2p.Piece {
	var in []p2p.Piece
	for p, ok := s.Next(0); ok; p, ok = s.Next(p + 1) {
		in = append(in, p)
	}
	return in
}

func TestDecodeAfterEachRecord(t *testing.T) {
	b, ends := sample()
	tests := []struct {
		records          int
		recorded, synced []p2p.Piece
		proofs           []string
		pins             int
		completed        bool
	}{
		{1, []p2p.Piece{2}, nil, nil, 0, false},
		{3, []p2p.Piece{0, 1, 2}, nil, nil, 0, false},
		{4, []p2p.Piece{0, 1, 2}, []p2p.Piece{0, 2}, nil, 0, false},
		{5, []p2p.Piece{0, 1, 2}, []p2p.Piece{0, 2}, []string{"first"}, 0, false},
		{6, []p2p.Piece{0, 1, 2}, []p2p.Piece{0, 2}, []string{"second"}, 0, false},
		{8, []p2p.Piece{0, 1, 2}, []p2p.Piece{0, 2}, []string{"second"}, 2, false},
		{10, []p2p.Piece{0, 1, 2, 3}, []p2p.Piece{0, 2}, []string{"second"}, 1, false},
		{12, []p2p.Piece{0, 1, 2, 3}, []p2p.Piece{0, 1, 2, 3}, []string{"second"}, 1, true},
	}
	for _, test := range tests {
		end := ends[test.records-1]
		s, err := Decode(b[:end.Offset()])
		if err != nil {
			t.Fatal(err)
		}
		if s.Task != testTask || s.Geometry != testGeometry || s.End != end || s.Torn != 0 {
			t.Errorf("after %d records: header or end differ: %+v", test.records, s)
		}
		if got := members(s.Recorded); !slices.Equal(got, test.recorded) {
			t.Errorf("after %d records: recorded %v, want %v", test.records, got, test.recorded)
		}
		if got := members(s.Synced); !slices.Equal(got, test.synced) {
			t.Errorf("after %d records: synced %v, want %v", test.records, got, test.synced)
		}
		var proofs []string
		for _, p := range s.Proofs {
			proofs = append(proofs, string(p))
		}
		if !slices.Equal(proofs, test.proofs) || len(s.Pins) != test.pins || s.Completed != test.completed {
			t.Errorf("after %d records: proofs %q, %d pins, completed %v", test.records, proofs, len(s.Pins), s.Completed)
		}
	}
}

func TestRecordLengths(t *testing.T) {
	b, end := Begin(nil, testTask, testGeometry)
	if len(b) != HeaderLen || end.Offset() != HeaderLen {
		t.Errorf("header of %d bytes, end at %d, want %d", len(b), end.Offset(), HeaderLen)
	}
	b, end = end.Piece(b, 0, p2p.PieceDigest{})
	if len(b) != HeaderLen+PieceLen || end.Offset() != int64(len(b)) {
		t.Errorf("record of a piece has %d bytes, want %d", len(b)-HeaderLen, PieceLen)
	}
}

// A journal that is cut anywhere says what its whole records say.
func TestDecodeCutAnywhere(t *testing.T) {
	b, ends := sample()
	for n := HeaderLen; n <= len(b); n++ {
		s, err := Decode(b[:n])
		if err != nil {
			t.Fatalf("cut at %d: %v", n, err)
		}
		want := End{}.off + HeaderLen
		for _, e := range ends {
			if e.Offset() <= int64(n) {
				want = e.Offset()
			}
		}
		if s.End.Offset() != want || s.Torn != n-int(want) {
			t.Fatalf("cut at %d: end %d, torn %d, want end %d", n, s.End.Offset(), s.Torn, want)
		}
	}
}

// A flipped bit ends the journal at its record, or makes the header bad.
func TestDecodeFlippedBit(t *testing.T) {
	b, ends := sample()
	for i := range b {
		bad := bytes.Clone(b)
		bad[i] ^= 0x10
		s, err := Decode(bad)
		if i < HeaderLen {
			if !errors.Is(err, ErrFormat) {
				t.Fatalf("flip at %d of the header: error %v", i, err)
			}
			continue
		}
		want := int64(HeaderLen)
		for _, e := range ends {
			if e.Offset() <= int64(i) {
				want = e.Offset()
			}
		}
		if err != nil || s.End.Offset() != want {
			t.Fatalf("flip at %d: end %d, want %d (error %v)", i, s.End.Offset(), want, err)
		}
	}
}

// A record of an earlier life of the file is not valid after other records, even at its old place.
func TestRecordOfAnotherPast(t *testing.T) {
	b, end := Begin(nil, testTask, testGeometry)
	head := len(b)
	old, oldEnd := end.Piece(bytes.Clone(b), 1, p2p.PieceDigest{1})
	old, _ = oldEnd.Synced(old, oldEnd.Offset())
	b, _ = end.Piece(b, 1, p2p.PieceDigest{9})
	b = append(b, old[head+PieceLen:]...)
	s, err := Decode(b)
	if err != nil {
		t.Fatal(err)
	}
	if s.Synced.Count() != 0 || s.Recorded.Count() != 1 {
		t.Errorf("the old sync marker counted: synced %v", members(s.Synced))
	}
}

func TestDecodeRefusesRecordsThatMakeNoSense(t *testing.T) {
	tests := map[string]func(e End, b []byte) ([]byte, End){
		"piece outside of the task": func(e End, b []byte) ([]byte, End) { return e.Piece(b, 4, p2p.PieceDigest{}) },
		"sync beyond the record":    func(e End, b []byte) ([]byte, End) { return e.Synced(b, e.Offset()+1) },
		"complete without pieces":   func(e End, b []byte) ([]byte, End) { return e.Complete(b) },
		"proof too long":            func(e End, b []byte) ([]byte, End) { return e.Proof(b, make([]byte, MaxProof+1), false) },
		"pin without reason":        func(e End, b []byte) ([]byte, End) { return e.Pin(b, "", time.Unix(1, 0)) },
		"pin with long reason": func(e End, b []byte) ([]byte, End) {
			return e.Pin(b, string(make([]byte, MaxReason+1)), time.Unix(1, 0))
		},
	}
	for name, add := range tests {
		t.Run(name, func(t *testing.T) {
			b, end := Begin(nil, testTask, testGeometry)
			b, _ = add(end, b)
			s, err := Decode(b)
			if err != nil {
				t.Fatal(err)
			}
			if s.End != end || s.Torn == 0 {
				t.Errorf("the record was taken: end %d, torn %d", s.End.Offset(), s.Torn)
			}
		})
	}
}

func FuzzDecode(f *testing.F) {
	b, ends := sample()
	f.Add(b)
	for _, e := range ends {
		f.Add(b[:e.Offset()])
	}
	f.Add(b[:HeaderLen-1])
	f.Fuzz(func(t *testing.T, in []byte) {
		s, err := Decode(in)
		if err != nil {
			if !errors.Is(err, ErrFormat) {
				t.Fatalf("error of no class: %v", err)
			}
			return
		}
		if int(s.End.Offset())+s.Torn != len(in) {
			t.Fatalf("end %d and torn %d of %d bytes", s.End.Offset(), s.Torn, len(in))
		}
		if s.Recorded.HasMissingFrom(s.Synced) || s.Completed && !s.Synced.Full() {
			t.Fatal("synced pieces that were not recorded")
		}
		// What was valid reads the same without its torn end, and can be continued.
		next, _ := s.End.Proof(bytes.Clone(in[:s.End.Offset()]), []byte("x"), true)
		again, err := Decode(next)
		if err != nil || again.Torn != 0 || len(again.Proofs) != 1 || again.Synced.Count() != s.Synced.Count() {
			t.Fatalf("continued: %+v, %v", again, err)
		}
	})
}

// FuzzRecords repairs the checksums of the input, so that the fuzzer gets past them.
func FuzzRecords(f *testing.F) {
	b, _ := sample()
	f.Add(b[HeaderLen:])
	f.Fuzz(func(t *testing.T, in []byte) {
		b, end := Begin(nil, testTask, testGeometry)
		for len(in) >= recordHeader {
			n := min(recordHeader+int(in[5])+int(in[6])<<8, len(in))
			b = append(b, in[:n]...)
			b, end = end.seal(b, len(b)-n)
			in = in[n:]
		}
		s, err := Decode(b)
		if err != nil {
			t.Fatal(err)
		}
		if s.Recorded.HasMissingFrom(s.Synced) || s.Completed && !s.Synced.Full() {
			t.Fatal("synced pieces that were not recorded")
		}
	})
}
