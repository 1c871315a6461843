package swarm

// bridge gives every zone of a task that takes something Config.Bridges links to
// other zones: the first to somebody who has the content or reads it, if there is one.
func (c *Core) bridge(t *task) {
	if len(t.groups) < 2 {
		return
	}
	for _, g := range t.groups {
		for tries := 4; tries > 0 && g.bridges < c.cfg.Bridges; tries-- {
			from := c.bridgehead(g)
			if from == nil {
				break
			}
			if to := c.abroad(t, g, tries%2 == 0); to != nil {
				c.link(from, to)
			}
		}
	}
}

// bridgehead picks a random peer of a group that takes the task and has room.
func (c *Core) bridgehead(g *group) *peer {
	start := c.rng.IntN(len(g.peers))
	for i := range g.peers {
		if p := g.peers[(start+i)%len(g.peers)]; p.takes() && len(p.edges) < c.degreeCap(p) {
			return p
		}
	}
	return nil
}

// abroad picks a peer outside of a group: with source, one that holds the task or reads it.
func (c *Core) abroad(t *task, g *group, source bool) *peer {
	if source {
		if t.pull != nil && c.group(t.pull.puller) != g {
			return t.pull.puller
		}
		for _, p := range t.sources {
			if p.state == complete && c.group(p) != g {
				return p
			}
		}
	}
	outside := t.members() - len(g.peers)
	if outside == 0 {
		return nil
	}
	at := c.rng.IntN(outside)
	for _, other := range t.groups {
		if other == g {
			continue
		}
		if at < len(other.peers) {
			return other.peers[at]
		}
		at -= len(other.peers)
	}
	return nil
}
