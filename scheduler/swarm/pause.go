package swarm

import (
	"net/url"
	"time"

	"github.com/darter-p2p/darter/p2p"
)

// A server that answered one puller with 429 is not asked by any other until the time it
// named is over: a cluster has one budget, whatever the task. Origins that are read with
// a reader's credential count for themselves, for such budgets are of users.

// pause is what a server said of when to come again.
type pause struct {
	err   p2p.OriginError
	until time.Time
}

// maxPauses bounds how many servers are remembered.
const maxPauses = 4096

// pauseWait is how long a task waits for the end of a pause, rather than fail.
const pauseWait = 3 * time.Second

// server returns the server of an origin that is read without a credential, "" = none.
func server(o p2p.Origin) string {
	bare, private := o.Bare()
	u, err := url.Parse(string(bare))
	if err != nil || private {
		return ""
	}
	return u.Host
}

// slowDown takes note of an origin that has had too many requests.
func (c *Core) slowDown(o p2p.Origin, why p2p.OriginError) {
	at := server(o)
	if why.Status != 429 || why.RetryAfter <= 0 || at == "" {
		return
	}
	for other, p := range c.pauses { // in any order: entries do not depend on each other
		if !c.now.Before(p.until) {
			delete(c.pauses, other)
		}
	}
	if len(c.pauses) < maxPauses {
		c.pauses[at] = pause{why, c.now.Add(min(why.RetryAfter, c.cfg.MaxRetryAfter))}
	}
}

// paused reports until when an origin is to be left alone, if it is, and marks it as one
// that refused where that is long.
func (c *Core) paused(o *origin) (until time.Time, is bool) {
	p, ok := c.pauses[server(o.name)]
	if !ok || !c.now.Before(p.until) {
		return time.Time{}, false
	}
	if p.until.After(c.now.Add(pauseWait)) && !o.failed(p.until.Add(-1)) {
		o.err, o.until = p.err, p.until
		o.err.Origin = o.name
	}
	return p.until, true
}
