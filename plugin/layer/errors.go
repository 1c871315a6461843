package layer

import (
	"errors"
	"fmt"
	"syscall"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

// errSource marks the error of the reader that the layer comes from.
var errSource = errors.New("read")

// invalid says that the archive is at fault.
func invalid(err error) error { return fmt.Errorf("%w: %w", err, errdefs.ErrInvalidArgument) }

// withClass gives a failed system call its class.
func withClass(no syscall.Errno, err error) error {
	switch no {
	case unix.ENOSPC, unix.EDQUOT, unix.EFBIG, unix.ENOMEM, unix.EMFILE, unix.ENFILE:
		return fmt.Errorf("%w: %w", err, errdefs.ErrResourceExhausted)
	case unix.EPERM, unix.EACCES, unix.EROFS:
		return fmt.Errorf("%w: %w", err, errdefs.ErrPermissionDenied)
	case unix.EIO:
		return fmt.Errorf("%w: %w", err, errdefs.ErrInternal)
	}
	return invalid(err) // names, links and types that do not go together
}

// classes are those that errors of this package get where they arise.
var classes = []error{
	errdefs.ErrInvalidArgument, errdefs.ErrDataLoss, errdefs.ErrNotImplemented,
	errdefs.ErrResourceExhausted, errSource,
}

// classified reports whether an error has its class.
func classified(err error) bool {
	for _, c := range classes {
		if errors.Is(err, c) {
			return true
		}
	}
	return false
}
