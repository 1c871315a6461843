package scheduling

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/darter-p2p/darter/internal/pki"
	"github.com/darter-p2p/darter/p2p"
)

// The list of schedulers changes while nodes run: from none to one, to another one, to
// both, and back before a stream that was to end has ended. Tasks move with it; nobody
// loses a neighbour or reads an origin once more.
func TestSchedulersAreReplaced(t *testing.T) {
	w := newWorld(t)
	cfg, core := config()
	first, _ := w.schedule(cfg, core)
	one := w.addr
	w.addr = ""
	second, _ := w.schedule(cfg, core)
	two := w.addr
	const n = 10
	var tasks []p2p.TaskID
	for i := range n {
		tasks = append(tasks, taskOf(fmt.Sprint(i)))
	}
	nodes := []*node{w.idle(pki.Seed, "seed"), w.idle(pki.Node, "a"), w.idle(pki.Node, "b")}
	seed, a, b := nodes[0], nodes[1], nodes[2]
	name := func(addrs ...string) {
		t.Helper()
		for _, x := range nodes {
			if err := x.SetAddresses(addrs); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, x := range nodes {
		if err := x.SetAddresses([]string{one, one}); err == nil {
			t.Error("an address is taken twice")
		}
		if len(x.States()) != 0 {
			t.Errorf("schedulers %+v, want none", x.States())
		}
	}
	name(one)
	for _, x := range nodes {
		x.until("is connected", func() bool { return x.up })
	}
	for _, task := range tasks {
		a.want(task, from, 10)
		b.want(task, from, 10)
	}
	seed.until("is told to pull", func() bool { return len(seed.pulls) == n })
	seed.change(func() {
		for _, task := range tasks {
			seed.holdings = append(seed.holdings, p2p.Holding{Task: task, Size: 10, Pulling: true, Origin: from})
		}
	})
	for _, task := range tasks {
		seed.PullStarted(task, 10)
	}
	knowing(t, "at the first", n, 3*n, first)

	name(two)
	knowing(t, "at the second", n, 3*n, second)
	knowing(t, "left the first", 0, 0, first)
	for i, x := range nodes {
		if s := x.States(); len(s) != 1 || s[0].Address != two {
			t.Errorf("node %d: schedulers %+v", i, s)
		}
	}
	name(two, one)
	settled := func(what string) {
		t.Helper()
		for late := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
			x, y := first.Stats(), second.Stats()
			if x.Tasks > 0 && y.Tasks > 0 && x.Tasks+y.Tasks == n && x.Peers+y.Peers == 3*n {
				return
			}
			if time.Now().After(late) {
				t.Fatalf("%s: %+v and %+v", what, x, y)
			}
		}
	}
	settled("at both")
	name(two)
	name(one, two) // before the streams to the first have ended
	settled("at both again")
	for _, x := range []*node{a, b} {
		x.until("has kept its neighbours", func() bool {
			return !slices.ContainsFunc(tasks, func(task p2p.TaskID) bool { return len(x.known[task]) < 2 })
		})
	}
	for _, x := range nodes {
		x.mu.Lock()
		if x != seed && len(x.pulls) > 0 || len(x.failed) > 0 || x == seed && len(x.pulls) != n {
			t.Errorf("a node was told to pull %v, of failures %v", x.pulls, x.failed)
		}
		x.mu.Unlock()
	}
}
