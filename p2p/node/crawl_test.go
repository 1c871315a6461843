package node

import (
	"testing"
	"time"

	"github.com/darter-p2p/darter/p2p"
)

func TestCrawl(t *testing.T) {
	const tenth = time.Second / 10
	for name, tt := range map[string]struct {
		baseline float64
		bytes    int64         // of each read
		waited   time.Duration // for each read
		reads    int
		want     int // judgements that it crawls
	}{
		"1 KiB/s":                            {bytes: 102, waited: tenth, reads: 200, want: 3},   // after 1.5, 4.5 and 10.5 s
		"1 KiB/s for long":                   {bytes: 102, waited: tenth, reads: 10000, want: 4}, // then it is left alone
		"1 MiB/s":                            {bytes: 1 << 20 / 10, waited: tenth, reads: 300},   //
		"1 MiB/s where 100 are usual":        {baseline: 100 << 20, bytes: 1 << 20 / 10, waited: tenth, reads: 25, want: 1},
		"1 MiB/s where 20 are usual":         {baseline: 20 << 20, bytes: 1 << 20 / 10, waited: tenth, reads: 300},
		"slow for 1 s":                       {bytes: 0, waited: tenth, reads: 10},
		"who reads slowly waits for nothing": {bytes: 100, waited: time.Microsecond, reads: 10000},
	} {
		t.Run(name, func(t *testing.T) {
			c, got := newCrawl(tt.baseline), 0
			for range tt.reads {
				if c.read(tt.bytes, tt.waited) {
					got++
				}
			}
			if got != tt.want {
				t.Errorf("%d times, want %d", got, tt.want)
			}
		})
	}
}

func TestBaselines(t *testing.T) {
	b, now := baselines{}, time.Unix(1000, 0)
	one, two := p2p.Origin("oci://a.test/x/blobs/1"), p2p.Origin("oci://a.test/y/blobs/2")
	b.note(now, one, 100)
	b.note(now, two, 50) // less than the best says nothing
	if got := b.of(now, two); got != 100 {
		t.Errorf("of the same server: %v", got)
	}
	if got := b.of(now.Add(3*baselineHalf), one); got != 12.5 {
		t.Errorf("after three halves: %v", got)
	}
	b.note(now.Add(3*baselineHalf), one, 20)
	if got := b.of(now.Add(3*baselineHalf), one); got != 20 {
		t.Errorf("noted anew: %v", got)
	}
	if got := b.of(now.Add(24*time.Hour), one); got != 0 {
		t.Errorf("after a day: %v", got)
	}
	if got := b.of(now.Add(-time.Hour), "https://b.test/"); got != 0 {
		t.Errorf("of another: %v", got)
	}
}
