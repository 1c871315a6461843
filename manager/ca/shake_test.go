package ca

import (
	"crypto/tls"
	"io"
	"net"
	"testing"

	"github.com/darter-p2p/darter/internal/pki"
)

// shake makes a connection of one member to another, and returns why the one that
// listens refuses it.
func shake(t *testing.T, listens, calls *pki.Identity) error {
	t.Helper()
	a, b := net.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		c := tls.Client(b, calls.ClientTLS())
		_, _ = io.Copy(io.Discard, c) // the other side tells
		_ = b.Close()
	}()
	err := tls.Server(a, listens.ServerTLS()).Handshake()
	_ = a.Close()
	<-done
	return err
}
