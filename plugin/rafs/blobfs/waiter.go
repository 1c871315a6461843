package blobfs

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

// waiter is the context of a read that may have to wait: it ends when the thread that
// reads is being killed. The kernel tells of a thread's first signal only, and not of
// which, so that from then on the thread is looked at.
type waiter struct {
	context.Context // without an end

	interrupted <-chan struct{}
	thread      uint32

	once   sync.Once
	killed chan struct{}
	over   chan struct{}
	watch  sync.WaitGroup
}

// lookEvery is the time between looks at a thread that got a signal.
const lookEvery = 100 * time.Millisecond

func newWaiter(interrupted <-chan struct{}, thread uint32) *waiter {
	return &waiter{
		Context: context.Background(), interrupted: interrupted, thread: thread,
		killed: make(chan struct{}), over: make(chan struct{}),
	}
}

// Done is asked for by who really waits: only then somebody looks.
func (w *waiter) Done() <-chan struct{} {
	if w.thread != 0 { // else it is the kernel's own, or in a place that is not seen from here
		w.once.Do(func() { w.watch.Go(w.look) })
	}
	return w.killed
}

// Err implements context.Context.
func (w *waiter) Err() error {
	select {
	case <-w.killed:
		return context.Canceled
	default:
		return nil
	}
}

// end ends the looking, and reports whether the thread is being killed.
func (w *waiter) end() (killed bool) {
	close(w.over)
	w.watch.Wait()
	return w.Err() != nil
}

func (w *waiter) look() {
	select {
	case <-w.interrupted:
	case <-w.over:
		return
	}
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for !dies(w.thread) {
		select {
		case <-tick.C:
		case <-w.over:
			return
		}
	}
	close(w.killed)
}

// sigkill is SIGKILL's bit in a mask of /proc. Every signal that ends a process becomes
// a SIGKILL of each of its threads.
const sigkill = 1 << 8

// dies reports whether a thread is being killed, or is gone.
func dies(thread uint32) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", thread))
	if err != nil {
		return os.IsNotExist(err)
	}
	for line := range strings.Lines(string(b)) {
		name, value, _ := strings.Cut(line, ":")
		if name != "SigPnd" && name != "ShdPnd" {
			continue
		}
		if mask, err := strconv.ParseUint(strings.TrimSpace(value), 16, 64); err == nil && mask&sigkill != 0 {
			return true
		}
	}
	return false
}
