//go:build !linux

package exchange

import (
	"net"

	"github.com/containerd/errdefs"
)

// gatherer is for Linux alone.
type gatherer struct{}

func newGatherer(net.Conn) *gatherer { return nil }

func (*gatherer) await(int) error { return errdefs.ErrNotImplemented }

func (*gatherer) read([]byte, int) (int, error) { return 0, errdefs.ErrNotImplemented }
