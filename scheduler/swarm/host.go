package swarm

import (
	"slices"
	"strings"

	"github.com/darter-p2p/darter/p2p"
)

// host is a node that is up.
type host struct {
	p2p.Host
	peers map[*task]*peer
	rack  *rack // nil where unknown
	place int   // in rack.hosts
}

// rack is the hosts of one rack of one zone.
type rack struct {
	key   string
	hosts []*host
}

func (e HostUp) apply(c *Core) {
	h := c.hosts[e.Host.ID]
	if h == nil {
		h = &host{Host: e.Host, peers: make(map[*task]*peer)}
		c.hosts[h.ID] = h
		c.settle(h)
		if h.Seed {
			c.offerSeed(h)
		}
		return
	}
	for _, p := range h.peers {
		p.stale = true
	}
	if h.Host != e.Host {
		c.moveHost(h, e.Host)
	}
}

// moveHost takes what changed of a host that is up: its neighbours are told that
// it is gone and back.
func (c *Core) moveHost(h *host, changed p2p.Host) {
	peers := h.sortedPeers()
	edges := make([][]*peer, len(peers))
	for i, p := range peers {
		edges[i] = slices.Clone(p.edges)
		for _, q := range edges[i] {
			c.unlink(p, q)
		}
		c.takeOut(p)
	}
	c.unsettle(h)
	h.Host = changed
	c.settle(h)
	for i, p := range peers {
		c.putIn(p)
		if h.Seed {
			c.widen(p)
		}
		for _, q := range edges[i] {
			c.link(p, q)
		}
	}
}

func (e HostDown) apply(c *Core) {
	h := c.hosts[e.Host]
	if h == nil {
		return
	}
	c.unsettle(h)
	delete(c.hosts, h.ID)
	for _, p := range h.sortedPeers() {
		c.removePeer(p)
	}
}

// settle puts a host into the lists of seeds and racks.
func (c *Core) settle(h *host) {
	if h.Seed {
		at, _ := slices.BinarySearchFunc(c.seeds, h.ID, compareHost)
		c.seeds = slices.Insert(c.seeds, at, h)
	}
	if h.Rack == "" || c.cfg.RackNeighbours == 0 {
		return
	}
	key := h.Zone + "|" + h.Rack
	r := c.racks[key]
	if r == nil {
		r = &rack{key: key}
		c.racks[key] = r
	}
	h.rack, h.place = r, len(r.hosts)
	r.hosts = append(r.hosts, h)
}

func (c *Core) unsettle(h *host) {
	if at, ok := slices.BinarySearchFunc(c.seeds, h.ID, compareHost); ok {
		c.seeds = slices.Delete(c.seeds, at, at+1)
	}
	r := h.rack
	if r == nil {
		return
	}
	last := len(r.hosts) - 1
	r.hosts[h.place] = r.hosts[last]
	r.hosts[h.place].place = h.place
	r.hosts[last] = nil
	r.hosts = r.hosts[:last]
	if last == 0 {
		delete(c.racks, r.key)
	}
	h.rack = nil
}

func compareHost(h *host, id p2p.HostID) int { return strings.Compare(string(h.ID), string(id)) }

// sortedPeers returns the host's peers in the order in which their tasks were made.
func (h *host) sortedPeers() []*peer {
	peers := make([]*peer, 0, len(h.peers))
	for _, p := range h.peers {
		peers = append(peers, p)
	}
	slices.SortFunc(peers, func(a, b *peer) int {
		if a.task.seq < b.task.seq {
			return -1
		}
		return 1
	})
	return peers
}
