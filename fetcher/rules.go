package fetcher

import (
	"fmt"
	"regexp"
	"sync/atomic"

	"github.com/containerd/errdefs"

	"github.com/darter-p2p/darter/fetcher/source"
	"github.com/darter-p2p/darter/internal/block"
	"github.com/darter-p2p/darter/p2p"
)

// Rules are an operator's word on what is fetched: what is blocked, and how urgent
// applications are. They can be replaced while content flows. The zero Rules, and nil,
// say nothing.
type Rules struct {
	blocked      block.List
	applications atomic.Pointer[map[string]Application]
}

// Application is how urgent the downloads of a named application are.
type Application struct {
	Name string
	// Priority is from 0 to 6: 0 and 1 as for a program that is blocked on the bytes, 2 to
	// 4 as the reader asks, 5 and 6 as for nobody who waits.
	Priority int
	// URLs have priorities of their own; the first that matches counts.
	URLs []URLPriority
}

// URLPriority is the priority of the URLs that a regular expression matches.
type URLPriority struct {
	Pattern  string
	Priority int

	compiled *regexp.Regexp
}

// Block replaces what is blocked. Readings under way end, too, with the rule's error at
// their next byte.
func (r *Rules) Block(rules *block.Rules) { r.blocked.Set(rules) }

// Prioritise replaces the priorities of applications. It is for what is opened later. A
// pattern that does not compile is ErrInvalidArgument.
func (r *Rules) Prioritise(all []Application) error {
	m := make(map[string]Application, len(all))
	for _, a := range all {
		urls := make([]URLPriority, len(a.URLs))
		for i, u := range a.URLs {
			re, err := regexp.Compile(u.Pattern)
			if err != nil {
				return fmt.Errorf("application %s: %w: %w", a.Name, err, errdefs.ErrInvalidArgument)
			}
			urls[i] = URLPriority{u.Pattern, u.Priority, re}
		}
		a.URLs = urls
		m[a.Name] = a
	}
	r.applications.Store(&m)
	return nil
}

// Origins returns s without what is blocked: what is read for other hosts.
func (r *Rules) Origins(s source.Source) source.Source { return guarded{s, r} }

// priority returns that of a download, and false where nothing was said of it.
func (r *Rules) priority(q block.Request) (int, bool) {
	all := r.applications.Load()
	if all == nil || q.Application == "" {
		return 0, false
	}
	a, ok := (*all)[q.Application]
	if !ok {
		return 0, false
	}
	for _, u := range a.URLs {
		if u.compiled.MatchString(q.URL) {
			return u.Priority, true
		}
	}
	return a.Priority, true
}

// Priorities that make a read urgent, at most, and one for nobody who waits, at least.
const (
	urgentPriority     = 1
	backgroundPriority = 5
)

// admit returns the rule that blocks a wish, or makes it as urgent as its application is.
func (l *Local) admit(w *wish, q block.Request) error {
	w.asked = q
	if l.rules == nil {
		return nil
	}
	if err := l.allowed(w); err != nil {
		return err
	}
	if p, ok := l.rules.priority(q); ok && !w.background { // what is read ahead of its need stays so
		w.pressing, w.background = p <= urgentPriority, p >= backgroundPriority
	}
	return nil
}

// allowed returns the rule that blocks a wish now. It costs nothing while the rules are
// those that let it in.
func (l *Local) allowed(w *wish) error {
	if l.rules == nil || w.unblocked {
		return nil
	}
	rules := l.rules.blocked.Rules()
	if rules == w.checked {
		return nil
	}
	if err := rules.Check(w.asked); err != nil {
		l.counts.block()
		return err
	}
	w.checked = rules
	return nil
}

// anyAllowed returns the rule that blocks the last of the places that a content was read
// from, where all are blocked: for who names no place.
func (l *Local) anyAllowed(readings []p2p.Reading) error {
	if l.rules == nil {
		return nil
	}
	var err error
	for _, r := range readings {
		if err = l.rules.blocked.Rules().Check(block.Request{URL: block.URL(string(r.Origin))}); err == nil {
			return nil
		}
	}
	return err
}

// request is what is asked for, in the words of rules.
func (c Content) request(reference string) block.Request {
	return block.Request{URL: block.URL(string(c.place(reference))), Application: c.Application, Tag: c.Tag}
}
