package node

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/darter-p2p/darter/p2p"
	"github.com/darter-p2p/darter/p2p/store"
)

// An idle host does not look for late answers, and one that has a download again does.
func TestIdleNodeSleeps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, err := New(Default(), "self", store.NewMemory(0), nil, nil, Events{})
		if err != nil {
			t.Fatal(err)
		}
		n.Bind(silent{}, silent{})
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go func() { _ = n.Run(ctx) }()
		looking := func() bool {
			synctest.Wait()
			n.mu.Lock()
			defer n.mu.Unlock()
			return n.looking
		}
		time.Sleep(2 * pollEvery)
		if looking() {
			t.Error("a host without a download looks for answers")
		}
		id := p2p.TaskOfURL("https://r.example/x", "", "")
		n.mu.Lock()
		err = n.setSizeLocked(n.newTaskLocked(id, ""), 100<<20)
		n.mu.Unlock()
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(4 * pollEvery)
		if !looking() {
			t.Error("a host with a download does not look for answers")
		}
		n.mu.Lock()
		n.dropLocked(n.tasks[id])
		n.mu.Unlock()
		time.Sleep(2 * pollEvery)
		if looking() {
			t.Error("a host whose download ended looks for answers")
		}
	})
}
