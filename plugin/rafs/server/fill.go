package server

import (
	"context"
	"sync"
	"time"

	"github.com/darter-p2p/darter/internal/config"
	"github.com/darter-p2p/darter/plugin/rafs/device"
)

// fill fetches what mounted images have and nobody has read, when nobody waits for
// chunks: what their builders thought is read first, then the rest, the oldest mount
// first. A blob that fails is left alone for a while.
func (s *Server) fill(ctx context.Context, p *pace) {
	failed := map[*device.Device]time.Time{}
	for {
		j, wait := s.toFill(failed)
		if j.device == nil && j.wish == nil {
			if !sleep(ctx, wait) {
				return
			}
			continue
		}
		if s.traffic.Quiet(ctx, s.cfg.Fill.Quiet.Duration()) != nil {
			return
		}
		n, err := j.fetch(ctx, int64(s.cfg.Fetch.MaxRequest))
		switch {
		case ctx.Err() != nil:
			return
		case j.wish != nil: // what it did not bring is part of the rest
		case err != nil:
			failed[j.device] = time.Now().Add(retryFill)
		case n == 0: // all that is missing is on its way
			failed[j.device] = time.Now().Add(time.Second)
		}
		if !sleep(ctx, p.take(n, time.Now())) {
			return
		}
	}
}

// job is what to fetch next: the next of a wish, or what a device misses.
type job struct {
	device  *device.Device
	wish    *wish
	devices []*device.Device // of the wish's image
}

// fetch does the job, at most compressed bytes of it, and returns how many it asked for.
func (j job) fetch(ctx context.Context, most int64) (int64, error) {
	if j.wish == nil {
		return j.device.Fill(ctx)
	}
	blob, chunks := j.wish.take(most)
	if len(chunks) == 0 {
		return 0, nil
	}
	return j.devices[blob].Bring(ctx, chunks)
}

const (
	retryFill = 10 * time.Second
	idleFill  = time.Second // between looks for new mounts
)

// toFill returns a job, or how long to wait for one. Wishes come first, and do not wait
// for Fill.Delay: they are what that time is for.
func (s *Server) toFill(failed map[*device.Device]time.Time) (job, time.Duration) {
	now := time.Now()
	wait := idleFill
	later := func(at time.Time) { wait = min(wait, max(at.Sub(now), time.Millisecond)) }
	live := map[*device.Device]bool{}
	var best, wished job
	var oldest, oldestWish time.Time
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range s.mounts {
		if !m.wish.over.Load() && (wished.wish == nil || m.Since.Before(oldestWish)) {
			wished, oldestWish = job{wish: m.wish, devices: m.devices()}, m.Since
		}
		for _, b := range m.blobs {
			d := b.device
			live[d] = true
			if held, all := d.Held(); held == all {
				continue
			}
			begin := m.Since.Add(s.cfg.Fill.Delay.Duration())
			if at, ok := failed[d]; ok && at.After(begin) {
				begin = at
			}
			switch {
			case begin.After(now):
				later(begin)
			case best.device == nil || m.Since.Before(oldest):
				best, oldest = job{device: d}, m.Since
			}
		}
	}
	for d := range failed {
		if !live[d] {
			delete(failed, d)
		}
	}
	if wished.wish != nil {
		return wished, 0
	}
	return best, wait
}

// sleep waits, and reports whether ctx goes on.
func sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// pace spreads bytes over time. It is safe for concurrent use.
type pace struct {
	rate float64 // bytes per second; 0 = unlimited

	mu   sync.Mutex
	free time.Time // when what was taken is paid for
}

func newPace(r config.Rate) *pace { return &pace{rate: float64(r.BytesPerSecond())} }

// take notes n bytes and returns how long to wait before the next.
func (p *pace) take(n int64, now time.Time) time.Duration {
	if p.rate <= 0 {
		return 0
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.free.Before(now) {
		p.free = now
	}
	p.free = p.free.Add(time.Duration(float64(n) / p.rate * float64(time.Second)))
	return p.free.Sub(now)
}
