package pki

import (
	"crypto/x509"
	"fmt"

	"github.com/containerd/errdefs"
)

// Serial is a certificate's serial number as lists of revoked ones have it.
func Serial(cert *x509.Certificate) string { return cert.SerialNumber.Text(16) }

// SetRevoked replaces the list of serial numbers that this identity refuses in handshakes
// from now on. Connections that are open stay open.
func (i *Identity) SetRevoked(serials []string) {
	list := make(map[string]bool, len(serials))
	for _, s := range serials {
		list[s] = true
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.revoked = list
}

// checkRevoked reports a certificate that was revoked.
func (i *Identity) checkRevoked(cert *x509.Certificate) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.revoked[Serial(cert)] {
		return fmt.Errorf("certificate %s of %s was revoked by the manager: %w", Serial(cert), display(cert), errdefs.ErrUnauthenticated)
	}
	return nil
}
