package download

import (
	"math"
	"time"

	"github.com/darter-p2p/darter/p2p"
)

// mean is a running mean; zero has no sample yet.
type mean float64

// meanWeight is the weight of a new sample in a mean.
const meanWeight = 0.1

func (m *mean) add(sample float64) {
	if *m == 0 {
		*m = mean(sample)
		return
	}
	*m += meanWeight * (mean(sample) - *m)
}

// Slots returns how many neighbours the host should download from at a time, and send
// to: Config.Slots, and more, up to Config.MaxSlots, where the way from a request to its
// answer takes longer than the pieces come apart. Then fewer streams would leave the
// link idle between their pieces; more would only make every piece slower.
func (c *Core) Slots() int {
	if c.between == 0 {
		return c.cfg.Slots
	}
	return min(max(c.cfg.Slots, int(math.Ceil(2+float64(c.handoff/c.between)))), c.cfg.MaxSlots)
}

// Resize changes Config.Slots and Config.MaxSlots. Streams that are too many then end when
// what was asked for has come.
func (c *Core) Resize(slots, most int) { c.cfg.Slots, c.cfg.MaxSlots = slots, most }

// came measures the time between pieces while some are on their way.
func (c *Core) came(now time.Time) {
	if !c.last.IsZero() {
		c.between.add(now.Sub(c.last).Seconds())
	}
	c.last = now
}

// PieceTime returns the usual time from asking for a piece of the longest usual
// length to having it, 0 before the first has come.
func (c *Core) PieceTime() time.Duration {
	return c.pace.expect(p2p.MaxPreferredPieceLength)
}
