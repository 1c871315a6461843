package node

import (
	"testing"
	"time"

	"github.com/darter-p2p/darter/p2p"
)

// A few hosts may read parts of a task; one more is told to take pieces until one of them has gone.
func TestCrowdTakesPieces(t *testing.T) {
	var c crowd
	start := time.Unix(1000, 0)
	for i, tc := range []struct {
		host  p2p.HostID
		after time.Duration
		may   bool
	}{
		{"a", 0, true}, {"b", 0, true}, {"c", 0, true}, {"d", 0, false},
		{"a", crowdFor, true}, {"d", crowdFor, false}, // b and c count until just now
		{"d", crowdFor + 1, true}, {"e", crowdFor + 1, true}, {"b", crowdFor + 1, false},
		{"a", crowdFor + 1, true}, {"b", 3 * crowdFor, true},
	} {
		if may := c.admit(tc.host, start.Add(tc.after)); may != tc.may {
			t.Errorf("%d: %s after %v: %v", i, tc.host, tc.after, may)
		}
	}
}
