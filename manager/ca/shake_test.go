package ca

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"net"
	"net/url"
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

// requestAs is a signing request that names somebody.
func requestAs(uri string) ([]byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	u, err := url.Parse(uri)
	if err != nil {
		return nil, err
	}
	return x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
		Subject: pkix.Name{CommonName: "boss"}, URIs: []*url.URL{u}, DNSNames: []string{"manager.example"},
	}, key)
}
