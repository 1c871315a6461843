package pki

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/containerd/errdefs"
)

// ServerTLS returns the configuration of a listening side: TLS 1.3, and a
// certificate is asked of every caller, of this cluster and of one of the given
// roles (none given = any).
func (i *Identity) ServerTLS(roles ...Role) *tls.Config {
	return &tls.Config{
		MinVersion:       tls.VersionTLS13,
		GetCertificate:   func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return i.current().cert, nil },
		ClientAuth:       tls.RequireAnyClientCert, // VerifyConnection checks it
		VerifyConnection: i.verifier("", roles),
	}
}

// ClientTLS returns the configuration of a calling side: TLS 1.3, with the member's
// own certificate; the server must be of this cluster and of one of the given roles
// (none given = any). Its host name is not looked at.
func (i *Identity) ClientTLS(roles ...Role) *tls.Config { return i.ClientTLSTo("", roles...) }

// ClientTLSTo is ClientTLS for a server whose name in the cluster is known.
func (i *Identity) ClientTLSTo(name string, roles ...Role) *tls.Config {
	return &tls.Config{
		MinVersion:           tls.VersionTLS13,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return i.current().cert, nil },
		InsecureSkipVerify:   true, // host names say nothing here; VerifyConnection checks chain, cluster, role and name
		VerifyConnection:     i.verifier(name, roles),
	}
}

// PeerName returns role and name of the other side of a connection made with
// ServerTLS or ClientTLS. Before the handshake is done it is ErrUnauthenticated.
func PeerName(cs tls.ConnectionState) (Role, string, error) {
	if !cs.HandshakeComplete || len(cs.PeerCertificates) == 0 {
		return "", "", fmt.Errorf("peer name: the other side has shown no certificate: %w", errdefs.ErrUnauthenticated)
	}
	n, err := NameOf(cs.PeerCertificates[0])
	return n.Role, n.Name, err
}

func (i *Identity) verifier(name string, roles []Role) func(tls.ConnectionState) error {
	return func(cs tls.ConnectionState) error {
		if len(cs.PeerCertificates) == 0 {
			return fmt.Errorf("verify peer: the other side has shown no certificate: %w", errdefs.ErrUnauthenticated)
		}
		n, err := verifyMember(cs.PeerCertificates[0], i.current().roots, i.now(), i.name.Cluster)
		if err == nil {
			err = i.CheckPeer(cs)
		}
		if err != nil {
			return fmt.Errorf("verify peer: %w", err)
		}
		if len(roles) > 0 && !slices.Contains(roles, n.Role) {
			return fmt.Errorf("verify peer: %s has the role %s, want %s; is its address right, and was its certificate issued with the right --role? %w",
				n, n.Role, roleList(roles), errdefs.ErrPermissionDenied)
		}
		if name != "" && n.Name != name {
			return fmt.Errorf("verify peer: %s answered where %q was expected; two hosts may have swapped addresses: %w", n, name, errdefs.ErrPermissionDenied)
		}
		return nil
	}
}

func verifyMember(cert *x509.Certificate, roots *x509.CertPool, now time.Time, cluster string) (Name, error) {
	if err := verifyChain(cert, roots, now); err != nil {
		return Name{}, err
	}
	n, err := NameOf(cert)
	if err != nil {
		return Name{}, err
	}
	if n.Cluster != cluster {
		return Name{}, fmt.Errorf("%s is of another cluster, this is %q: %w", n, cluster, errdefs.ErrPermissionDenied)
	}
	return n, nil
}

// verifyChain checks that a CA of roots signed cert and that both are valid at now.
// Its errors are ErrUnauthenticated and say what to do.
func verifyChain(cert *x509.Certificate, roots *x509.CertPool, now time.Time) error {
	_, err := cert.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
	if err == nil {
		return nil
	}
	return fmt.Errorf("certificate of %s: %s: %w", display(cert), explain(cert, now, err), errdefs.ErrUnauthenticated)
}

// explain turns what x509 found into what is wrong and what to do about it.
func explain(cert *x509.Certificate, now time.Time, err error) string {
	var (
		invalid x509.CertificateInvalidError
		unknown x509.UnknownAuthorityError
	)
	switch {
	case now.After(cert.NotAfter):
		return fmt.Sprintf("expired at %s, %s ago; issue a new one with \"darter ca issue\"",
			cert.NotAfter.UTC().Format(time.RFC3339), now.Sub(cert.NotAfter).Round(time.Second))
	case now.Before(cert.NotBefore):
		return fmt.Sprintf("not valid before %s, %s from now; compare the clocks of the hosts",
			cert.NotBefore.UTC().Format(time.RFC3339), cert.NotBefore.Sub(now).Round(time.Second))
	case errors.As(err, &unknown):
		return fmt.Sprintf("signed by another CA (%q) than the one trusted here; both sides need certificates of the same \"darter ca init\", or its ca.crt in their CA file",
			cert.Issuer.CommonName)
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "the CA itself has expired; make a new one with \"darter ca init\" and issue all certificates anew"
	}
	return err.Error()
}

// display names a certificate for an error: its identity, else its subject.
func display(cert *x509.Certificate) string {
	if n, err := NameOf(cert); err == nil {
		return n.String()
	}
	return fmt.Sprintf("%q", cert.Subject.CommonName)
}
