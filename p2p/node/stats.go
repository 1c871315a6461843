package node

import (
	"cmp"
	"crypto/x509"
	"maps"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/darter-p2p/darter/p2p"
)

// Stats is where a task's bytes came from and went to, on this host since it began
// to take part; bytes.
type Stats struct {
	FromPeers, FromSeed, FromOrigin int64
	Twice                           int64 // arrived though they were here already
	Sent                            int64
	Started                         time.Time
	First                           time.Time // first byte; zero = none yet
	Held                            time.Time // every piece; zero = not yet
	past                            map[p2p.HostID]PeerStats
	pastHosts                       map[p2p.HostID]p2p.Host
}

// PeerStats is what one neighbour gave and got; bytes.
type PeerStats struct {
	Pieces   int64
	Received int64
	Sent     int64
	Took     time.Duration // while pieces were coming from it, one after the other
}

func (s *Stats) received(bytes int64, seed bool) {
	if s.First.IsZero() {
		s.First = time.Now()
	}
	if seed {
		s.FromSeed += bytes
	} else {
		s.FromPeers += bytes
	}
}

// gone keeps the counts of a neighbour that left.
func (s *Stats) gone(id p2p.HostID, nb *neighbour) {
	if nb.stats == (PeerStats{}) {
		return
	}
	if s.past == nil {
		s.past, s.pastHosts = map[p2p.HostID]PeerStats{}, map[p2p.HostID]p2p.Host{}
	}
	sum := s.past[id]
	sum.Pieces += nb.stats.Pieces
	sum.Received += nb.stats.Received
	sum.Sent += nb.stats.Sent
	sum.Took += nb.stats.Took
	s.past[id], s.pastHosts[id] = sum, nb.host
}

// Snapshot is the state of a task on this host.
type Snapshot struct {
	Task     p2p.TaskID
	Origin   p2p.Origin
	Geometry p2p.Geometry // zero = not known
	Pieces   int          // held
	Final    bool         // the digest of the whole matched
	Complete bool
	Pulling  bool // this host reads the origin for others
	Active   bool // the rest is wanted
	SignedBy []string
	Readers  int
	Readings []p2p.Reading // where it was read
	Sum      digest.Digest // of the content; "" = not known
	Error    error
	Stats
	Peers []PeerSnapshot
}

// PeerSnapshot is another host in a task.
type PeerSnapshot struct {
	Host      p2p.Host
	Linked    bool
	Pieces    int    // that it says it holds
	Banned    string // the reason; "" = not banned
	PeerStats        // bytes
}

// Tasks returns the state of every task in memory, by identity. Complete tasks that
// nobody used for a while are only in the store.
func (n *Node) Tasks() []Snapshot {
	n.mu.Lock()
	defer n.mu.Unlock()
	all := make([]Snapshot, 0, len(n.tasks))
	for _, id := range slices.SortedFunc(maps.Keys(n.tasks), compareTasks) {
		all = append(all, n.snapshotLocked(n.tasks[id]))
	}
	return all
}

// Task returns the state of one task, also of one that failed or was revoked a while
// ago, and false where this host knows nothing of it.
func (n *Node) Task(id p2p.TaskID) (Snapshot, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if t := n.taskLocked(id); t != nil {
		s := n.snapshotLocked(t)
		if past, ok := n.past.get(id); ok && s.Pieces == 0 {
			s.Error = cmp.Or(s.Error, past.err)
		}
		return s, true
	}
	past, ok := n.past.get(id)
	origin, _ := past.origin.Bare()
	return Snapshot{Task: id, Origin: origin, Error: past.err, Stats: past.Stats}, ok
}

func (n *Node) snapshotLocked(t *task) Snapshot {
	origin, _ := t.origin.Bare()
	s := Snapshot{Task: t.id, Origin: origin, Geometry: t.geometry, Final: t.final, Complete: t.complete,
		Pulling: t.puller != nil, Active: t.joined && !t.complete, SignedBy: t.signers(), Readers: t.readers, Readings: t.origins(), Sum: t.sum(), Error: t.err, Stats: t.stats}
	if t.have != nil {
		s.Pieces = t.have.Count()
	}
	if t.stream != nil {
		s.Error = cmp.Or(s.Error, t.stream.why)
	}
	peers := map[p2p.HostID]PeerSnapshot{}
	for id, past := range t.stats.past {
		peers[id] = PeerSnapshot{Host: t.stats.pastHosts[id], PeerStats: past}
	}
	for id, nb := range t.neighbours {
		p := peers[id]
		p.Host = nb.host
		p.Linked = n.hosts[id] != nil && n.hosts[id].link != nil
		if nb.set != nil {
			p.Pieces = nb.set.Count()
		}
		p.PeerStats.Pieces += nb.stats.Pieces
		p.Received += nb.stats.Received
		p.Sent += nb.stats.Sent
		p.Took += nb.stats.Took
		peers[id] = p
	}
	for id, why := range t.banned {
		p := peers[id]
		p.Host.ID, p.Banned = id, why
		peers[id] = p
	}
	s.Peers = slices.SortedFunc(maps.Values(peers), func(a, b PeerSnapshot) int { return cmp.Compare(a.Host.ID, b.Host.ID) })
	return s
}

// CountOrigin adds bytes of a task that a reader of this host took from the origin
// past the piece network.
func (n *Node) CountOrigin(id p2p.TaskID, bytes int64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if t := n.tasks[id]; t != nil {
		t.stats.FromOrigin += bytes
	}
	n.events.Received("", false, bytes)
}

// Slots returns how many pieces this host is sending, and how many requests it has out.
func (n *Node) Slots() (sending, asked int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.slots.Active(), n.core.Outstanding()
}

// Links returns the number of links that are up.
func (n *Node) Links() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	up := 0
	for _, h := range n.hosts {
		if h.link != nil {
			up++
		}
	}
	return up
}

// signers returns the names in the certificates of those who signed the map.
func (t *task) signers() []string {
	var names []string
	for _, b := range t.batches {
		cert, err := x509.ParseCertificate(b.Cert)
		if err != nil {
			continue
		}
		if name := cert.Subject.CommonName; !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}
