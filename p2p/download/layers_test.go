package download

import (
	"math/rand/v2"
	"testing"

	"github.com/darter-p2p/darter/p2p"
)

// What stands at a seed would be lost with its connection.
func TestLateSeedIsNotLeftAlone(t *testing.T) {
	b := newBench(t, 8)
	b.neighbour(b.task, "fast", false, 0, 1)
	for _, a := range b.poll(2) {
		b.arrive(a, 40*ms)
	}
	b.neighbour(b.task, "seed", true)
	standing := b.poll(2)
	b.Began(b.now, standing[0].ID, 5)
	b.poll(1) // in its place
	b.now = b.now.Add(300 * ms)
	b.poll(0) // it is late
	b.Have(b.task, "fast", 5)
	b.arrive(b.poll(1)[0], 40*ms)
	if out := b.Poll(b.now); len(out.Abandon) != 0 {
		t.Errorf("abandoned %v, at which requests stand", out.Abandon)
	}
}

// A slot that another task fills is not one that only a seed could fill.
func TestRepeatWaitsForASlotThatIsSpare(t *testing.T) {
	b := newBench(t, 8)
	b.cfg.Slots, b.cfg.MaxSlots = 1, 1
	second := b.addTask("second")
	b.neighbour(b.task, "seed", true) // holds all
	b.neighbour(b.task, "other", false, []p2p.Piece{}...)
	b.neighbour(second, "x", false)
	asks := b.poll(4)
	for range 4 { // for much longer than a seed is waited for
		for _, a := range asks {
			switch {
			case a.Task == second:
				b.arrive(a, 40*ms)
			case !a.Any:
				t.Fatalf("asked %+v, which the seed sent to somebody", a)
			}
		}
		asks = append(asks[:0], b.Poll(b.now).Asks...)
		asks = append(asks, b.Poll(b.now).Asks...)
	}
}

// A reader that waits asks a seed only after longer.
func TestWaitingReaderAsksASeedLast(t *testing.T) {
	b := newBench(t, 8)
	b.neighbour(b.task, "seed", true)
	b.neighbour(b.task, "other", false, 7)
	b.Read(b.task, 1, 0, 8, p2p.Window)
	for _, a := range b.poll(3) {
		if !a.Any {
			b.Refused(b.now, a.ID, Busy)
		}
	}
	b.Have(b.task, "seed", 0) // it sends pieces to others
	b.now = b.now.Add(Default().Patience)
	b.Have(b.task, "seed", 1)
	for _, a := range b.Poll(b.now).Asks {
		if a.Host == "seed" {
			t.Errorf("asked %+v of a seed after %v", a, Default().Patience)
		}
	}
	b.now = b.now.Add((seedPatience - 1) * Default().Patience)
	asked := false
	for _, a := range b.Poll(b.now).Asks {
		asked = asked || a.Host == "seed" && a.Piece == 0 && !a.Any
	}
	if !asked {
		t.Errorf("not asked of the seed after %v", seedPatience*Default().Patience)
	}
}

// Uplinks do the same work over all tasks, not in each.
func TestStreamsRotateOverAllTasks(t *testing.T) {
	for chance := range uint64(8) {
		b := newBench(t, 8)
		b.rng = rand.New(rand.NewPCG(chance, 1))
		b.cfg.Slots, b.cfg.MaxSlots = 1, 1
		b.neighbour(b.task, "x", false, 0, 1)
		for _, a := range b.poll(2) {
			b.arrive(a, 10*ms)
		}
		second := b.addTask("second")
		b.neighbour(second, "x", false)
		b.neighbour(second, "y", false)
		if a := b.poll(2)[0]; a.Host != "y" || a.Task != second {
			t.Errorf("asked %+v, want y, which gave nothing yet", a)
		}
	}
}
