package node

import (
	"errors"
	"fmt"
	"syscall"

	"github.com/containerd/errdefs"
)

// diskFails reports whether an error is of this host's disk, which is full or broken.
func diskFails(err error) bool {
	return errdefs.IsResourceExhausted(err) || errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) ||
		errors.Is(err, syscall.EIO) || errors.Is(err, syscall.EROFS)
}

// noDisk has a task whose pieces cannot be stored here pass through memory to those who
// read it. Where nobody does it ends, and its neighbours do without this host.
func (n *Node) noDisk(t *task, err error) {
	if !diskFails(err) {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.noDiskLocked(t, err)
}

func (n *Node) noDiskLocked(t *task, err error) {
	if n.tasks[t.id] != t || n.closed {
		return
	}
	if t.stream != nil {
		return // what had begun before
	}
	err = fmt.Errorf("task %s cannot be stored: %w", t.id, err)
	n.events.TaskFailed(t.id, err)
	if t.geometry.IsZero() && t.readers > 0 || n.streamLocked(t, err) {
		return // another host will say the size, or has
	}
	n.failLocked(t, err)
	n.tracker.Leave(t.id)
}
