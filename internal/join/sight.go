package join

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"sync"
	"time"

	"github.com/containerd/errdefs"

	"github.com/darter-p2p/darter/internal/pki"
)

// sight looks at who answers a host that knows no more than its CA's fingerprint.
type sight struct {
	pin string

	mu  sync.Mutex
	ca  *x509.Certificate
	err error // why the one who answers is not believed
}

// tls returns a client's configuration that believes a manager of the CA only.
func (s *sight) tls() *tls.Config {
	return &tls.Config{
		MinVersion:         tls.VersionTLS13,
		InsecureSkipVerify: true, // VerifyConnection checks the CA by its fingerprint
		VerifyConnection: func(cs tls.ConnectionState) error {
			ca, who, err := pki.VerifyPinned(cs.PeerCertificates, s.pin, time.Now())
			if err == nil && who.Role != pki.Manager {
				err = fmt.Errorf("%s is no manager: %w", who, errdefs.ErrPermissionDenied)
			}
			s.mu.Lock()
			defer s.mu.Unlock()
			s.ca, s.err = ca, err
			return err
		},
	}
}

// result returns the CA of the one who answered, or why it is not believed.
func (s *sight) result() (*x509.Certificate, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ca, s.err
}
