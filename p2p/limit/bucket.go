package limit

import "time"

// Burst is how much time of unused rate is kept: enough for timers that fire late, and
// little enough that a second's bytes stay within 2 % of its rate.
const Burst = 20 * time.Millisecond

// Bucket is a token bucket. The zero Bucket does not limit. It has no clock and is not
// safe for concurrent use.
type Bucket struct {
	rate int64     // bytes/s; 0 = no limit
	free time.Time // when all that was taken has gone at the rate
}

// SetRate changes the rate to bytes per second, 0 = no limit. What was taken and has not
// gone yet goes at the new rate.
func (b *Bucket) SetRate(now time.Time, rate int64) {
	if owed := b.free.Sub(now); owed > 0 && b.rate > 0 && rate > 0 {
		b.free = now.Add(time.Duration(float64(owed) * float64(b.rate) / float64(rate)))
	} else if rate == 0 {
		b.free = time.Time{}
	}
	b.rate = rate
}

// Take takes n bytes and returns how long to wait until they may go.
func (b *Bucket) Take(now time.Time, n int) time.Duration {
	if b.rate <= 0 {
		return 0
	}
	if oldest := now.Add(-Burst); b.free.Before(oldest) {
		b.free = oldest
	}
	b.free = b.free.Add(time.Duration(float64(n) / float64(b.rate) * float64(time.Second)))
	return max(0, b.free.Sub(now))
}

// idle reports whether forgetting the bucket would change nothing.
func (b *Bucket) idle(now time.Time) bool { return b.free.Before(now.Add(-Burst)) }
