package node

import (
	"net/url"
	"time"

	"github.com/darter-p2p/darter/p2p"
)

// An answer that brings less than crawlFloor bytes a second, or less than a crawlShare
// of what its server was seen to give, crawls. It is judged after crawlWindow of waiting
// for it, and after twice as long each time that another connection was no better.
const (
	crawlFloor  = 64 << 10
	crawlShare  = 1.0 / 32
	crawlWindow = 1500 * time.Millisecond
	// maxCrawls is how often one reading is tried on another connection for that.
	maxCrawls = 4
)

// crawl judges whether an answer comes so slowly that another connection may be better.
// Only the time in which somebody waits for the origin counts: who is slow himself, by
// a limit or a busy disk, learns nothing of it.
type crawl struct {
	floor  float64       // bytes a second
	window time.Duration // until the next judgement
	times  int           // it crawled

	waited time.Duration // in this window
	bytes  int64
	total  struct {
		waited time.Duration
		bytes  int64
	}
}

func newCrawl(baseline float64) crawl {
	return crawl{floor: max(crawlFloor, baseline*crawlShare), window: crawlWindow}
}

// read takes what one read brought and how long it waited, and reports whether the
// answer crawls.
func (c *crawl) read(bytes int64, waited time.Duration) bool {
	c.waited += waited
	c.bytes += bytes
	c.total.waited += waited
	c.total.bytes += bytes
	if c.waited < c.window {
		return false
	}
	slow := float64(c.bytes) < c.floor*c.waited.Seconds()
	c.waited, c.bytes = 0, 0
	if !slow || c.times >= maxCrawls {
		return false
	}
	c.times++
	c.window *= 2
	return true
}

// rate returns the mean of all that was read in bytes a second, 0 = too little to say.
func (c *crawl) rate() float64 {
	if c.total.bytes < 512<<10 || c.total.waited <= 0 {
		return 0
	}
	return float64(c.total.bytes) / max(c.total.waited, 10*time.Millisecond).Seconds()
}

// baselines is the best rate of each server that origins are on. What was seen long
// ago counts for less: it halves every baselineHalf.
type baselines map[string]baseline

type baseline struct {
	rate float64 // bytes a second
	seen time.Time
}

const (
	baselineHalf = time.Minute
	maxBaselines = 1024
)

func (b baselines) of(now time.Time, o p2p.Origin) float64 { return b[server(o)].at(now) }

func (b baseline) at(now time.Time) float64 {
	halves := int(now.Sub(b.seen) / baselineHalf)
	if halves < 0 || halves > 30 {
		return 0
	}
	return b.rate / float64(int64(1)<<halves)
}

func (b baselines) note(now time.Time, o p2p.Origin, rate float64) {
	at := server(o)
	if rate <= 0 || rate < b[at].at(now) {
		return
	}
	if len(b) >= maxBaselines {
		clear(b) // they are learned again by the next readings
	}
	b[at] = baseline{rate, now}
}

// server returns the host and port of an origin, "" = it has none.
func server(o p2p.Origin) string {
	u, err := url.Parse(string(o))
	if err != nil {
		return ""
	}
	return u.Host
}
