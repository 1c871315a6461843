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
	}
	const w = paceWindow
	for name, steps := range map[string][]step{
		"fast":                        {{0, 0, 0, 64 * mib, 0, paceWait}, {w, 4 * mib, 0, 60 * mib, 0, paceGood}},
		"slow beside the origin":      {{0, 0, 0, 64 * mib, 20 * mib, paceWait}, {w, mib / 2, 0, 64 * mib, 20 * mib, paceWait}, {w, mib / 2, 0, 64 * mib, 20 * mib, paceSlow}},
		"as slow as the origin":       {{0, 0, 0, 64 * mib, mib, paceWait}, {w, mib / 2, 0, 64 * mib, mib, paceGood}},
		"slow, nobody knows":          {{0, 0, 0, 64 * mib, 0, paceWait}, {w, 1, 0, 64 * mib, 0, paceWait}, {w, 1, 0, 64 * mib, 0, paceUnknown}},
		"slow at its beginning":       {{0, 0, 0, 64 * mib, 20 * mib, paceWait}, {w, 0, 0, 64 * mib, 20 * mib, paceWait}, {w, 3 * mib, 0, 64 * mib, 20 * mib, paceGood}, {w, 0, 0, 64 * mib, 20 * mib, paceWait}},
		"others have no more":         {{0, 0, 0, mib, 20 * mib, paceWait}, {w, mib, 0, mib, 20 * mib, paceWait}, {w, mib, 0, mib, 20 * mib, paceWait}, {w, mib, 0, mib, 20 * mib, paceWait}},
		"shares the link":             {{0, 0, 0, 64 * mib, 0, paceWait}, {w, mib / 2, mib, 64 * mib, 0, paceWait}, {w, mib / 2, mib, 64 * mib, 0, paceWait}, {w, mib / 2, mib, 64 * mib, 0, paceWait}},
		"shares it no more":           {{0, 0, 0, 64 * mib, 0, paceWait}, {w, mib / 2, mib, 64 * mib, 0, paceWait}, {w, mib / 2, 0, 64 * mib, 0, paceWait}, {w, mib / 2, 0, 64 * mib, 0, paceUnknown}},
		"all are slow together":       {{0, 0, 0, 64 * mib, 0, paceWait}, {w, mib / 2, mib / 4, 64 * mib, 0, paceWait}, {w, mib / 2, mib / 4, 64 * mib, 0, paceUnknown}},
		"nobody waited in the middle": {{0, 0, 0, 64 * mib, 20 * mib, paceWait}, {w, 0, 0, 64 * mib, 20 * mib, paceWait}, {3 * w, 0, 0, 64 * mib, 20 * mib, paceWait}, {w, 0, 0, 64 * mib, 20 * mib, paceWait}, {w, 0, 0, 64 * mib, 20 * mib, paceSlow}},
	} {
		t.Run(name, func(t *testing.T) {
			var p pace
			now, bytes, total := time.Unix(1, 0), int64(0), int64(0)
			for i, s := range steps {
				now, bytes, total = now.Add(s.after), bytes+s.bytes, total+s.bytes+s.others
				if !p.due(now) {
					t.Fatalf("step %d is not due", i)
				}
				if got := p.look(now, bytes, total, s.held, s.origin, 1_500_000); got != s.want {
					t.Errorf("step %d: %d, want %d", i, got, s.want)
				}
			}
		})
	}
}
