package swarm

import (
	"fmt"
	"slices"
)

// Check returns the first broken rule among those that hold after every event: edges
// are symmetric, between two different live peers of one task of whom one takes it,
// once each and at most as many as allowed; the one puller of a task is a live peer
// that takes it; every list and count agrees with the others. It looks at everything and is for tests.
func (c *Core) Check() error {
	peers, pulls := 0, 0
	for id, t := range c.tasks {
		n, err := c.checkTask(t)
		if err != nil {
			return fmt.Errorf("task %s: %w", id.Short(), err)
		}
		peers += n
		if t.pull != nil {
			pulls++
		}
	}
	if peers != c.peers || pulls != c.pulls {
		return fmt.Errorf("%d peers and %d pulls are counted, %d and %d exist", c.peers, c.pulls, peers, pulls)
	}
	for _, h := range c.hosts {
		peers -= len(h.peers)
	}
	if peers != 0 {
		return fmt.Errorf("tasks have %d peers more than hosts have", peers)
	}
	return nil
}

func (c *Core) checkTask(t *task) (peers int, err error) {
	var count [states]int
	for _, g := range t.groups {
		if len(g.peers) == 0 {
			return 0, fmt.Errorf("zone %q has no peer", g.zone)
		}
		bridges := 0
		for i, p := range g.peers {
			if !p.relays() || int(p.place) != i || c.zone(p) != g.zone {
				return 0, fmt.Errorf("peer %s is filed wrongly", p.host.ID)
			}
			count[p.state]++
			bridges += c.crossings(p)
			if err := c.checkPeer(p); err != nil {
				return 0, fmt.Errorf("peer %s: %w", p.host.ID, err)
			}
		}
		if bridges != g.bridges {
			return 0, fmt.Errorf("zone %q counts %d bridges and has %d", g.zone, g.bridges, bridges)
		}
		peers += len(g.peers)
	}
	for i, p := range t.parts {
		if p.relays() || int(p.place) != i {
			return 0, fmt.Errorf("partial peer %s is filed wrongly", p.host.ID)
		}
		count[partial]++
		if err := c.checkPeer(p); err != nil {
			return 0, fmt.Errorf("peer %s: %w", p.host.ID, err)
		}
	}
	if count != t.count {
		return 0, fmt.Errorf("peers by state are counted %v and are %v", t.count, count)
	}
	for _, p := range t.sources {
		if p.gone() || !p.wide {
			return 0, fmt.Errorf("source %s is gone or not wide", p.host.ID)
		}
	}
	if t.pull != nil && (t.pull.puller.gone() || !t.pull.puller.takes()) {
		return 0, fmt.Errorf("puller %s is gone or does not take the task", t.pull.puller.host.ID)
	}
	if t.pull != nil {
		for i, p := range t.pull.stripes {
			if p.gone() || p.task != t {
				return 0, fmt.Errorf("stripe %d is read by %s, which is gone", i, p.host.ID)
			}
		}
	}
	return peers + len(t.parts), nil
}

func (c *Core) checkPeer(p *peer) error {
	switch {
	case p.gone() || c.hosts[p.host.ID] != p.host || p.host.peers[p.task] != p:
		return fmt.Errorf("is not its host's peer")
	case len(p.edges) > c.degreeCap(p):
		return fmt.Errorf("%d neighbours, at most %d", len(p.edges), c.degreeCap(p))
	case p.host.Seed != slices.Contains(c.seeds, p.host):
		return fmt.Errorf("is listed wrongly among the seeds")
	}
	for i, q := range p.edges {
		switch {
		case q == p:
			return fmt.Errorf("is its own neighbour")
		case slices.Contains(p.edges[:i], q):
			return fmt.Errorf("has %s twice", q.host.ID)
		case q.task != p.task:
			return fmt.Errorf("has %s of another task", q.host.ID)
		case q.gone() || c.hosts[q.host.ID] != q.host:
			return fmt.Errorf("has %s, which is gone", q.host.ID)
		case !slices.Contains(q.edges, p):
			return fmt.Errorf("has %s, which does not have it", q.host.ID)
		case !p.takes() && !q.takes():
			return fmt.Errorf("and %s need nothing of each other", q.host.ID)
		}
	}
	return nil
}
