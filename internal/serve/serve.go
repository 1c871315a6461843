// Package serve runs HTTP servers that stop in good order, on TCP or Unix sockets.
package serve

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/containerd/errdefs"
)

// Drain is how long HTTP lets requests finish after its context ended.
const Drain = 5 * time.Second

// HTTP serves h on l until ctx ends; then it accepts nothing more, lets requests
// finish for at most drain (0 = Drain), cuts the others and returns nil. Requests do
// not see the end of ctx, only that of their connection. It closes l.
func HTTP(ctx context.Context, l net.Listener, h http.Handler, drain time.Duration) error {
	if drain == 0 {
		drain = Drain
	}
	s := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute}
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	select {
	case err := <-served:
		return fmt.Errorf("serve %s: %w", l.Addr(), err)
	case <-ctx.Done():
	}
	draining, cancel := context.WithTimeout(context.WithoutCancel(ctx), drain)
	defer cancel()
	err := s.Shutdown(draining)
	if errors.Is(err, context.DeadlineExceeded) {
		err = s.Close()
	}
	if end := <-served; !errors.Is(end, http.ErrServerClosed) {
		err = errors.Join(err, end)
	}
	if err != nil {
		return fmt.Errorf("serve %s: stop: %w", l.Addr(), err)
	}
	return nil
}

// Unix listens on a Unix socket at path with the given permissions, making its
// directory (0755) and removing a socket that a dead process left. Where somebody
// answers on it, or something else is at path, the error is ErrAlreadyExists.
func Unix(path string, mode fs.FileMode) (net.Listener, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	if err := removeDead(path); err != nil {
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	if err := os.Chmod(path, mode); err != nil {
		l.Close()
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	return l, nil
}

func removeDead(path string) error {
	fi, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case fi.Mode()&fs.ModeSocket == 0:
		return fmt.Errorf("there is something that is not a socket: %w", errdefs.ErrAlreadyExists)
	}
	conn, err := net.Dial("unix", path)
	switch {
	case err == nil:
		conn.Close()
		return fmt.Errorf("another process serves it: %w", errdefs.ErrAlreadyExists)
	case errors.Is(err, syscall.ECONNREFUSED):
		return os.Remove(path)
	}
	return err
}
