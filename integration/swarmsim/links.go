package swarmsim

import (
	"math"
	"slices"
	"time"
)

// links is a network of full-duplex links to one switch without loss. Both ends of a
// transfer share as TCP does, nearly: a transfer gets an equal share at each end, and
// what others there cannot use (max-min by local relaxation, see share).
type links struct {
	up, down []float64 // bytes per second, by node
	sending  [][]*flow
	taking   [][]*flow
	flows    map[uint64]*flow
	next     uint64

	work    []int32   // of share: nodes to fill; -1 = done
	settled []bool    // of fill
	rates   []float64 // of fill
}

// flow is a transfer under way.
type flow struct {
	id       uint64
	from, to int32
	left     float64 // bytes, at the time of since
	rate     float64
	since    time.Duration
	version  uint64 // of the rate: an end that was planned with an older one does not count
}

func newLinks(n int) *links {
	return &links{
		up: make([]float64, n), down: make([]float64, n),
		sending: make([][]*flow, n), taking: make([][]*flow, n), flows: map[uint64]*flow{},
	}
}

// start begins a transfer and returns it with every flow whose rate changed.
func (l *links) start(now time.Duration, from, to int32, bytes int64) (*flow, []*flow) {
	l.next++
	f := &flow{id: l.next, from: from, to: to, left: float64(bytes), since: now}
	l.flows[f.id] = f
	l.sending[from] = append(l.sending[from], f)
	l.taking[to] = append(l.taking[to], f)
	return f, l.share(now, from, to)
}

// end takes a transfer off the links and returns every flow whose rate changed.
func (l *links) end(now time.Duration, f *flow) []*flow {
	delete(l.flows, f.id)
	is := func(g *flow) bool { return g == f }
	l.sending[f.from] = slices.DeleteFunc(l.sending[f.from], is)
	l.taking[f.to] = slices.DeleteFunc(l.taking[f.to], is)
	return l.share(now, f.from, f.to)
}

// reshare recomputes what leaves and reaches a node whose rates were changed.
func (l *links) reshare(now time.Duration, node int32) []*flow { return l.share(now, node, node) }

// maxFills bounds how far a change spreads: what it does to the rates of others fades
// with the distance.
const maxFills = 12

// share recomputes the rates of from's transfers and of those to to, and then of those
// that a change gave or took room, from node to node.
func (l *links) share(now time.Duration, from, to int32) []*flow {
	l.work = append(l.work[:0], from)
	for _, f := range l.taking[to] {
		l.refill(f.from)
	}
	var changed []*flow
	for i := 0; i < len(l.work) && i < maxFills; i++ {
		before := len(changed)
		node := l.work[i]
		l.work[i] = -1
		changed = l.fill(now, node, changed)
		for _, f := range changed[before:] {
			for _, g := range l.taking[f.to] {
				if g != f {
					l.refill(g.from)
				}
			}
		}
	}
	return changed
}

// refill has a node's transfers recomputed, unless that is due already.
func (l *links) refill(node int32) {
	if !slices.Contains(l.work, node) {
		l.work = append(l.work, node)
	}
}

// room returns what f's receiver can take of it: an equal share, or all that its other
// transfers leave.
func (l *links) room(f *flow) float64 {
	down := l.down[f.to]
	left := down
	for _, g := range l.taking[f.to] {
		if g != f {
			left -= g.rate
		}
	}
	return max(left, down/float64(len(l.taking[f.to])))
}

// sameRate is the part of a rate below which a change is not worth an event.
const sameRate = 0.03

// fill divides a sender's rate over its transfers by water filling: none gets more
// than its receiver has room for, and what is left goes to the others.
func (l *links) fill(now time.Duration, from int32, changed []*flow) []*flow {
	flows := l.sending[from]
	left, open := l.up[from], len(flows)
	l.settled = append(l.settled[:0], make([]bool, len(flows))...)
	l.rates = append(l.rates[:0], make([]float64, len(flows))...)
	settled, rates := l.settled, l.rates
	for open > 0 {
		share, capped := left/float64(open), false
		for i, f := range flows {
			if settled[i] {
				continue
			}
			if limit := l.room(f); limit <= share {
				rates[i], settled[i], capped = limit, true, true
				left -= limit
				open--
			}
		}
		if !capped {
			for i := range flows {
				if !settled[i] {
					rates[i] = share
				}
			}
			break
		}
	}
	for i, f := range flows {
		if f.version == 0 || math.Abs(rates[i]-f.rate) > sameRate*f.rate {
			f.left = max(0, f.left-f.rate*(now-f.since).Seconds())
			f.rate, f.since = rates[i], now
			f.version++
			changed = append(changed, f)
		}
	}
	return changed
}

// due returns when a transfer ends at its present rate.
func (f *flow) due() time.Duration {
	if f.rate <= 0 {
		return math.MaxInt64
	}
	return f.since + time.Duration(math.Ceil(f.left/f.rate*1e9))
}
