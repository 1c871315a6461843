package pki

import (
	"crypto/x509"
	"fmt"
	"time"

	"github.com/containerd/errdefs"
)

// VerifyPinned checks what a server showed to somebody who knows no more of the cluster
// than its CA's fingerprint: its own certificate first, the CA's last. It returns the CA's
// certificate and who the server is.
func VerifyPinned(shown []*x509.Certificate, pin string, now time.Time) (*x509.Certificate, Name, error) {
	if len(shown) < 2 {
		return nil, Name{}, fmt.Errorf("the server does not show its CA; is it a manager's address for joining? %w", errdefs.ErrUnauthenticated)
	}
	ca := shown[len(shown)-1]
	if !ca.IsCA || PinOf(ca) != pin {
		return nil, Name{}, fmt.Errorf("the server's CA is not the one of the join token: %w", errdefs.ErrUnauthenticated)
	}
	roots := x509.NewCertPool()
	roots.AddCert(ca)
	name, err := NameOf(shown[0])
	if err == nil {
		name, err = verifyMember(shown[0], roots, now, name.Cluster)
	}
	return ca, name, err
}
