package access

import (
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/containerd/errdefs"
)

// Failures are forgotten after failureWindow. Until then no more than these are let
// through: of one name from one address, from one address, and of one name from
// anywhere, the last so high that a stranger can hardly lock somebody out.
const (
	failureWindow  = 15 * time.Minute
	maxPair        = 10
	maxAddress     = 50
	maxName        = 500
	maxFailureKeys = 100_000
)

// TooMany says when to come back.
type TooMany struct{ After time.Duration }

func (e *TooMany) Error() string {
	return fmt.Sprintf("too many failures, try again in %v: %v", e.After.Round(time.Second), errdefs.ErrResourceExhausted)
}

// Unwrap is the class.
func (e *TooMany) Unwrap() error { return errdefs.ErrResourceExhausted }

// failures counts failed attempts to sign in. It is safe for concurrent use.
type failures struct {
	mu   sync.Mutex
	keys map[failureKey]failure
}

type failureKey struct {
	name string
	addr netip.Prefix
}

type failure struct {
	count int
	since time.Time // of the first
}

// keysOf returns what an attempt counts for, with the bounds.
func keysOf(name, remote string) map[failureKey]int {
	addr := network(remote)
	return map[failureKey]int{{name, addr}: maxPair, {"", addr}: maxAddress, {name, netip.Prefix{}}: maxName}
}

// network is the address that is counted: of IPv6 the subnet that one customer has.
func network(remote string) netip.Prefix {
	addr, err := netip.ParseAddr(remote)
	if err != nil {
		return netip.Prefix{}
	}
	addr = addr.Unmap().WithZone("")
	bits := 32
	if addr.Is6() {
		bits = 64
	}
	p, _ := addr.Prefix(bits) // bits fit
	return p
}

// begin counts an attempt as failed until it is known to be good, so that many at once
// are bounded too. It returns a *TooMany, or nil and the attempt goes on.
func (f *failures) begin(now time.Time, name, remote string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.keys == nil {
		f.keys = map[failureKey]failure{}
	}
	keys := keysOf(name, remote)
	for k, most := range keys {
		if one, ok := f.keys[k]; ok && now.Sub(one.since) < failureWindow && one.count >= most {
			return &TooMany{After: failureWindow - now.Sub(one.since)}
		}
	}
	if len(f.keys)+len(keys) > maxFailureKeys {
		f.forget(now)
	}
	for k := range keys {
		one := f.keys[k]
		if one.count == 0 || now.Sub(one.since) >= failureWindow {
			one = failure{since: now}
		}
		one.count++
		f.keys[k] = one
	}
	return nil
}

// good takes an attempt back.
func (f *failures) good(name, remote string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for k, most := range keysOf(name, remote) {
		one := f.keys[k]
		one.count--
		if one.count <= 0 || most == maxPair {
			delete(f.keys, k)
			continue
		}
		f.keys[k] = one
	}
}

// forget makes room: what is over first, then anything.
func (f *failures) forget(now time.Time) {
	for k, one := range f.keys {
		if now.Sub(one.since) >= failureWindow {
			delete(f.keys, k)
		}
	}
	for k := range f.keys {
		if len(f.keys) < maxFailureKeys*9/10 {
			return
		}
		delete(f.keys, k)
	}
}
