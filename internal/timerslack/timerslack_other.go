//go:build !linux

package timerslack

import (
	"time"

	"github.com/containerd/errdefs"
)

// Set is for Linux alone.
func Set(time.Duration) error { return errdefs.ErrNotImplemented }
