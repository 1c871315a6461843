package upload

import (
	"slices"
	"testing"
	"time"

	"github.com/darter-p2p/darter/p2p"
)

func anyone(Waiter) bool { return true }

func TestLineCallsTheLeastGivenFirst(t *testing.T) {
	var l Line
	for r := range uint32(3) {
		l.Wait(Waiter{"greedy", r})
	}
	l.Wait(Waiter{"late", 0})
	var order []p2p.HostID
	for {
		w, ok := l.Call(anyone)
		if !ok {
			break
		}
		order = append(order, w.Host)
		if !l.Answer(w) || l.Answer(w) {
			t.Errorf("%v was called once, and is answered not once", w)
		}
	}
	want := []p2p.HostID{"greedy", "late", "greedy", "greedy"}
	for i := range want {
		if i >= len(order) || order[i] != want[i] {
			t.Fatalf("called %v, want %v", order, want)
		}
	}
	if l.Called() != 0 || l.Len() != 0 {
		t.Errorf("%d called and %d waiting are left", l.Called(), l.Len())
	}
}

func TestLineForgetsWhatWasNotGiven(t *testing.T) {
	var l Line
	l.Wait(Waiter{"a", 1})
	w, _ := l.Call(anyone)
	l.Answer(w)
	l.Missed("a")
	l.Wait(Waiter{"a", 2})
	l.Wait(Waiter{"b", 1})
	if w, _ := l.Call(anyone); w.Host != "a" {
		t.Errorf("called %s, want a, which was given nothing and came first", w.Host)
	}
}

func TestLineSkipsWhoMayNotBeServed(t *testing.T) {
	var l Line
	l.Wait(Waiter{"a", 1})
	l.Wait(Waiter{"b", 1})
	if w, ok := l.Call(func(w Waiter) bool { return w.Host == "b" }); !ok || w.Host != "b" {
		t.Errorf("called %v %v, want b", w, ok)
	}
	if w, ok := l.Call(func(Waiter) bool { return false }); ok {
		t.Errorf("called %v, want nobody", w)
	}
}

func TestLineLeave(t *testing.T) {
	var l Line
	l.Wait(Waiter{"a", 1})
	l.Wait(Waiter{"a", 2})
	called, _ := l.Call(anyone)
	l.Leave(called)
	l.Leave(Waiter{"a", 2})
	if l.Answer(called) || l.Len() != 0 || l.Called() != 0 {
		t.Error("a request that left is still there")
	}
	l.Wait(Waiter{"a", 3})
	l.Wait(Waiter{"b", 1})
	if w, _ := l.Call(anyone); w.Host != "a" {
		t.Errorf("called %s, want a, which was given nothing and came first", w.Host)
	}
}

func TestSlowHostsComeLast(t *testing.T) {
	var l Line
	for range 4 {
		l.Took("fast", 10*time.Millisecond)
	}
	l.Took("slow", 100*time.Millisecond)
	l.Wait(Waiter{"slow", 1})
	for r := range uint32(3) {
		l.Wait(Waiter{"fast", r})
	}
	for range 3 {
		if w, _ := l.Call(anyone); w.Host != "fast" {
			t.Errorf("called %s, want fast", w.Host)
		}
	}
	if w, ok := l.Call(anyone); !ok || w.Host != "slow" {
		t.Errorf("called %v, want slow, which waits alone", w)
	}
	for range 12 {
		l.Took("slow", 10*time.Millisecond)
	}
	l.Wait(Waiter{"fast", 9})
	l.Wait(Waiter{"slow", 9})
	if w, _ := l.Call(anyone); w.Host != "slow" {
		t.Errorf("called %s, want slow, which is as fast as others now and was given less", w.Host)
	}
}

// A host that was slow for a moment is tried again, the later the slower it was.
func TestLineForgives(t *testing.T) {
	passed := func(times int) int {
		var l Line
		for range 20 {
			l.Took("fast", time.Millisecond)
		}
		l.Took("slow", time.Duration(times)*time.Millisecond)
		for n := range 1000 {
			l.Wait(Waiter{Host: "slow", Request: 1})
			l.Wait(Waiter{Host: "fast", Request: uint32(n)})
			if w, _ := l.Call(func(Waiter) bool { return true }); w.Host == "slow" {
				return n
			}
			l.Leave(Waiter{Host: "slow", Request: 1})
		}
		return 1000
	}
	if n := passed(4); n < 100 || n > 200 {
		t.Errorf("a host that took 4 times the mean is called after %d others", n)
	}
	if n := passed(10); n < 400 || n > 800 {
		t.Errorf("a host that took 10 times the mean is called after %d others", n)
	}
}

// Lines that share a count call the host that all of them gave the least.
func TestLinesShareWhatWasGiven(t *testing.T) {
	var first, second Line
	g := Given{}
	first.Share(g)
	second.Share(g)
	for r := range uint32(3) {
		for _, h := range []p2p.HostID{"a", "b", "c"} {
			first.Wait(Waiter{h, r})
			second.Wait(Waiter{h, r})
		}
	}
	var order []p2p.HostID
	for _, l := range []*Line{&first, &second, &second, &first, &second, &first} {
		w, _ := l.Call(anyone)
		order = append(order, w.Host)
	}
	if want := []p2p.HostID{"a", "b", "c", "b", "a", "c"}; !slices.Equal(order, want) {
		t.Errorf("called %v, want %v", order, want)
	}
	first.Missed("c")
	if w, _ := second.Call(anyone); w.Host != "c" {
		t.Errorf("called %s, want c, which missed one", w.Host)
	}
	first.Unshare()
	if g["a"] != 1 || g["b"] != 1 || g["c"] != 2 {
		t.Errorf("without the first line %v is counted, want what the second gave", g)
	}
	second.Unshare()
	if len(g) != 0 {
		t.Errorf("%v is counted of no line", g)
	}
}
