package tracker

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"
)

// checkAddresses returns what is wrong with a list of schedulers. It may be empty.
func checkAddresses(all []string) error {
	if len(slices.Compact(slices.Sorted(slices.Values(all)))) < len(all) {
		return fmt.Errorf("an address is there twice in %v", all)
	}
	for _, a := range all {
		if _, _, err := net.SplitHostPort(a); err != nil {
			return fmt.Errorf("scheduler: %w", err)
		}
	}
	return nil
}

// SetAddresses replaces the schedulers. Tasks move as they do when a scheduler comes or
// goes: what lived at one that is no longer named is announced where it lives now, and
// its stream ends when the other nodes had time to do the same. It does not wait.
func (c *Client) SetAddresses(addrs []string) error {
	if err := checkAddresses(addrs); err != nil {
		return fmt.Errorf("tracker: %w", err)
	}
	c.mu.Lock()
	var kept, left []*scheduler
	for _, s := range c.schedulers {
		if slices.Contains(addrs, s.addr) {
			kept = append(kept, s)
		} else {
			left = append(left, s)
		}
	}
	all := slices.Clone(kept)
	for _, addr := range addrs {
		if !slices.ContainsFunc(kept, func(s *scheduler) bool { return s.addr == addr }) {
			s := c.returnLocked(addr)
			if s == nil {
				s = newScheduler(c, addr)
				s.tried = len(kept) > 0 // tasks stay where they are until it answers
				c.startLocked(s)
			}
			all = append(all, s)
		}
	}
	changed := len(left) > 0 || len(all) > len(kept)
	c.schedulers = all
	for _, s := range left {
		c.leaveLocked(s)
	}
	c.mu.Unlock()
	if !changed {
		return nil
	}
	for _, s := range left {
		c.moveAway(s)
	}
	c.tellState()
	return nil
}

var errNamedAgain = errors.New("the scheduler is named again")

// startLocked has a scheduler's connection kept, where the client runs.
func (c *Client) startLocked(s *scheduler) {
	if c.life == nil {
		return
	}
	ctx, stop := context.WithCancel(c.life)
	s.stop = stop
	c.running.Go(func() {
		defer stop()
		s.run(ctx)
	})
}

// leaveLocked ends the connection to a scheduler that is no longer named. It does so when
// the other nodes have moved, too (as moveIn), unless it is named again by then.
func (c *Client) leaveLocked(s *scheduler) {
	if c.life == nil {
		return
	}
	ctx, stay := context.WithCancel(c.life)
	s.stay = stay
	c.leaving = append(c.leaving, s)
	c.running.Go(func() {
		defer stay()
		wait := time.NewTimer(2 * c.cfg.MaxWait)
		defer wait.Stop()
		select {
		case <-wait.C:
		case <-ctx.Done():
			return
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		if i := slices.Index(c.leaving, s); i >= 0 {
			c.leaving = slices.Delete(c.leaving, i, i+1)
			s.stop()
		}
	})
}

// returnLocked takes back the scheduler of an address that is named again before its
// stream was ended, if there is one. A new stream announces all.
func (c *Client) returnLocked(addr string) *scheduler {
	i := slices.IndexFunc(c.leaving, func(s *scheduler) bool { return s.addr == addr })
	if i < 0 {
		return nil
	}
	s := c.leaving[i]
	c.leaving = slices.Delete(c.leaving, i, i+1)
	s.stay()
	if s.link != nil {
		s.link.end(errNamedAgain)
	}
	return s
}
