package exchange

import (
	"errors"
	"fmt"

	"github.com/containerd/errdefs"
)

// ErrProtocol is wrapped by every error about bytes that the protocol does not
// allow. The connection they came on is closed.
var ErrProtocol = errors.New("exchange protocol violated")

// Why a link ended; see Handler.Disconnected.
var (
	errClosedByPeer = fmt.Errorf("closed by the peer: %w", errdefs.ErrUnavailable)
	errReplaced     = fmt.Errorf("replaced by a newer link: %w", errdefs.ErrAborted)
	errQueueFull    = fmt.Errorf("the peer does not read its messages: %w", errdefs.ErrResourceExhausted)
	errSilent       = fmt.Errorf("nothing heard within the idle time-out: %w", errdefs.ErrUnavailable)
)

var (
	errStopping = fmt.Errorf("exchange is stopping: %w", errdefs.ErrUnavailable)
	errNoLink   = fmt.Errorf("no link to the host: %w", errdefs.ErrFailedPrecondition)
	// errDuplicate says that another link between the two hosts lives.
	errDuplicate = fmt.Errorf("duplicate link: %w", errdefs.ErrAlreadyExists)
)

func protocolError(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrProtocol, fmt.Sprintf(format, args...))
}
