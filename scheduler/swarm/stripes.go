package swarm

import (
	"cmp"
	"slices"

	"github.com/darter-p2p/darter/p2p"
)

// Where several seeds live, they share the reading of a large content: each reads its
// stripe from the origin, in order. The puller is the notary, too: it takes the others'
// stripes like everybody, hashes the whole and vouches for it. It asks for its first run
// alone, so that the size is known and nothing is on its way that another is to read.

// share begins a pull's stripes, or goes on with those of the pull that it replaces.
func (c *Core) share(t *task, now, was *pull) {
	if was != nil && was.stripes != nil {
		now.of, now.stripes = was.of, was.stripes
		for i, q := range now.stripes {
			if q == was.puller || q.gone() {
				now.stripes[i] = now.puller
			}
		}
		return
	}
	if c.cfg.StripeRun == 0 || !now.puller.host.Seed || !now.origin.Immutable() || t.size >= 0 && t.size <= c.cfg.StripeRun {
		return
	}
	if of := 1 + len(c.helpers(t, now)); of > 1 {
		now.of = min(of, p2p.MaxStripes)
	}
}

// helpers returns the seeds that may read beside the puller, the heaviest first.
func (c *Core) helpers(t *task, now *pull) []*host {
	var fit []*host
	for _, h := range c.seeds {
		if p := h.peers[t]; h == now.puller.host || c.condemned(t, h.ID) || slices.Contains(now.tried, h.ID) || p != nil && p.state == complete {
			continue
		}
		fit = append(fit, h)
	}
	slices.SortStableFunc(fit, func(a, b *host) int {
		return cmp.Compare(p2p.Weight(t.id, string(b.ID)), p2p.Weight(t.id, string(a.ID)))
	})
	return fit
}

// shareOut gives the stripes of a pull that has begun to the other seeds.
func (c *Core) shareOut(t *task) {
	now := t.pull
	if now.of == 0 || now.stripes != nil || t.size <= c.cfg.StripeRun {
		return
	}
	now.stripes = make([]*peer, now.of)
	helpers := c.helpers(t, now)
	for i := range now.stripes {
		now.stripes[i] = now.puller
		if i == 0 || i > len(helpers) {
			continue
		}
		h := helpers[i-1]
		s := helping
		if p := h.peers[t]; p != nil && p.state == wanting {
			s = wanting
		}
		p := c.addPeer(t, h, s)
		now.stripes[i] = p
		p.knows = true
		c.emit(h, Pull{Task: t.id, Origin: now.origin, Size: t.size, Stripe: c.stripeOf(now, p)})
		c.link(p, now.puller)
		c.gatherWide(p)
	}
	if len(helpers) < now.of-1 { // one has gone since
		c.tellStripe(t)
	}
}

// stripeOf returns what a peer reads of a pull's origin.
func (c *Core) stripeOf(now *pull, p *peer) p2p.Stripe {
	if now.of == 0 {
		return p2p.Stripe{}
	}
	s := p2p.Stripe{Run: c.cfg.StripeRun, Of: now.of, Helper: p != now.puller}
	for i, q := range now.stripes {
		if q == p {
			s.Mine |= 1 << i
		}
	}
	if now.stripes == nil {
		s.Mine = 1 // until the others are told
	}
	return s
}

// tellStripe tells the puller what it reads now.
func (c *Core) tellStripe(t *task) {
	now := t.pull
	c.emit(now.puller.host, Pull{
		Task: t.id, Origin: now.origin, Size: t.size, Token: !now.puller.host.Seed, Stripe: c.stripeOf(now, now.puller),
	})
}

// inherit gives the stripe of a helper that does not read it to the puller.
func (c *Core) inherit(t *task, from *peer) {
	if t.pull == nil || t.pull.puller == from {
		return
	}
	had := false
	for i, q := range t.pull.stripes {
		if q == from {
			t.pull.stripes[i], had = t.pull.puller, true
		}
	}
	if had {
		c.tellStripe(t)
	}
}
