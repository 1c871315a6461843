package cluster

import (
	"crypto/rand"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/darter-p2p/darter/fetcher"
	"github.com/darter-p2p/darter/internal/pki"
	"github.com/darter-p2p/darter/p2p"
	"github.com/darter-p2p/darter/p2p/exchange"
	"github.com/darter-p2p/darter/p2p/node"
	"github.com/darter-p2p/darter/p2p/tracker"
	"github.com/darter-p2p/darter/p2p/trust"
)

// bans collects whom a node bans.
type bans struct {
	mu    sync.Mutex
	hosts map[p2p.HostID]string
}

func (b *bans) events() node.Events {
	b.hosts = map[p2p.HostID]string{}
	return node.Events{Banned: func(_ p2p.TaskID, h p2p.HostID, reason string) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.hosts[h] = reason
	}}
}

func (b *bans) reason(h p2p.HostID) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.hosts[h]
}

// A peer that sends bytes which do not have their digest is banned, and the reader
// gets the right ones from elsewhere.
func TestPeerForgesPieces(t *testing.T) {
	c := New(t)
	v := c.Put("app", 8<<20)
	c.Start(pki.Seed, "seed", Options{})
	liar := c.Start(pki.Node, "liar", Options{})
	if err := read(patience(t), liar, v, fetcher.All); err != nil {
		t.Fatal(err)
	}
	until(t, "the liar is complete", func() bool { s, _ := liar.Task(v.Task); return s.Complete })
	spoil(t, filepath.Join(c.dir, "liar"))
	var b bans
	honest := c.Start(pki.Node, "honest", Options{Events: b.events()})
	if err := read(patience(t), honest, v, fetcher.All); err != nil {
		t.Fatal(err)
	}
	if b.reason("liar") == "" {
		t.Error("the liar was not banned")
	}
	if b.reason("seed") != "" {
		t.Errorf("the seed was banned: %s", b.reason("seed"))
	}
}

// spoil overwrites every content in a store, behind its back.
func spoil(t *testing.T, root string) {
	t.Helper()
	spoiled := 0
	err := filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err != nil || info.Size() < 1<<20 {
			return err
		}
		junk := make([]byte, info.Size())
		if _, err := rand.Read(junk); err != nil {
			return err
		}
		if err := os.Chmod(path, 0o600); err != nil {
			return err
		}
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		defer f.Close()
		spoiled++
		_, err = f.WriteAt(junk, 0)
		return err
	})
	if err != nil || spoiled == 0 {
		t.Fatalf("spoiled %d files: %v", spoiled, err)
	}
}

// forger is a member of the cluster that says it holds a content, and signs digests
// that it has no right to sign.
type forger struct {
	sign func(p2p.TaskID, p2p.Geometry) trust.Batch
	size int64

	mu   sync.Mutex
	told []p2p.HostID
}

func (f *forger) Connected(exchange.Link)           {}
func (f *forger) Disconnected(exchange.Link, error) {}

func (f *forger) Received(l exchange.Link, m exchange.Message) error {
	b, ok := m.(exchange.Bitmap)
	if !ok {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if slices.Contains(f.told, l.Host()) {
		return nil
	}
	f.told = append(f.told, l.Host())
	g := p2p.GeometryFor(f.size)
	all := p2p.NewPieceSet(g.Pieces())
	all.Fill()
	l.Send(exchange.Digests{Batch: f.sign(b.Task, g)})
	l.Send(exchange.Bitmap{Task: b.Task, Geometry: g, Have: all})
	return nil
}

func (f *forger) Serve(p2p.HostID, exchange.Request) exchange.Answer {
	return exchange.Answer{Status: exchange.StatusBusy}
}

// silent is a scheduler's client that does nothing.
type silent struct{}

func (silent) Connected(bool)                                  {}
func (silent) Neighbours(p2p.TaskID, []p2p.Host, []p2p.HostID) {}
func (silent) Pull(tracker.Pull)                               {}
func (silent) TaskGeometry(p2p.TaskID, int64)                  {}
func (silent) Relief(tracker.Relief)                           {}
func (silent) TaskFailed(p2p.TaskID, p2p.OriginError)          {}

// join makes a member of the cluster that does what h does, and says that it holds a task.
func (c *Cluster) join(t *testing.T, id *pki.Identity, h exchange.Handler, holds p2p.Holding) {
	t.Helper()
	x := exchange.Default()
	x.Listen, x.Identity = "127.0.0.1:0", exchange.Member(id)
	wire, err := exchange.New(x, exchange.TCP{}, h)
	if err != nil {
		t.Fatal(err)
	}
	c.run(wire.Run)
	tc := tracker.Default()
	tc.Addresses = []string{c.addr}
	tc.Host = p2p.Host{ID: x.Identity.Host(), Addr: wire.Addr().String(), Seed: id.Name().Role == pki.Seed}
	track, err := tracker.New(tc, id, func() []p2p.Holding { return []p2p.Holding{holds} }, silent{})
	if err != nil {
		t.Fatal(err)
	}
	c.run(track.Run)
	until(t, "it is a member", func() bool { return track.States()[0].Connected })
}

// A peer that forges digests is banned: a node's certificate does not sign them, and
// neither does a token that it made itself.
func TestPeerForgesDigests(t *testing.T) {
	c := New(t)
	v := c.Put("app", 8<<20)
	c.Start(pki.Seed, "seed", Options{})
	id := c.identity(pki.Node, "forger")
	f := &forger{size: int64(len(v.Data)), sign: func(task p2p.TaskID, g p2p.Geometry) trust.Batch {
		b := trust.Batch{Task: task, Geometry: g, Digests: make([]p2p.PieceDigest, g.Pieces()), Final: true, Signed: time.Now()}
		_, cert := id.Signer()
		b.Cert, b.Sig = cert.Raw, make([]byte, 64)
		return b
	}}
	c.join(t, id, f, p2p.Holding{Task: v.Task, Size: int64(len(v.Data)), Active: true, Origin: v.Origin})
	var b bans
	honest := c.Start(pki.Node, "honest", Options{Events: b.events()})
	if err := read(patience(t), honest, v, fetcher.All); err != nil {
		t.Fatal(err)
	}
	until(t, "the forger is banned", func() bool { return b.reason("forger") != "" })
	t.Log(b.reason("forger"))
	if b.reason("seed") != "" {
		t.Errorf("the seed was banned: %s", b.reason("seed"))
	}
	s, _ := honest.Task(v.Task)
	if s.FromOrigin != 0 {
		t.Errorf("%d bytes past the piece network", s.FromOrigin)
	}
}
