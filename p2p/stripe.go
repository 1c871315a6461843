package p2p

import "fmt"

// MaxStripes is the most hosts that share the reading of one task.
const MaxStripes = 8

// Stripe is a host's share of the reading of an origin: the content is cut into runs of
// bytes, and of Of runs in a row the host reads those whose bit is set in Mine. The zero
// Stripe is the whole.
type Stripe struct {
	Run  int64 // bytes
	Of   int
	Mine uint64 // bit i = run i of Of
	// Helper says that another host reads the rest, hashes the whole and vouches for it.
	Helper bool
}

// Validate reports a stripe that no scheduler gives.
func (s Stripe) Validate() error {
	if s == (Stripe{}) {
		return nil
	}
	if s.Run <= 0 || s.Run > MaxSize || s.Of < 1 || s.Of > MaxStripes || s.Mine == 0 || s.Mine>>s.Of != 0 {
		return fmt.Errorf("stripe %#x of %d runs of %d bytes", s.Mine, s.Of, s.Run)
	}
	return nil
}

// Whole reports whether the host reads everything.
func (s Stripe) Whole() bool { return s.Of == 0 || s.Mine == 1<<s.Of-1 }

// Has reports whether the byte at off is the host's to read.
func (s Stripe) Has(off int64) bool {
	return s.Whole() || s.Mine>>(off/s.Run%int64(s.Of))&1 == 1
}
