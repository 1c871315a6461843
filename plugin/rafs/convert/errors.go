package convert

import (
	"context"
	"errors"
	"fmt"
	"syscall"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

// classes are those that errors get where they arise.
var classes = []error{
	errdefs.ErrInvalidArgument, errdefs.ErrDataLoss, errdefs.ErrNotImplemented,
	errdefs.ErrResourceExhausted, context.Canceled, context.DeadlineExceeded, errOutput,
}

// errOutput marks a failure of writing what is made.
var errOutput = errors.New("write")

// invalid gives an error that has no class the one that says that the archive is at
// fault.
func invalid(err error) error {
	for _, c := range classes {
		if errors.Is(err, c) {
			return err
		}
	}
	return fmt.Errorf("%w: %w", err, errdefs.ErrInvalidArgument)
}

// outputError gives a failure of writing its class.
func outputError(err error) error {
	var no syscall.Errno
	if errors.As(err, &no) && (no == unix.ENOSPC || no == unix.EDQUOT || no == unix.EFBIG) {
		return fmt.Errorf("%w: %w: %w", errOutput, err, errdefs.ErrResourceExhausted)
	}
	return fmt.Errorf("%w: %w", errOutput, err)
}
