package lab

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"time"
)

// attemptTime bounds one look at whether a program is ready.
const attemptTime = 2 * time.Second

// Accepts is ready when the host accepts TCP connections on a port of its own address.
func (h *Host) Accepts(port int) func(context.Context) error {
	return h.AcceptsAt(h.HostPort(port))
}

// AcceptsAt is ready when an address can be connected to from the host.
func (h *Host) AcceptsAt(address string) func(context.Context) error {
	return func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, attemptTime)
		defer cancel()
		conn, err := h.DialContext(ctx, "tcp", address)
		if err != nil {
			return err
		}
		return conn.Close()
	}
}

// Healthy is ready when a GET of the URL, from the host, is answered with 200.
func (h *Host) Healthy(url string) func(context.Context) error {
	return func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, attemptTime)
		defer cancel()
		transport := h.Transport()
		defer transport.CloseIdleConnections()
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		response, err := transport.RoundTrip(request)
		if err != nil {
			return err
		}
		defer response.Body.Close()
		if response.StatusCode != http.StatusOK {
			return fmt.Errorf("GET %s: %s", url, response.Status)
		}
		return nil
	}
}

// ListensAt is ready when a unix socket accepts connections.
func ListensAt(socket string) func(context.Context) error {
	return func(ctx context.Context) error {
		conn, err := (&net.Dialer{Timeout: attemptTime}).DialContext(ctx, "unix", socket)
		if err != nil {
			return err
		}
		return conn.Close()
	}
}
