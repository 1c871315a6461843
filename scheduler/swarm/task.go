package swarm

import (
	"slices"
	"time"

	"github.com/darter-p2p/darter/p2p"
)

// state is what a peer does in its task.
type state uint8

const (
	partial  state = iota // holds a part of it and takes nothing
	wanting               // takes it for itself
	helping               // a seed that takes it for others
	complete              // holds it whole
	gone                  // is no longer in the task
	states
)

// peer is one host in one task. A node may hold thousands of tasks: whatever only
// an active peer needs is behind talk.
type peer struct {
	host  *host
	task  *task
	edges []*peer
	talk  *talk  // nil while nothing is to be told and nobody avoided
	told  uint32 // when it was last told something, in ms of Core.millis
	place int32  // in its group, or in task.parts
	mark  uint32 // the walk that saw it last
	state state
	wide  bool // is or was the puller, or is a seed: has up to SeedDegree neighbours
	knows bool // was told the size, or told it to us
	stale bool // its host connected anew and did not announce it yet
}

// takes reports whether the peer still needs pieces.
func (p *peer) takes() bool { return p.state == wanting || p.state == helping }

// relays reports whether the peer is in the mesh: it takes or holds everything.
func (p *peer) relays() bool { return p.state != partial && p.state != gone }

func (p *peer) gone() bool { return p.state == gone }

// task is one content and its swarm.
type task struct {
	id      p2p.TaskID
	seq     uint64
	size    int64
	sizeBy  claim
	count   [states]int
	groups  []*group // by zone; one group where zones do not matter
	parts   []*peer  // of state partial
	sources []*peer  // wide peers
	origins []origin
	pull    *pull
	relief  *relief   // nil = nobody has starved
	beside  []*peer   // that read the origin, for their neighbours are slow; some may have gone
	warm    time.Time // no pull begins earlier; it came from another scheduler
	trouble map[p2p.HostID]*trouble
	large   bool // has had more than LargeSwarm peers
	torn    bool // lost an edge since the mesh was last walked
	grown   bool // got a peer since then
	held    bool // a pull waits for the end of the warm-up
	watched bool
}

// group is the peers of a task in one zone, without the partial ones.
type group struct {
	zone    string
	peers   []*peer
	bridges int // edges to other groups
}

// claim is how far a size is to be believed.
type claim uint8

const (
	unclaimed claim = iota
	hearsay         // a host that wants the task says so
	witnessed       // a host that holds it, or reads it from the origin
)

// trouble is what a task's peers said against a host.
type trouble struct {
	lost, bad []p2p.HostID // distinct reporters; as few as decide
	condemned time.Time    // until then the host is kept out; zero = it is not
}

// task returns the task with the given identity, making it if need be.
func (c *Core) task(id p2p.TaskID) *task {
	t := c.tasks[id]
	if t == nil {
		c.created++
		t = &task{id: id, seq: c.created, size: -1}
		c.tasks[id] = t
	}
	return t
}

// find returns a host's peer in a task, or nil.
func (c *Core) find(id p2p.TaskID, host p2p.HostID) *peer {
	t, h := c.tasks[id], c.hosts[host]
	if t == nil || h == nil {
		return nil
	}
	return h.peers[t]
}

// addPeer makes h a peer of t, or returns the one it has with its state changed.
func (c *Core) addPeer(t *task, h *host, s state) *peer {
	p := h.peers[t]
	if p == nil {
		p = &peer{host: h, task: t, state: s}
		h.peers[t] = p
		c.peers++
		c.putIn(p)
		if h.Seed {
			c.widen(p)
		}
	} else {
		c.setState(p, s)
	}
	p.stale = false
	if t.members() > c.cfg.LargeSwarm {
		t.large = true
	}
	return p
}

// setState moves a peer within its task. Edges that nobody needs any more are
// forgotten without a word: neither side asks the other for anything.
func (c *Core) setState(p *peer, s state) {
	if p.state == s {
		return
	}
	was := p.state
	c.takeOut(p)
	p.state = s
	c.putIn(p)
	if s == partial || was == complete { // others may have had nobody else
		c.tear(p.task)
	}
	if p.takes() {
		return
	}
	for i := len(p.edges) - 1; i >= 0; i-- {
		if q := p.edges[i]; !q.takes() {
			c.cut(p, q)
		}
	}
}

// removePeer takes a peer out of its task and repairs what it leaves behind.
func (c *Core) removePeer(p *peer) {
	t := p.task
	c.takeOut(p)
	p.state = gone
	c.peers--
	delete(p.host.peers, t)
	if i := slices.Index(t.sources, p); i >= 0 {
		t.sources = slices.Delete(t.sources, i, i+1)
	}
	left := slices.Clone(p.edges)
	for _, q := range left {
		c.unlink(p, q)
	}
	for _, q := range left {
		c.refill(q)
	}
	c.bridge(t)
	if t.pull != nil && t.pull.puller == p {
		c.pullLost(t, p2p.OriginError{Puller: p.host.ID, Message: "the host that read it is gone"})
	}
	c.inherit(t, p)
	c.ensurePull(t)
	c.forget(t)
}

// forget drops a task that holds nothing worth knowing.
func (c *Core) forget(t *task) {
	if t.members() > 0 || len(t.parts) > 0 || len(t.trouble) > 0 || c.tasks[t.id] != t {
		return
	}
	for _, o := range t.origins {
		if o.failed(c.now) {
			c.watch(t)
			return
		}
	}
	delete(c.tasks, t.id)
}

// members returns the number of peers in the mesh.
func (t *task) members() int { return t.count[wanting] + t.count[helping] + t.count[complete] }

// putIn files a peer by its state and zone.
func (c *Core) putIn(p *peer) {
	t := p.task
	t.count[p.state]++
	if !p.relays() {
		p.place = int32(len(t.parts))
		t.parts = append(t.parts, p)
		return
	}
	zone := c.zone(p)
	g := t.groupIn(zone)
	if g == nil {
		g = &group{zone: zone}
		t.groups = append(t.groups, g)
	}
	g.bridges += c.crossings(p)
	p.place = int32(len(g.peers))
	g.peers = append(g.peers, p)
}

// takeOut undoes putIn; the peer's state and zone must be what they were.
func (c *Core) takeOut(p *peer) {
	t := p.task
	t.count[p.state]--
	if !p.relays() {
		t.parts = cutPlace(t.parts, p)
		return
	}
	g := c.group(p)
	g.bridges -= c.crossings(p)
	g.peers = cutPlace(g.peers, p)
	if len(g.peers) == 0 {
		t.groups = slices.DeleteFunc(t.groups, func(x *group) bool { return x == g })
	}
}

// cutPlace removes p from a list that is filed by place.
func cutPlace(list []*peer, p *peer) []*peer {
	last := len(list) - 1
	list[p.place] = list[last]
	list[p.place].place = p.place
	list[last] = nil
	return list[:last]
}

// zone returns the zone that a peer is filed under: one for all where zones do not matter.
func (c *Core) zone(p *peer) string {
	if c.cfg.Bridges == 0 {
		return ""
	}
	return p.host.Zone
}

// group returns the group of a peer that is in the mesh.
func (c *Core) group(p *peer) *group { return p.task.groupIn(c.zone(p)) }

func (t *task) groupIn(zone string) *group {
	for _, g := range t.groups {
		if g.zone == zone {
			return g
		}
	}
	return nil
}

// crossings counts a peer's edges that leave its zone.
func (c *Core) crossings(p *peer) int {
	n := 0
	for _, q := range p.edges {
		if c.zone(p) != c.zone(q) {
			n++
		}
	}
	return n
}
