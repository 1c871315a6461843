package node

import (
	"testing"
	"time"
)

func TestPace(t *testing.T) {
	const mib = 1 << 20
	type step struct {
		after  time.Duration
		bytes  int64 // that came since the last step
		others int64 // of other tasks
		held   int64
		origin float64
		want   verdict
		soon   bool // few begin
	}
	const w, q = paceWindow, soonWindow
	for name, steps := range map[string][]step{
		"fast":                        {{0, 0, 0, 64 * mib, 0, paceWait, false}, {w, 4 * mib, 0, 60 * mib, 0, paceGood, false}},
		"slow beside the origin":      {{0, 0, 0, 64 * mib, 20 * mib, paceWait, false}, {w, mib / 2, 0, 64 * mib, 20 * mib, paceWait, false}, {w, mib / 2, 0, 64 * mib, 20 * mib, paceSlow, false}},
		"as slow as the origin":       {{0, 0, 0, 64 * mib, mib, paceWait, false}, {w, mib / 2, 0, 64 * mib, mib, paceGood, false}},
		"slow, nobody knows":          {{0, 0, 0, 64 * mib, 0, paceWait, false}, {w, 1, 0, 64 * mib, 0, paceWait, false}, {w, 1, 0, 64 * mib, 0, paceUnknown, false}},
		"slow at its beginning":       {{0, 0, 0, 64 * mib, 20 * mib, paceWait, false}, {w, 0, 0, 64 * mib, 20 * mib, paceWait, false}, {w, 3 * mib, 0, 64 * mib, 20 * mib, paceGood, false}, {w, 0, 0, 64 * mib, 20 * mib, paceWait, false}},
		"others have no more":         {{0, 0, 0, mib, 20 * mib, paceWait, false}, {w, mib, 0, mib, 20 * mib, paceWait, false}, {w, mib, 0, mib, 20 * mib, paceWait, false}, {w, mib, 0, mib, 20 * mib, paceWait, false}},
		"shares the link":             {{0, 0, 0, 64 * mib, 0, paceWait, false}, {w, mib / 2, mib, 64 * mib, 0, paceWait, false}, {w, mib / 2, mib, 64 * mib, 0, paceWait, false}, {w, mib / 2, mib, 64 * mib, 0, paceWait, false}},
		"shares it no more":           {{0, 0, 0, 64 * mib, 0, paceWait, false}, {w, mib / 2, mib, 64 * mib, 0, paceWait, false}, {w, mib / 2, 0, 64 * mib, 0, paceWait, false}, {w, mib / 2, 0, 64 * mib, 0, paceUnknown, false}},
		"all are slow together":       {{0, 0, 0, 64 * mib, 0, paceWait, false}, {w, mib / 2, mib / 4, 64 * mib, 0, paceWait, false}, {w, mib / 2, mib / 4, 64 * mib, 0, paceUnknown, false}},
		"few begin, slowly":           {{0, 0, 0, 64 * mib, 0, paceWait, true}, {q, mib / 4, 0, 64 * mib, 0, paceUnknown, true}, {q, mib / 4, 0, 64 * mib, 20 * mib, paceSlow, true}},
		"few begin, origin known":     {{0, 0, 0, 64 * mib, 20 * mib, paceWait, true}, {q, mib / 4, 0, 64 * mib, 20 * mib, paceSlow, true}},
		"few begin, origin no wonder": {{0, 0, 0, 64 * mib, 6 * mib, paceWait, true}, {q, mib / 4, 0, 64 * mib, 6 * mib, paceWait, true}, {q, mib / 4, 0, 64 * mib, 6 * mib, paceSlow, true}},
		"few begin, nothing came":     {{0, 0, 0, 64 * mib, 0, paceWait, true}, {q, 0, 0, 64 * mib, 0, paceWait, true}, {q, 0, 0, 64 * mib, 0, paceUnknown, true}},
		"few begin, fast, then slow":  {{0, 0, 0, 64 * mib, 0, paceWait, true}, {q, mib, 0, 64 * mib, 0, paceGood, true}, {w, mib / 2, 0, 64 * mib, 0, paceWait, true}, {w, mib / 2, 0, 64 * mib, 0, paceUnknown, true}},
		"nobody waited in the middle": {{0, 0, 0, 64 * mib, 20 * mib, paceWait, false}, {w, 0, 0, 64 * mib, 20 * mib, paceWait, false}, {3 * w, 0, 0, 64 * mib, 20 * mib, paceWait, false}, {w, 0, 0, 64 * mib, 20 * mib, paceWait, false}, {w, 0, 0, 64 * mib, 20 * mib, paceSlow, false}},
	} {
		t.Run(name, func(t *testing.T) {
			var p pace
			now, bytes, total := time.Unix(1, 0), int64(0), int64(0)
			for i, s := range steps {
				now, bytes, total = now.Add(s.after), bytes+s.bytes, total+s.bytes+s.others
				if !p.due(now, s.soon) {
					t.Fatalf("step %d is not due", i)
				}
				if got := p.look(now, bytes, total, s.held, s.origin, 1_500_000, s.soon); got != s.want {
					t.Errorf("step %d: %d, want %d", i, got, s.want)
				}
			}
		})
	}
}
