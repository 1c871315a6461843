package store

import (
	"bytes"
	"slices"
	"time"

	"github.com/darter-p2p/darter/p2p"
)

// candidate is a task that may be evicted: unpinned and not open.
type candidate struct {
	id   p2p.TaskID
	size int64 // bytes that evicting it gives back
	used time.Time
}

// victims chooses what to evict, least recently used first, to get need bytes
// back. If all candidates together do not give that much, it returns them and false.
func victims(candidates []candidate, need int64) ([]p2p.TaskID, bool) {
	slices.SortFunc(candidates, func(a, b candidate) int {
		if c := a.used.Compare(b.used); c != 0 {
			return c
		}
		return compareIDs(a.id, b.id)
	})
	var chosen []p2p.TaskID
	for _, c := range candidates {
		if need <= 0 {
			break
		}
		if c.size > 0 {
			chosen = append(chosen, c.id)
			need -= c.size
		}
	}
	return chosen, need <= 0
}

// compareIDs gives tasks an order, so that a choice between equals is the same every time.
func compareIDs(a, b p2p.TaskID) int {
	var x, y [p2p.TaskIDLen]byte
	return bytes.Compare(a.AppendBinary(x[:0]), b.AppendBinary(y[:0]))
}

// sortInfos puts the most recently used first.
func sortInfos(infos []Info) {
	slices.SortFunc(infos, func(a, b Info) int {
		if c := b.Used.Compare(a.Used); c != 0 {
			return c
		}
		return compareIDs(a.ID, b.ID)
	})
}

// victimsByAge chooses what nobody used for ttl; nothing with a ttl of 0.
func victimsByAge(candidates []candidate, ttl time.Duration, now time.Time) []p2p.TaskID {
	var chosen []p2p.TaskID
	for _, c := range candidates {
		if ttl > 0 && now.Sub(c.used) >= ttl {
			chosen = append(chosen, c.id)
		}
	}
	return chosen
}
