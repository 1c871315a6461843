package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/darter-p2p/darter/p2p"
)

// hedgeAfter is how long an origin may take to begin an answer before it is asked on a
// second connection, beside the first: the one that answers first is read.
const hedgeAfter = 3 * time.Second

// stallFirst is how long an answer may pause the first time, which is before readers
// starve (guard.go), so that they need not ask for what this mends; each further pause of the
// same reading may last twice as long, up to Config.OriginStall, so that an origin that
// always pauses is read, too.
const stallFirst = 1500 * time.Millisecond

// answer is the bytes of an origin on their way, from off to end. Where they crawl, it
// goes on on another connection; where they stop, it ends in a p2p.OriginError.
type answer struct {
	p        *puller
	ctx      context.Context // of every connection
	cancel   context.CancelFunc
	stall    *time.Timer   // calls cancel
	patience time.Duration // for the next bytes
	opened   opened
	off, end int64 // end -1 = that of the content
	crawl    crawl
}

// opened is one connection to the origin.
type opened struct {
	body io.ReadCloser
	size int64 // of the whole content
	end  context.CancelFunc
	err  error
	try  int
}

func (o opened) close() {
	if o.body != nil {
		_ = o.body.Close()
	}
	o.end()
}

// ask opens the bytes from off on, length -1 = to the end. The answer is closed by the
// caller.
func (p *puller) ask(off, length int64) (*answer, error) {
	ctx, cancel := context.WithCancel(p.ctx)
	a := &answer{p: p, ctx: ctx, cancel: cancel, off: off, end: -1, patience: p.n.cfg.OriginStall}
	a.stall = time.AfterFunc(a.patience, cancel)
	if length >= 0 {
		a.end = off + length
	}
	a.opened = p.open(ctx, off, length)
	a.stall.Stop()
	if a.opened.err != nil {
		err := a.stalled(a.opened.err)
		a.quit()
		return nil, err
	}
	a.patience = min(stallFirst<<min(p.stalls, 8), p.n.cfg.OriginStall)
	p.n.mu.Lock()
	a.crawl = newCrawl(p.n.rates.of(time.Now(), p.origin))
	p.n.mu.Unlock()
	return a, nil
}

// stalled says what an error of the origin really was.
func (a *answer) stalled(err error) error {
	if a.ctx.Err() == nil || a.p.ctx.Err() != nil {
		return err
	}
	a.p.stalls++
	return p2p.OriginError{Message: fmt.Sprintf("%s sent nothing for %v", a.p.origin, a.patience), Puller: a.p.n.self}
}

// Why another connection is opened.
var (
	errNoHead = fmt.Errorf("does not begin to answer for %v", hedgeAfter)
	errCrawls = errors.New("crawls")
)

// open asks the origin, and once more where it does not begin to answer.
func (p *puller) open(ctx context.Context, off, length int64) opened {
	var tries sync.WaitGroup
	defer tries.Wait()
	answers := make(chan opened, 2)
	var ends [2]context.CancelFunc
	try := func(i int) {
		ctx, end := context.WithCancel(ctx)
		ends[i] = end
		tries.Go(func() {
			body, size, err := p.n.origins.Open(ctx, p.origin, p.key, off, length)
			answers <- opened{body: body, size: size, end: end, err: err, try: i}
		})
	}
	try(0)
	late := time.NewTimer(hedgeAfter)
	defer late.Stop()
	for due := 1; ; {
		select {
		case <-late.C:
			p.n.events.OriginRetry(p.t.id, p.origin, errNoHead)
			due++
			try(1)
		case o := <-answers:
			if due--; due == 0 {
				return o
			}
			if o.err != nil {
				o.close()
				continue
			}
			ends[1-o.try]()
			other := <-answers
			other.close()
			return o
		}
	}
}

// Read implements io.Reader.
func (a *answer) Read(b []byte) (int, error) {
	began := time.Now()
	a.stall.Reset(a.patience)
	n, err := a.opened.body.Read(b)
	a.stall.Stop()
	a.off += int64(n)
	if err != nil {
		return n, a.stalled(err)
	}
	if a.crawl.read(int64(n), time.Since(began)) && a.off != a.end {
		a.replace()
	}
	return n, nil
}

// replace goes on on another connection if the origin gives one.
func (a *answer) replace() {
	length := int64(-1)
	if a.end >= 0 {
		length = a.end - a.off
	}
	a.p.n.events.OriginRetry(a.p.t.id, a.p.origin, errCrawls)
	ctx, end := context.WithCancel(a.ctx)
	patience := time.AfterFunc(stallFirst, end)
	o := a.p.open(ctx, a.off, length)
	if !patience.Stop() || o.err != nil || o.size != a.opened.size {
		o.close()
		end()
		return
	}
	a.opened.close()
	a.opened = o
}

func (a *answer) quit() {
	a.stall.Stop()
	a.opened.close()
	a.cancel()
}

// close ends the reading, and takes note of its rate.
func (a *answer) close() {
	a.quit()
	a.p.n.mu.Lock()
	defer a.p.n.mu.Unlock()
	a.p.n.rates.note(time.Now(), a.p.origin, a.crawl.rate())
}
