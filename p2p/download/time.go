package download

import (
	"time"

	"github.com/darter-p2p/darter/p2p"
)

// PieceTime returns the usual time from asking for a piece of the longest usual
// length to having it, 0 before the first has come.
func (c *Core) PieceTime() time.Duration {
	return c.pace.expect(p2p.MaxPreferredPieceLength)
}
