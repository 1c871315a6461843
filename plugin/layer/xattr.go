package layer

import (
	"errors"
	"fmt"
	"strings"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

// defaultACL is inherited by what is made in a directory.
const defaultACL = "system.posix_acl_default"

// copyXattrs copies the extended attributes of the directory from to fd, which keeps those
// that it has. The admin's (trusted.*) stay where they are: an opaque directory below does
// not make this one opaque.
func copyXattrs(fd int, from string) error {
	keys, err := listXattrs(from)
	if err != nil {
		return fmt.Errorf("list attributes below: %w", err)
	}
	for _, key := range keys {
		if strings.HasPrefix(key, "trusted.") {
			continue
		}
		if key == defaultACL {
			return fmt.Errorf("default ACL below: %w", errdefs.ErrFailedPrecondition)
		}
		value, err := getXattr(from, key)
		if err == nil {
			err = unix.Fsetxattr(fd, key, value, unix.XATTR_CREATE)
		}
		switch {
		case err == nil, errors.Is(err, unix.ENOTSUP), errors.Is(err, unix.ENODATA), errors.Is(err, unix.EEXIST):
		default:
			return fmt.Errorf("attribute %q: %w", key, err)
		}
	}
	return nil
}

func listXattrs(path string) ([]string, error) {
	b, err := sized(func(b []byte) (int, error) { return unix.Llistxattr(path, b) })
	if errors.Is(err, unix.ENOTSUP) || len(b) == 0 {
		return nil, nil
	}
	return strings.Split(strings.TrimSuffix(string(b), "\x00"), "\x00"), err
}

func getXattr(path, key string) ([]byte, error) {
	return sized(func(b []byte) (int, error) { return unix.Lgetxattr(path, key, b) })
}

// sized asks for the length, then for the value, again if that has grown between.
func sized(get func([]byte) (int, error)) ([]byte, error) {
	for {
		n, err := get(nil)
		if err != nil || n == 0 {
			return nil, err
		}
		b := make([]byte, n)
		n, err = get(b)
		if !errors.Is(err, unix.ERANGE) {
			return b[:max(n, 0)], err
		}
	}
}
