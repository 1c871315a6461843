package p2p

import (
	"fmt"
	"time"
)

// Holding is one task as a node tells it to a scheduler: what it has and whether it wants the rest.
type Holding struct {
	Task     TaskID
	Size     int64 // of the content, in bytes; -1 = not known
	Complete bool  // every piece is held and verified
	Active   bool  // the node is taking it now and wants neighbours
	Pulling  bool  // the node is reading it from the origin for the others
	Origin   Origin
}

// OriginError is what an origin said instead of a content, as hosts tell it to each other.
type OriginError struct {
	Status     int // HTTP status; 0 = no answer
	Message    string
	RetryAfter time.Duration // 0 = not said
	Puller     HostID        // the host that asked
	Wrong      bool          // it answered with bytes that do not have the task's digest
	Keyless    bool          // it asks for a credential, and nobody who wanted the task had one to show
	Origin     Origin        // who said it, as it was named to the puller; "" = not known
}

// Error names the host that asked and what it was told.
func (e OriginError) Error() string {
	if e.Status == 0 {
		return fmt.Sprintf("origin gave %s no answer: %s", e.Puller, e.Message)
	}
	return fmt.Sprintf("origin answered %s with %d: %s", e.Puller, e.Status, e.Message)
}
