package trust

import (
	"bytes"
	"errors"
	"testing"
)

func FuzzDecodeBatch(f *testing.F) {
	w := newWorld(f)
	f.Add(w.batch.Encode())
	f.Add(w.final.Encode())
	fuzzForm(f, DecodeBatch, func(b *Batch) []byte { return b.Encode() })
}

func FuzzDecodeRevocation(f *testing.F) {
	w := newWorld(f)
	f.Add(w.revocation.Encode())
	fuzzForm(f, DecodeRevocation, func(r *Revocation) []byte { return r.Encode() })
}

func FuzzDecodeToken(f *testing.F) {
	w := newWorld(f)
	f.Add(w.token.Encode())
	fuzzForm(f, DecodeToken, func(t *Token) []byte { return t.Encode() })
}

// fuzzForm checks that a decoder never panics, and that what it takes is the one
// encoding of what it returns.
func fuzzForm[S any](f *testing.F, decode func([]byte) (S, error), encode func(*S) []byte) {
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, p []byte) {
		s, err := decode(p)
		if err != nil {
			if !errors.Is(err, ErrMalformed) {
				t.Fatalf("%v does not wrap ErrMalformed", err)
			}
			return
		}
		if again := encode(&s); !bytes.Equal(again, p) {
			t.Fatalf("decoded %x\nencoded %x", p, again)
		}
	})
}
