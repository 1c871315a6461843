package control

import (
	"testing"
	"testing/synctest"
	"time"
)

// TestTurns has more streams than turns: the next begins when a member has said that it
// has the state, or after the time that a slow one may take; who goes waits no longer.
func TestTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := make(turns, 2)
		never := make(chan struct{})
		begun := time.Now()
		first, second := all.take(never, never), all.take(never, never)
		first.end()
		first.end() // a heartbeat and the stream's end
		third := all.take(never, never)
		if third == nil || time.Since(begun) != 0 {
			t.Errorf("a turn that was given back is free after %v", time.Since(begun))
		}
		fourth := all.take(never, never)
		if time.Since(begun) != turnHold {
			t.Errorf("slow members hold their turns for %v, want %v", time.Since(begun), turnHold)
		}
		second.end() // late
		third.end()
		gone := make(chan struct{})
		fifth := all.take(never, never)
		time.AfterFunc(turnHold/2, func() { close(gone) })
		if all.take(gone, never) != nil || all.take(never, gone) != nil {
			t.Error("who has gone gets a turn")
		}
		fourth.end()
		fifth.end()
		var none *turn
		none.end()
		if len(all) != 0 {
			t.Errorf("%d turns are taken", len(all))
		}
	})
}
