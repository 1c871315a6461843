package download

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/darter-p2p/darter/p2p"
)

var start = time.Unix(1_700_000_000, 0)

const ms = time.Millisecond

// bench is a Core with one task of n pieces of 1 MiB, all wanted and verifiable.
type bench struct {
	*Core
	t    *testing.T
	task p2p.TaskID
	n    int
	now  time.Time
}

func newBench(t *testing.T, n int) *bench {
	b := &bench{Core: New(Default(), rand.New(rand.NewPCG(1, 1))), t: t, now: start, n: n}
	b.task = b.addTask("first")
	return b
}

func (b *bench) addTask(name string) p2p.TaskID {
	id := p2p.TaskOfURL(name, "", "")
	b.Add(id, p2p.Geometry{Size: int64(b.n) << 20, PieceLength: 1 << 20}, p2p.NewPieceSet(b.n))
	b.Known(id, 0, p2p.Piece(b.n))
	b.Want(id, 0, p2p.Piece(b.n))
	return id
}

// neighbour gives the task a neighbour that holds the pieces.
func (b *bench) neighbour(id p2p.TaskID, h p2p.HostID, seed bool, pieces ...p2p.Piece) {
	set := p2p.NewPieceSet(b.n)
	if pieces == nil {
		set.Fill()
	}
	for _, p := range pieces {
		set.Add(p)
	}
	b.Bitmap(id, h, seed, set)
}

// poll returns what is asked now, and fails unless it is want requests.
func (b *bench) poll(want int) []Ask {
	b.t.Helper()
	var asks []Ask
	for { // queues are filled behind streams that an earlier Poll opened
		out := b.Poll(b.now)
		if len(out.Asks) == 0 {
			break
		}
		asks = append(asks, out.Asks...)
	}
	if len(asks) != want {
		b.t.Fatalf("%d requests, want %d: %+v", len(asks), want, asks)
	}
	return asks
}

// arrive lets one piece arrive, which takes d, so that the pace is known.
func (b *bench) arrive(a Ask, d time.Duration) {
	b.Began(b.now, a.ID, a.Piece)
	b.now = b.now.Add(d)
	b.Arrived(b.now, a.ID)
}

func TestBusyNeighbourIsLeftAloneUntilFree(t *testing.T) {
	b := newBench(t, 8)
	b.neighbour(b.task, "x", false)
	asks := b.poll(2) // one, and one queued behind it
	for _, a := range asks {
		b.Refused(b.now, a.ID, Busy)
	}
	b.poll(0)
	b.Free("x")
	b.poll(2)
}

func TestBusyWaitFollowsThePieceTime(t *testing.T) {
	for _, piece := range []time.Duration{4 * ms, 100 * ms} {
		b := newBench(t, 8)
		b.neighbour(b.task, "x", false)
		asks := b.poll(2)
		b.arrive(asks[0], piece)
		b.Refused(b.now, asks[1].ID, Busy)
		b.now = b.now.Add(3 * piece)
		b.poll(0)
		b.now = b.now.Add(piece + ms)
		b.poll(2)
	}
}

func TestNoFreshSeedIsAskedAgainAfterNews(t *testing.T) {
	b := newBench(t, 8)
	b.neighbour(b.task, "seed", true, 0)
	b.neighbour(b.task, "other", false, 7) // may yet get what the seed sent
	for _, a := range b.poll(3) {          // two stand at the seed
		if a.Any {
			b.Refused(b.now, a.ID, NoFresh)
		} else {
			b.Refused(b.now, a.ID, Busy)
		}
	}
	b.poll(0)
	b.Have(b.task, "seed", 1)
	for _, a := range b.poll(2) {
		if !a.Any || a.Host != "seed" {
			t.Errorf("asked %+v, want a fresh piece of the seed", a)
		}
	}
}

// What stands at a seed takes no slot, is never late, and is asked for again when it came.
func TestStandingRequests(t *testing.T) {
	b := newBench(t, 64)
	b.neighbour(b.task, "seed", true, 0)
	standing := b.poll(2)
	for _, h := range []p2p.HostID{"x", "y", "z", "u"} {
		b.neighbour(b.task, h, false)
	}
	asks := b.poll(6) // three streams and one queued in each
	for _, a := range asks {
		b.arrive(a, 40*ms)
	}
	b.now = b.now.Add(Default().StallAfter / 2)
	if out := b.Poll(b.now); len(out.Abandon) != 0 {
		t.Errorf("abandoned %v, which only had nothing fresh", out.Abandon)
	}
	b.Began(b.now, standing[0].ID, 50)
	b.Arrived(b.now.Add(ms), standing[0].ID)
	again := false
	for _, a := range b.Poll(b.now.Add(ms)).Asks {
		again = again || a.Any && a.Host == "seed"
	}
	if !again {
		t.Error("no request stands at the seed in place of the one that was answered")
	}
}

// A seed's choice may be a piece that nobody wants here.
func TestNothingStandsForAPartOfATask(t *testing.T) {
	b := newBench(t, 8)
	id := p2p.TaskOfURL("part", "", "")
	b.Add(id, p2p.Geometry{Size: 8 << 20, PieceLength: 1 << 20}, p2p.NewPieceSet(8))
	b.Known(id, 0, 8)
	b.Want(id, 2, 3)
	b.neighbour(id, "seed", true)
	if a := b.poll(1)[0]; a.Any || a.Piece != 2 {
		t.Errorf("asked %+v, want piece 2", a)
	}
}

func TestSeedRepeatsOnlyAfterAWait(t *testing.T) {
	b := newBench(t, 4)
	b.neighbour(b.task, "seed", true)
	b.neighbour(b.task, "other", false, 3)
	for _, a := range b.poll(3) {
		why := Busy
		if a.Any {
			why = NoFresh
		}
		b.Refused(b.now, a.ID, why)
	}
	b.poll(0)
	b.now = b.now.Add(Default().RepeatAfter)
	for _, a := range b.poll(1) {
		if a.Any || a.Host != "seed" {
			t.Errorf("asked %+v, want a piece of the seed by name", a)
		}
	}
}

// What a seed has just got it sends to somebody who has a request standing there: asked
// for by name at once it would come twice.
func TestSeedsNewPieceIsNotAskedForByName(t *testing.T) {
	b := newBench(t, 8)
	b.neighbour(b.task, "seed", true, 0)
	standing := b.poll(2)
	for piece := p2p.Piece(0); piece < 7; piece++ {
		b.now = b.now.Add(time.Second)
		b.Have(b.task, "seed", piece+1)
		if asks := b.Poll(b.now).Asks; len(asks) > 0 {
			t.Fatalf("asked %+v beside two standing requests", asks)
		}
		b.arrive(Ask{ID: standing[0].ID, Piece: piece}, ms)
		standing = append(standing[1:], b.poll(1)...)
	}
}

func TestLatePieceIsAskedElsewhere(t *testing.T) {
	b := newBench(t, 8)
	b.neighbour(b.task, "fast", false, 0, 1)
	for _, a := range b.poll(2) {
		b.arrive(a, 40*ms)
	}
	b.neighbour(b.task, "slow", false, 5)
	late := b.poll(1)[0]
	b.Have(b.task, "fast", 5)
	b.now = b.now.Add(220 * ms)
	b.poll(0) // six piece times are 240 ms
	b.now = b.now.Add(40 * ms)
	again := b.poll(1)[0]
	if again.Host != "fast" || again.Piece != late.Piece {
		t.Fatalf("asked %+v, want piece %d of fast", again, late.Piece)
	}
	b.arrive(again, 40*ms)
	out := b.Poll(b.now)
	if len(out.Abandon) != 1 || out.Abandon[0] != "slow" {
		t.Errorf("abandoned %v, want slow: all that it owes came", out.Abandon)
	}
}

func TestStalledNeighbourIsDropped(t *testing.T) {
	b := newBench(t, 8)
	b.neighbour(b.task, "dead", false)
	b.poll(2)
	b.now = b.now.Add(Default().StallAfter + ms)
	if out := b.Poll(b.now); len(out.Abandon) != 1 || b.Outstanding() != 0 {
		t.Errorf("abandoned %v with %d outstanding, want one and none", out.Abandon, b.Outstanding())
	}
}

func TestGoneNeighbourLeavesItsPiecesOpen(t *testing.T) {
	b := newBench(t, 2)
	b.neighbour(b.task, "bad", false)
	b.poll(2)
	b.NeighbourGone(b.task, "bad")
	b.neighbour(b.task, "good", false)
	b.poll(2)
}

func TestSlotsAreSharedLowestTaskFirst(t *testing.T) {
	b := newBench(t, 4)
	second := b.addTask("second")
	for _, h := range []p2p.HostID{"x", "y", "z"} {
		b.neighbour(b.task, h, false)
		b.neighbour(second, h, false)
	}
	seen := map[p2p.TaskID]int{}
	for range 8 {
		for _, a := range append([]Ask(nil), b.Poll(b.now).Asks...) {
			seen[a.Task]++
			if a.Task == second && seen[b.task] < 4 {
				t.Fatalf("the second task was asked for with %d pieces of the first", seen[b.task])
			}
			b.arrive(a, 10*ms)
		}
	}
	if seen[b.task] != 4 || seen[second] != 4 {
		t.Errorf("asked %v, want 4 of each", seen)
	}
}

// A reader of a task that waits behind another one gets a piece now and then.
func TestWaitingReaderIsNotStarved(t *testing.T) {
	b := newBench(t, 64)
	second := b.addTask("second")
	for _, h := range []p2p.HostID{"x", "y"} {
		b.neighbour(b.task, h, false)
		b.neighbour(second, h, false)
	}
	b.Read(b.task, 1, 0, 64, p2p.Window)
	b.Read(second, 2, 5, 64, p2p.Window)
	for _, a := range b.poll(4) {
		if a.Task != b.task {
			t.Errorf("the first task shares its slots at once: %+v", a)
		}
	}
	b.now = b.now.Add(Default().Patience)
	b.Read(b.task, 1, 1, 64, p2p.Window) // the first reader moves on
	if a := b.poll(1)[0]; a.Task != second || a.Piece != 5 {
		t.Errorf("asked %+v, want piece 5 of the second task", a)
	}
	b.now = b.now.Add(Default().Patience / 2)
	b.poll(0)
}

func TestUrgentPieceComesFirst(t *testing.T) {
	b := newBench(t, 64)
	for _, h := range []p2p.HostID{"x", "y", "z", "u"} {
		b.neighbour(b.task, h, false)
	}
	b.poll(6) // three streams and one queued in each
	b.Read(b.task, 1, 40, 41, p2p.Urgent)
	if a := b.Poll(b.now).Asks[0]; a.Piece != 40 || a.Class != p2p.Urgent {
		t.Errorf("asked %+v, want piece 40, urgent, although no slot is free", a)
	}
}

func TestFinishedIsSaidOnce(t *testing.T) {
	b := newBench(t, 2)
	b.neighbour(b.task, "x", false)
	for _, a := range b.poll(2) {
		b.arrive(a, 10*ms)
	}
	if out := b.Poll(b.now); len(out.Finished) != 1 {
		t.Fatalf("finished %v, want the task", out.Finished)
	}
	b.Got(b.task, 0)
	if out := b.Poll(b.now); len(out.Finished) != 0 {
		t.Errorf("finished again: %v", out.Finished)
	}
}

func TestUnknownDigestsAreNotAskedFor(t *testing.T) {
	b := newBench(t, 4)
	id := p2p.TaskOfURL("unverified", "", "")
	b.Add(id, p2p.Geometry{Size: 4 << 20, PieceLength: 1 << 20}, p2p.NewPieceSet(4))
	b.Want(id, 0, 4)
	b.neighbour(id, "x", false)
	b.poll(0)
	b.Known(id, 2, 3)
	if a := b.poll(1)[0]; a.Piece != 2 {
		t.Errorf("asked for piece %d, want 2", a.Piece)
	}
}

// Of several neighbours the one that holds the least is asked first.
func TestLeastHolderFirst(t *testing.T) {
	b := newBench(t, 8)
	b.neighbour(b.task, "all", false)
	b.neighbour(b.task, "two", false, 3, 4)
	b.neighbour(b.task, "five", false, 0, 1, 2, 3, 4)
	b.neighbour(b.task, "none", false, []p2p.Piece{}...) // and is not asked
	var order []p2p.HostID
	for _, a := range b.poll(6) { // three streams, two deep
		if len(order) == 0 || order[len(order)-1] != a.Host {
			order = append(order, a.Host)
		}
	}
	if order[0] != "two" || order[1] != "five" || order[2] != "all" {
		t.Errorf("asked %v, want two, five, all", order)
	}
}

// Slots grow when the way to an answer takes longer than pieces come apart, and not
// beyond their bound.
// A stream is not for ever: the uplinks of those that all slots went to would be full, and others idle.
func TestStreamEndsForANeighbourThatGaveLess(t *testing.T) {
	b := newBench(t, 64)
	b.cfg.Slots, b.cfg.MaxSlots = 1, 1
	b.neighbour(b.task, "a", false)
	from := map[p2p.HostID]int{}
	queue := b.poll(2)
	b.neighbour(b.task, "b", false)
	for range 40 {
		a := queue[0]
		from[a.Host]++
		b.arrive(a, 10*ms)
		queue = queue[1:]
		for out := b.Poll(b.now); len(out.Asks) > 0; out = b.Poll(b.now) {
			queue = append(queue, out.Asks...)
		}
		if len(queue) > 2 {
			t.Fatalf("%d requests are outstanding, want at most 2 in one slot", len(queue))
		}
	}
	if d := from["a"] - from["b"]; d < -rotate-2 || d > rotate+2 {
		t.Errorf("%v pieces came, want as many from each", from)
	}
}

func TestSlotsFollowTheRoundTrip(t *testing.T) {
	for _, c := range []struct {
		handoff, between time.Duration
		want             int
	}{{0, 20 * ms, 3}, {ms, 20 * ms, 3}, {20 * ms, 20 * ms, 3}, {40 * ms, 20 * ms, 4}, {100 * ms, 20 * ms, 6}} {
		b := newBench(t, 64)
		for i := range 4 {
			b.neighbour(b.task, p2p.HostID(rune('a'+i)), false)
		}
		if b.Slots() != Default().Slots {
			t.Errorf("%d slots before anything is known", b.Slots())
		}
		asks := b.poll(6)
		b.now = b.now.Add(c.handoff)
		for _, a := range asks {
			b.Began(b.now, a.ID, a.Piece)
		}
		for _, a := range asks {
			b.now = b.now.Add(c.between)
			b.Arrived(b.now, a.ID)
		}
		if got := b.Slots(); got != c.want {
			t.Errorf("answers after %v, pieces every %v: %d slots, want %d", c.handoff, c.between, got, c.want)
		}
	}
}

// Slots that are fewer from now on end the streams that are too many, and no others.
func TestResize(t *testing.T) {
	b := newBench(t, 40)
	for _, h := range []p2p.HostID{"a", "b", "c"} {
		b.neighbour(b.task, h, false)
	}
	asks := b.poll(6)
	b.Resize(1, 1)
	for _, a := range asks {
		b.arrive(a, 10*ms)
	}
	b.poll(2) // one stream
	b.Resize(3, 6)
	b.poll(4) // and two more
}
