package oci

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"syscall"

	"github.com/containerd/errdefs"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// registryError gives an error of reading or writing an image its class.
func registryError(err error) error {
	if err == nil || errors.Is(err, context.Canceled) {
		return err
	}
	var answer *transport.Error
	var network net.Error
	class := error(nil)
	switch {
	case errors.As(err, &answer):
		class = classOf(answer.StatusCode)
	case errors.As(err, &network), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET):
		class = errdefs.ErrUnavailable
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		class = errdefs.ErrResourceExhausted
	}
	if class == nil {
		return err
	}
	return fmt.Errorf("%w: %w", err, class)
}

// classOf returns the class of a registry's answer, nil if there is none.
func classOf(status int) error {
	switch {
	case status == http.StatusUnauthorized:
		return errdefs.ErrUnauthenticated
	case status == http.StatusForbidden:
		return errdefs.ErrPermissionDenied
	case status == http.StatusNotFound:
		return errdefs.ErrNotFound
	case status == http.StatusTooManyRequests, status >= 500:
		return errdefs.ErrUnavailable
	}
	return nil
}
