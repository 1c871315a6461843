package swarmsim

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/darter-p2p/darter/p2p"
	"github.com/darter-p2p/darter/p2p/download"
	"github.com/darter-p2p/darter/p2p/upload"
	"github.com/darter-p2p/darter/scheduler/swarm"
)

// Sim is one run of a scenario.
type Sim struct {
	queue
	now      time.Duration
	limit    time.Duration // the run is cut off here
	rng      *rand.Rand
	nodes    []*node
	byHost   map[p2p.HostID]int32
	net      *links
	task     p2p.TaskID
	geometry p2p.Geometry
	control

	rate       float64       // of an ordinary link, bytes per second
	latency    time.Duration // of a message
	haveDelay  time.Duration // how long haves are collected
	pollEvery  time.Duration
	detect     time.Duration // until a dead host is noticed
	stall      time.Duration // each node handles no message for so long …
	stallEvery time.Duration // … once in so long
	originRate float64       // bytes per second; what one reader of the origin gets
	originFrom int64         // bytes that the origin has sent
	origins    map[int32]int // piece each puller is reading

	maxOutstanding int
	checkEvery     int // scheduler events between two calls of its Check
	failures       int // nodes told that nobody can give the task
	incomplete     int
	trace          uint64
	last           [200]mark // the end of the trace, for a failure
	recorded       int
	failure        error
	events         int
}

// epoch is the simulation's time 0: the pure packages take a time.Time.
var epoch = time.Unix(1_700_000_000, 0)

func (s *Sim) clock() time.Time { return epoch.Add(s.now) }

func (s *Sim) at(t time.Duration, e event) {
	e.at = t
	s.push(e)
}

func (s *Sim) after(d time.Duration, e event) { s.at(s.now+d, e) }

// fail ends the run with a broken invariant.
func (s *Sim) fail(format string, args ...any) {
	if s.failure == nil {
		s.failure = fmt.Errorf("at %v: "+format, append([]any{s.now}, args...)...)
	}
}

// record adds what happened to the trace.
func (s *Sim) record(n *node, kind eventKind, what uint64) {
	for _, v := range [...]uint64{uint64(s.now), uint64(n.id), uint64(kind), what} {
		s.trace = (s.trace ^ v) * 1099511628211 // FNV-1a, a word at a time
	}
	s.last[s.recorded%len(s.last)] = mark{s.now, n.id, kind, what}
	s.recorded++
}

// mark is one line of the trace.
type mark struct {
	at   time.Duration
	node int32
	kind eventKind
	what uint64
}

// ending returns the end of the trace, a line an event.
func (s *Sim) ending() string {
	var b strings.Builder
	for i := max(0, s.recorded-40); i < s.recorded; i++ {
		m := s.last[i%len(s.last)]
		fmt.Fprintf(&b, "%v %s %s %d\n", m.at, s.nodes[m.node].host.ID, m.kind, m.what)
	}
	return b.String()
}

// newSim makes the nodes of a scenario, none of which has joined.
func newSim(sc *scenario, seed uint64) *Sim {
	s := &Sim{
		rng: rand.New(rand.NewPCG(seed, 1)), byHost: map[p2p.HostID]int32{}, origins: map[int32]int{},
		rate: sc.rate, latency: sc.latency, originRate: sc.origin, detect: sc.detect, limit: sc.limit,
		task: p2p.TaskOfURL(sc.name, "", ""),
	}
	s.geometry = p2p.Geometry{Size: int64(sc.pieces) * sc.piece, PieceLength: sc.piece}
	pieceTime := time.Duration(float64(sc.piece) / s.rate * float64(time.Second))
	s.haveDelay, s.pollEvery = pieceTime/8, pieceTime/2
	s.stall, s.stallEvery = sc.stall, sc.stallEvery
	if sc.nodes > 64 {
		s.checkEvery = 500
	}
	s.net = newLinks(sc.seeds + sc.nodes)
	cfg := download.Default()
	s.maxOutstanding = (cfg.MaxSlots+2)*cfg.Depth + 8 + sc.seeds*cfg.Depth
	for i := range sc.seeds + sc.nodes {
		n := &node{id: int32(i), alive: true, named: map[int32]bool{}, banned: map[int32]bool{}}
		n.host = p2p.Host{ID: p2p.HostID(fmt.Sprintf("node%d", i-sc.seeds+1))}
		up := upload.Default()
		if i < sc.seeds {
			up = upload.DefaultSeed()
			n.host = p2p.Host{ID: p2p.HostID(fmt.Sprintf("seed%d", i+1)), Seed: true}
		}
		n.stallAt = time.Duration(s.rng.Int64N(int64(max(1, sc.stallEvery))))
		n.core = download.New(cfg, rand.New(rand.NewPCG(seed, uint64(i)+100)))
		n.slots, n.maxUploads = upload.NewSlots(up), max(up.Slots, cfg.MaxSlots)+up.Reserved
		s.byHost[n.host.ID] = n.id
		s.nodes = append(s.nodes, n)
		s.net.up[i], s.net.down[i] = s.rate, s.rate
	}
	s.control = newControl(seed)
	return s
}

// run handles events until every node that joined holds the whole task, or the limit.
func (s *Sim) run() error {
	for s.failure == nil {
		e, ok := s.pop()
		if !ok || e.at > s.limit {
			break
		}
		s.now = e.at
		s.events++
		s.handle(e)
		if s.incomplete == 0 && s.finished() {
			break
		}
	}
	return s.failure
}

// finished reports whether nothing of the scenario is to come.
func (s *Sim) finished() bool {
	return !slices.ContainsFunc(s.heap, func(e event) bool { return e.kind == evScript })
}

func (s *Sim) handle(e event) {
	if e.kind == evScript {
		e.data.(func())()
		return
	}
	switch e.kind {
	case evControl:
		s.decide(e.data.(swarm.Event))
		return
	case evTick:
		if e.at == s.tickAt {
			s.tickAt = 0
			s.decide(swarm.Tick{})
		}
		return
	}
	n := s.nodes[e.node]
	if e.kind == evHaves { // arrive even if the sender died since
		h := e.data.(haves)
		for i, l := range h.to {
			if wake := s.stalled(l.node); wake > s.now {
				s.at(wake, event{kind: evHaves, node: e.node, data: haves{h.pieces, h.to[i : i+1]}})
				continue
			}
			s.haves(l, h.pieces)
		}
		return
	}
	if e.kind == evFlow {
		if f := s.net.flows[e.a]; f != nil && f.version == e.b {
			s.arrived(n, f)
		}
		return
	}
	if !n.alive {
		return
	}
	if wake := s.stalled(n); wake > s.now {
		s.at(wake, e)
		return
	}
	switch e.kind {
	case evPoll:
		n.pollAt = 0
		s.poll(n)
	case evRequest:
		s.asked(n, e.data.(request))
	case evAnswer:
		s.record(n, evAnswer, e.b)
		n.core.Refused(s.clock(), download.RequestID(e.a), download.Refusal(e.b))
		s.poll(n)
	case evFlush:
		s.flush(n)
	case evFree:
		n.core.Free(s.nodes[e.peer].host.ID)
		s.hungry(n)
	case evBitmap:
		s.bitmap(n, e.peer, e.data.(bitmap))
	case evParted:
		s.drop(n, s.nodes[e.peer])
	case evGone:
		s.gone(n, e.peer)
	case evOrigin:
		s.readOrigin(n, int(e.a))
	case evEffect:
		s.effect(n, e.data)
	}
}

// stalled returns until when n does nothing, because its processor is busy elsewhere.
func (s *Sim) stalled(n *node) time.Duration {
	if s.stall == 0 {
		return 0
	}
	return s.now + s.stall - (s.now+n.stallAt)%s.stallEvery
}

// hungry polls a node only where it could ask for more: a poll is dear, and most
// haves reach a node whose slots are taken.
func (s *Sim) hungry(n *node) {
	if n.core.Hungry() {
		s.poll(n)
	}
}

// haves reach the other end of a link.
// learn gives the node the digests of pieces, which travel before the haves.
func (s *Sim) learn(n *node, pieces []p2p.Piece) {
	for _, p := range pieces {
		if n.known.Add(p) {
			n.core.Known(s.task, p, p+1)
		}
	}
}

func (s *Sim) haves(l *neighbour, pieces []p2p.Piece) {
	n, from := l.node, l.back
	if !n.alive || n.have == nil || from.gone {
		return
	}
	if !from.heard || n.have.Full() {
		for _, p := range pieces {
			from.set.Add(p)
		}
		return
	}
	s.learn(n, pieces)
	n.core.Have(s.task, from.node.host.ID, pieces...) // adds them to from.set, too
	s.hungry(n)
}

// introduce is what the scheduler's word does: a link comes up when both ends were told.
func (s *Sim) introduce(n, to *node, seed bool) {
	if n.banned[to.id] {
		return
	}
	n.named[to.id] = seed
	if l := n.link(to.id); l != nil && l.heard {
		n.core.Bitmap(s.task, to.host.ID, seed, l.set)
		return
	}
	if _, mutual := to.named[n.id]; !mutual || !to.alive || n.link(to.id) != nil {
		return
	}
	there := &neighbour{node: to, set: p2p.NewPieceSet(s.geometry.Pieces())}
	here := &neighbour{node: n, set: p2p.NewPieceSet(s.geometry.Pieces()), back: there}
	there.back = here
	n.links, to.links = append(n.links, there), append(to.links, here)
	s.tellBitmap(n, to)
	s.tellBitmap(to, n)
}

// part ends a link by the scheduler's word; the other end notices.
func (s *Sim) part(n, from *node) {
	delete(n.named, from.id)
	s.drop(n, from)
	s.after(s.latency, event{kind: evParted, node: from.id, peer: n.id})
}

// drop takes a link down at n's end, and what was on its way to n.
func (s *Sim) drop(n, from *node) {
	if n.link(from.id) == nil {
		return
	}
	leave(n, from)
	leave(from, n)
	s.abandon(n, from.id)
	s.abandon(from, n.id)
	n.unlink(from.id)
	n.core.NeighbourGone(s.task, from.host.ID)
}

// bitmap is what a link's end says of itself.
type bitmap struct{ set *p2p.PieceSet }

// tellBitmap sends to a neighbour what n holds.
func (s *Sim) tellBitmap(n, to *node) {
	if n.have != nil {
		s.after(2*s.latency, event{kind: evBitmap, node: to.id, peer: n.id, data: bitmap{n.have.Clone()}})
	}
}

func (s *Sim) bitmap(n *node, from int32, b bitmap) {
	l := n.link(from)
	if l == nil {
		return
	}
	s.knows(n)
	if n.have == nil {
		return
	}
	l.set, l.heard = b.set, true
	for p, ok := b.set.Next(0); ok; p, ok = b.set.Next(p + 1) {
		n.core.Known(s.task, p, p+1)
	}
	n.core.Bitmap(s.task, l.node.host.ID, n.named[from], b.set) // one set, kept by the core
	s.poll(n)
}

// kill stops a node at once; who is linked to it notices later.
func (s *Sim) kill(n *node) {
	if !n.alive {
		return
	}
	if n.joined && n.done == 0 && !n.liar {
		s.incomplete--
	}
	n.alive = false
	s.record(n, evKilled, 0)
	delete(s.origins, n.id)
	for _, f := range slices.Clone(s.net.sending[n.id]) {
		s.stop(n, n.link(f.to), false)
	}
	for _, l := range n.links {
		s.after(s.detect, event{kind: evGone, node: l.node.id, peer: n.id})
		if back := l.node.link(n.id); back != nil && back.serving != nil {
			back.queue = nil
			s.stop(l.node, back, false)
		}
	}
	s.after(s.detect, event{kind: evControl, data: swarm.HostDown{Host: n.host.ID}})
}

// gone is what a node does when a link died.
func (s *Sim) gone(n *node, dead int32) {
	n.unlink(dead)
	delete(n.named, dead)
	n.core.HostGone(s.nodes[dead].host.ID)
	if _, reading := s.origins[n.id]; n.puller && !reading {
		s.nextFromOrigin(n) // what only the dead one held
	}
	if n.joined {
		s.send(swarm.NeighbourLost{Task: s.task, Host: n.host.ID, Lost: []p2p.HostID{s.nodes[dead].host.ID}})
	}
	s.poll(n)
}

// join lets a node ask for the task.
func (s *Sim) join(n *node) {
	if !n.alive || n.joined {
		return
	}
	n.joined, n.started = true, s.now
	if !n.liar {
		s.incomplete++
	}
	s.send(swarm.Join{Task: s.task, Host: n.host.ID, Origin: origin, Size: s.geometry.Size})
}

// pull makes a node read what it lacks from the origin, in order.
func (s *Sim) pull(n *node) {
	if _, reading := s.origins[n.id]; reading || !n.alive {
		return
	}
	if !n.joined {
		n.joined, n.started = true, s.now
		s.incomplete++
	}
	n.puller = true
	s.knows(n)
	for _, l := range n.links {
		s.tellBitmap(n, l.node)
	}
	if !n.share.Helper {
		s.send(swarm.PullStarted{Task: s.task, Host: n.host.ID, Size: s.geometry.Size})
	}
	s.origins[n.id] = -1
	s.nextFromOrigin(n)
}

// nextFromOrigin begins to read the next missing piece that no neighbour holds.
func (s *Sim) nextFromOrigin(n *node) {
	p, ok := n.have.NextMissing(0)
	for ok && !n.share.Has(s.geometry.Offset(p)) || ok && slices.ContainsFunc(n.links, func(l *neighbour) bool { return l.set.Has(p) && l.node.alive }) {
		p, ok = n.have.NextMissing(p + 1)
	}
	if !ok {
		delete(s.origins, n.id)
		return
	}
	s.origins[n.id] = int(p)
	took := time.Duration(float64(s.geometry.Length(p)) / s.originRate * float64(time.Second))
	s.after(took, event{kind: evOrigin, node: n.id, a: uint64(p)})
}

func (s *Sim) readOrigin(n *node, p int) {
	if at, ok := s.origins[n.id]; !ok || at != p {
		return
	}
	s.originFrom += s.geometry.Length(p2p.Piece(p))
	n.fromOrigin += s.geometry.Length(p2p.Piece(p))
	n.core.Got(s.task, p2p.Piece(p))
	s.hold(n, p2p.Piece(p))
	s.nextFromOrigin(n)
}
