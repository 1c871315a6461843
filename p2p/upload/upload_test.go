package upload

import (
	"slices"
	"testing"

	"github.com/darter-p2p/darter/p2p"
)

func full() *Slots { return NewSlots(Config{Slots: 2, Reserved: 1, Turn: 2}) }

func TestSlotsAreLimited(t *testing.T) {
	s := full()
	if !s.Acquire("a", p2p.Window) || !s.Acquire("b", p2p.Window) {
		t.Fatal("the two slots were not given")
	}
	if s.Acquire("c", p2p.Window) {
		t.Error("a third slot was given")
	}
	if !s.Acquire("d", p2p.Urgent) {
		t.Error("the reserved slot was not given to an urgent read")
	}
	if s.Acquire("e", p2p.Urgent) {
		t.Error("a second reserved slot was given")
	}
	if s.Active() != 3 {
		t.Errorf("%d slots taken, want 3", s.Active())
	}
}

func TestRefusedAreToldInOrder(t *testing.T) {
	s := full()
	s.Acquire("a", p2p.Window)
	s.Acquire("b", p2p.Window)
	for _, h := range []p2p.HostID{"c", "d", "c"} {
		s.Acquire(h, p2p.Window)
	}
	if told := s.Vacant(); told != nil {
		t.Errorf("%v were told of a slot while there is none", told)
	}
	s.Release("a")
	if told := s.Vacant(); !slices.Equal(told, []p2p.HostID{"c", "d"}) {
		t.Errorf("told %v, want c and d, once each", told)
	}
	if told := s.Vacant(); told != nil {
		t.Errorf("%v were told twice", told)
	}
}

func TestTurnYieldsToThoseTold(t *testing.T) {
	s := full()
	s.Acquire("a", p2p.Window)
	s.Release("a")
	s.Acquire("a", p2p.Window) // its second in a row
	s.Acquire("b", p2p.Window)
	s.Acquire("c", p2p.Window) // refused
	s.Release("a")
	s.Vacant() // c is told
	if s.Acquire("a", p2p.Window) {
		t.Fatal("a got a third piece in a row although c is on its way")
	}
	if told := s.Vacant(); !slices.Equal(told, []p2p.HostID{"a"}) {
		t.Errorf("told %v, want a: the slot is still free", told)
	}
	if !s.Acquire("c", p2p.Window) {
		t.Error("c got nothing")
	}
}

func TestTurnDoesNotIdleTheLink(t *testing.T) {
	s := NewSlots(Config{Slots: 1, Turn: 1})
	s.Acquire("a", p2p.Window)
	s.Acquire("b", p2p.Window) // refused
	s.Release("a")
	s.Vacant()
	if !s.Acquire("a", p2p.Window) {
		t.Error("a was made to yield although nothing else is being sent: nobody would be told again")
	}
}

func TestRampOpensSlotsOneByOne(t *testing.T) {
	s := NewSlots(Config{Slots: 3, Ramp: 1})
	for want := 1; want <= 3; want++ {
		got := 0
		for s.Acquire("a", p2p.Window) {
			got++
		}
		if got != want {
			t.Errorf("%d slots, want %d", got, want)
		}
		for range got {
			s.active--
		}
		s.sent++
	}
}

func TestWiden(t *testing.T) {
	s := NewSlots(Config{Slots: 3})
	for _, c := range []struct{ wide, want int }{{0, 3}, {2, 3}, {6, 6}, {4, 4}, {0, 3}} {
		s.Widen(c.wide)
		if s.Free() != c.want {
			t.Errorf("widened to %d: %d slots, want %d", c.wide, s.Free(), c.want)
		}
	}
}

func TestLedger(t *testing.T) {
	l := NewLedger(3)
	holds, asker := p2p.NewPieceSet(3), p2p.NewPieceSet(3)
	holds.Add(1)
	holds.Add(2)
	if p, ok := l.Fresh(holds, asker); !ok || p != 1 {
		t.Fatalf("first fresh piece is %d, %v; want 1", p, ok)
	}
	l.Sent(1)
	asker.Add(2)
	if p, ok := l.Fresh(holds, asker); ok {
		t.Errorf("piece %d is fresh to one who holds it", p)
	}
	l.Unsent(1)
	if p, ok := l.Fresh(holds, asker); !ok || p != 1 {
		t.Errorf("a piece that did not arrive is not fresh again: %d, %v", p, ok)
	}
	l.Sent(99) // outside of the task: ignored
	l.Unsent(99)
}

func TestValidate(t *testing.T) {
	if err := Default().Validate(); err != nil {
		t.Error(err)
	}
	for _, c := range []Config{{Slots: 0}, {Slots: 1, Reserved: -1}, {Slots: 1, Turn: -1}, {Slots: 1, Ramp: -1}} {
		if c.Validate() == nil {
			t.Errorf("%+v is valid", c)
		}
	}
}

func TestResize(t *testing.T) {
	s := full()
	s.Acquire("a", p2p.Window)
	s.Acquire("b", p2p.Window)
	s.Resize(1)
	s.Acquire("c", p2p.Window) // refused
	s.Release("a")
	if told := s.Vacant(); told != nil || s.Free() != 0 {
		t.Errorf("%v were told of a slot that is no more", told)
	}
	s.Resize(3)
	if told := s.Vacant(); !slices.Equal(told, []p2p.HostID{"c"}) || s.Free() != 2 {
		t.Errorf("told %v, %d free; want c, 2", told, s.Free())
	}
}
