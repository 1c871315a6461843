package trust

import (
	"testing"

	"github.com/darter-p2p/darter/internal/pki"
	"github.com/darter-p2p/darter/p2p"
)

// benchBatch is a batch as a seed sends them: 64 pieces of 1 MiB.
func benchBatch(b *testing.B) Batch {
	batch := Batch{Task: task(b, "bench"), Geometry: p2p.GeometryFor(1 << 30), Digests: make([]p2p.PieceDigest, 64)}
	return batch
}

func BenchmarkSignBatch(b *testing.B) {
	s := newAuthority(b).member(b, pki.Seed, "s", newECDSA(b), nil)
	batch := benchBatch(b)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Batch(batch, now); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkVerifyBatch(b *testing.B) {
	a := newAuthority(b)
	seed := must(a.member(b, pki.Seed, "s", newECDSA(b), nil).Batch(benchBatch(b), now))(b)
	token := must(a.member(b, pki.Scheduler, "x", newECDSA(b), nil).Token(seed.Task, "n", now))(b)
	acting := must(a.member(b, pki.Node, "n", newECDSA(b), nil).with(b, token).Batch(benchBatch(b), now))(b)
	run := func(b *testing.B, batch *Batch, verifier func() *Verifier) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := verifier().Batch(batch); err != nil {
				b.Fatal(err)
			}
		}
	}
	warm := NewVerifier(a)
	b.Run("seed", func(b *testing.B) { run(b, &seed, func() *Verifier { return warm }) })
	b.Run("acting", func(b *testing.B) { run(b, &acting, func() *Verifier { return warm }) })
	b.Run("seed first time", func(b *testing.B) { run(b, &seed, func() *Verifier { return NewVerifier(a) }) })
	b.Run("acting first time", func(b *testing.B) { run(b, &acting, func() *Verifier { return NewVerifier(a) }) })
}

func BenchmarkDecodeBatch(b *testing.B) {
	s := newAuthority(b).member(b, pki.Seed, "s", newECDSA(b), nil)
	batch := must(s.Batch(benchBatch(b), now))(b)
	p := batch.Encode()
	b.SetBytes(int64(len(p)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := DecodeBatch(p); err != nil {
			b.Fatal(err)
		}
	}
}
