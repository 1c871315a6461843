package device

import (
	"math/bits"
	"sync/atomic"
)

// bitmap is a set of chunks that grows; it is read without a lock.
type bitmap struct {
	words []atomic.Uint64
	n     int
	left  atomic.Int64 // chunks that are not in the set
}

func newBitmap(n int) *bitmap {
	b := &bitmap{words: make([]atomic.Uint64, (n+63)/64), n: n}
	b.left.Store(int64(n))
	return b
}

// clone returns a copy that does not grow.
func (b *bitmap) clone() *bitmap {
	c := newBitmap(b.n)
	for i := range b.words {
		w := b.words[i].Load()
		c.words[i].Store(w)
		c.left.Add(-int64(bits.OnesCount64(w)))
	}
	return c
}

// has reports whether chunk i is in the set.
func (b *bitmap) has(i int) bool { return b.words[i/64].Load()&(1<<(i%64)) != 0 }

// add puts chunk i into the set and reports whether it was not there.
func (b *bitmap) add(i int) bool {
	mask := uint64(1) << (i % 64)
	if b.words[i/64].Or(mask)&mask != 0 {
		return false
	}
	b.left.Add(-1)
	return true
}

// full reports whether every chunk is in the set.
func (b *bitmap) full() bool { return b.left.Load() == 0 }

// missing returns the first chunk from i on that is not in the set, and b.n if all are.
func (b *bitmap) missing(i int) int {
	for i < b.n {
		if i%64 == 0 && b.words[i/64].Load() == ^uint64(0) {
			i += 64
			continue
		}
		if !b.has(i) {
			return i
		}
		i++
	}
	return b.n
}
