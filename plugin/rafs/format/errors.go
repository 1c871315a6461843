package format

import (
	"fmt"

	"github.com/containerd/errdefs"
)

// malformed says that bytes are not what their place in the file asks for. It
// is an errdefs.ErrInvalidArgument: nobody can read this file.
func malformed(text string, args ...any) error {
	return fmt.Errorf(text+": %w", append(args, errdefs.ErrInvalidArgument)...)
}

// unsupported says that bytes are well formed and mean something that darter
// does not do. It is an errdefs.ErrNotImplemented: another reader might.
func unsupported(text string, args ...any) error {
	return fmt.Errorf(text+": %w", append(args, errdefs.ErrNotImplemented)...)
}

// need returns an error when b is shorter than a structure.
func need(b []byte, size int, what string) error {
	if len(b) < size {
		return malformed("%s: %d bytes of %d are there", what, len(b), size)
	}
	return nil
}
