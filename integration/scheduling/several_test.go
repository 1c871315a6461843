package scheduling

import (
	"fmt"
	"testing"
	"time"

	"github.com/darter-p2p/darter/internal/pki"
	"github.com/darter-p2p/darter/p2p"
	"github.com/darter-p2p/darter/scheduler/rpc"
)

// knowing waits until schedulers together know as many tasks and peers.
func knowing(t *testing.T, what string, tasks, peers int, all ...*rpc.Server) {
	t.Helper()
	for late := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		haveTasks, havePeers := 0, 0
		for _, s := range all {
			haveTasks, havePeers = haveTasks+s.Stats().Tasks, havePeers+s.Stats().Peers
		}
		if haveTasks == tasks && havePeers == peers {
			return
		}
		if time.Now().After(late) {
			t.Fatalf("%s: %d tasks and %d peers are known, want %d and %d", what, haveTasks, havePeers, tasks, peers)
		}
	}
}

// Tasks are spread over the schedulers, move to the others when one goes, and back when
// it comes; no neighbours are parted, and nothing is read from an origin once more.
func TestSeveralSchedulers(t *testing.T) {
	w := newWorld(t)
	cfg, core := config()
	first, stop := w.schedule(cfg, core)
	addr := w.addr
	w.addr = ""
	second, _ := w.schedule(cfg, core)
	w.addrs = []string{addr, w.addr}
	const n = 20
	var tasks []p2p.TaskID
	for i := range n {
		tasks = append(tasks, taskOf(fmt.Sprint(i)))
	}
	seed := w.node(pki.Seed, "seed")
	a, b := w.node(pki.Node, "a"), w.node(pki.Node, "b")
	for _, task := range tasks {
		a.want(task, from, 10)
		b.want(task, from, 10)
	}
	friends := func(what string, x *node, names ...p2p.HostID) {
		t.Helper()
		x.until(what, func() bool {
			for _, task := range tasks {
				for _, name := range names {
					if _, ok := x.known[task][name]; !ok {
						return false
					}
				}
			}
			return true
		})
	}
	friends("knows all", a, "b", "seed")
	friends("knows all", b, "a", "seed")
	seed.until("is told to pull", func() bool { return len(seed.pulls) == n })
	seed.change(func() {
		for _, task := range tasks {
			seed.holdings = append(seed.holdings, p2p.Holding{Task: task, Size: 10, Pulling: true, Origin: from})
		}
	})
	for _, task := range tasks {
		seed.PullStarted(task, 10)
	}
	knowing(t, "at first", n, 3*n, first, second)
	if share := first.Stats().Tasks; share == 0 || share == n {
		t.Errorf("the first scheduler has %d of %d tasks", share, n)
	}

	stop()
	knowing(t, "one is gone", n, 3*n, second)
	c := w.node(pki.Node, "c")
	for _, task := range tasks {
		c.want(task, from, 10)
	}
	friends("knows all", c, "a", "b", "seed")

	w.addr = addr
	first, _ = w.schedule(cfg, core)
	for late := time.Now().Add(patience); first.Stats().Tasks == 0; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(late) {
			t.Fatal("no task came back")
		}
	}
	knowing(t, "it is back", n, 4*n, first, second)
	d := w.node(pki.Node, "d")
	for _, task := range tasks {
		d.want(task, from, 10)
	}
	friends("knows all", d, "a", "b", "c", "seed")
	friends("has kept all", a, "b", "seed")
	friends("has kept all", b, "a", "seed")
	seed.until("was told to pull once", func() bool { return len(seed.pulls) == n })
	for _, x := range []*node{seed, a, b, c, d} {
		x.mu.Lock()
		if x != seed && len(x.pulls) > 0 || len(x.failed) > 0 {
			t.Errorf("a node was told to pull %v, of failures %v", x.pulls, x.failed)
		}
		x.mu.Unlock()
	}
}
