package pki

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"

	"github.com/containerd/errdefs"
)

// Serial is a certificate's serial number as lists of revoked ones have it.
func Serial(cert *x509.Certificate) string { return cert.SerialNumber.Text(16) }

// SetRevoked replaces the list of serial numbers that this identity refuses from now on:
// in handshakes, and by closing what Guard made. Who keeps other connections asks
// CheckPeer from time to time.
func (i *Identity) SetRevoked(serials []string) {
	list := make(map[string]bool, len(serials))
	for _, s := range serials {
		list[s] = true
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.revoked = list
	for k := range i.open {
		if k.cert != nil && list[Serial(k.cert)] {
			k.raw.Close() // who reads it closes and forgets it
		}
	}
}

// CheckPeer reports whether the certificate of a connection's other side has ended or was
// revoked since the handshake, as ErrUnauthenticated.
func (i *Identity) CheckPeer(cs tls.ConnectionState) error {
	if len(cs.PeerCertificates) == 0 {
		return fmt.Errorf("the other side has shown no certificate: %w", errdefs.ErrUnauthenticated)
	}
	cert := cs.PeerCertificates[0]
	if now := i.now(); now.After(cert.NotAfter) {
		return fmt.Errorf("certificate of %s: %s: %w", display(cert), explain(cert, now, nil), errdefs.ErrUnauthenticated)
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.checkRevokedLocked(cert)
}

// checkRevokedLocked reports a certificate that was revoked.
func (i *Identity) checkRevokedLocked(cert *x509.Certificate) error {
	if i.revoked[Serial(cert)] {
		return fmt.Errorf("certificate %s of %s was revoked by the manager: %w", Serial(cert), display(cert), errdefs.ErrUnauthenticated)
	}
	return nil
}
