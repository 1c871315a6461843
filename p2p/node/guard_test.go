package node

import (
	"testing"
	"time"

	"github.com/darter-p2p/darter/p2p"
)

// A reader waits longer while other tasks of this host get pieces, unless he is blocked on
// this one.
func TestGuardLeft(t *testing.T) {
	now := time.Unix(100, 0)
	const limit = 2 * time.Second
	for name, c := range map[string]struct {
		class  p2p.Class
		waited time.Duration // by the reader, without a piece of his task
		fed    time.Duration // since a piece of any task came
		want   time.Duration
	}{
		"nothing comes":                 {p2p.Window, 2 * time.Second, 2 * time.Second, 0},
		"nothing has ever come":         {p2p.Window, 2 * time.Second, 99 * time.Second, 0},
		"others come":                   {p2p.Window, 2 * time.Second, time.Millisecond, 4 * time.Second},
		"others come for long":          {p2p.Window, 6 * time.Second, time.Millisecond, 0},
		"others came until a while":     {p2p.Window, 3 * time.Second, 2 * time.Second, -time.Second},
		"others come, he is urgent":     {p2p.Urgent, 2 * time.Second, time.Millisecond, 0},
		"others come, nobody waits":     {p2p.Background, 5 * time.Second, time.Second, time.Second},
		"he has just begun, all is new": {p2p.Window, 0, 99 * time.Second, 2 * time.Second},
	} {
		g := guard{class: c.class, limit: limit, since: now.Add(-c.waited)}
		if got := g.left(now, fed{last: now.Add(-c.fed)}); got != c.want {
			t.Errorf("%s: %v left, want %v", name, got, c.want)
		}
	}
}

// Neighbours are mute where they have sent nothing since the reader who starves began to
// wait; where they sent slowly, or while he waited, they are not.
func TestUnfed(t *testing.T) {
	now := time.Unix(100, 0)
	for name, c := range map[string]struct {
		hungry, fed time.Time
		want        bool
	}{
		"nothing ever came":      {now, time.Time{}, true},
		"nothing since he waits": {now, now.Add(-time.Millisecond), true},
		"a piece came meanwhile": {now, now.Add(time.Millisecond), false},
		"pieces come, slowly":    {time.Time{}, now, false},
	} {
		if got := (&task{hungry: c.hungry, fed: c.fed}).unfed(); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}
