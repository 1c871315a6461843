package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"fmt"
	"net/url"
	"time"

	"github.com/containerd/errdefs"
)

// NewRequest makes a certificate signing request (PKCS #10, DER) for a key. The request
// names nobody: who it is for is what the CA finds out, not what it is told.
func NewRequest(key crypto.Signer) ([]byte, error) {
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		return nil, fmt.Errorf("make a certificate request: %w", err)
	}
	return csr, nil
}

// KeyHash tells public keys apart: hex SHA-256 of a certificate's.
func KeyHash(cert *x509.Certificate) string {
	sum := sha256.Sum256(cert.RawSubjectPublicKeyInfo)
	return hex.EncodeToString(sum[:])
}

// Issued is about when a certificate was made: it begins a little before.
func Issued(cert *x509.Certificate) time.Time { return cert.NotBefore.Add(backdate) }

// maxCSR bounds a foreign request, in bytes.
const maxCSR = 8 << 10

// Sign makes the certificate of r for the key of a signing request, whose other fields
// are not looked at. A request that is none, or of a key that members do not use (want
// ECDSA P-256), is ErrInvalidArgument.
func (ca *CA) Sign(csr []byte, r Request, now time.Time) (*x509.Certificate, error) {
	if len(csr) > maxCSR {
		return nil, fmt.Errorf("certificate request of %d bytes, want at most %d: %w", len(csr), maxCSR, errdefs.ErrInvalidArgument)
	}
	asked, err := x509.ParseCertificateRequest(csr)
	if err == nil {
		err = asked.CheckSignature()
	}
	if err != nil {
		return nil, fmt.Errorf("certificate request: %w: %w", err, errdefs.ErrInvalidArgument)
	}
	key, ok := asked.PublicKey.(*ecdsa.PublicKey)
	if !ok || key.Curve != elliptic.P256() {
		return nil, fmt.Errorf("certificate request: want a key of ECDSA P-256: %w", errdefs.ErrInvalidArgument)
	}
	return ca.certify(key, r, now)
}

// certify makes the certificate of r for a public key.
func (ca *CA) certify(key crypto.PublicKey, r Request, now time.Time) (*x509.Certificate, error) {
	name := Name{Cluster: ca.cluster, Role: r.Role, Name: r.Name}
	if err := name.Validate(); err != nil {
		return nil, fmt.Errorf("issue certificate: %w", err)
	}
	if r.ValidFor < 0 {
		return nil, fmt.Errorf("issue certificate: validity of %s: %w", r.ValidFor, errdefs.ErrInvalidArgument)
	}
	if !now.Before(ca.cert.NotAfter) {
		return nil, fmt.Errorf("issue certificate: the CA ended at %s; make a new one with \"darter ca init\": %w",
			ca.cert.NotAfter.Format(time.RFC3339), errdefs.ErrFailedPrecondition)
	}
	validFor := r.ValidFor
	if validFor == 0 {
		validFor = DefaultDays * 24 * time.Hour
	}
	end := now.Add(validFor)
	if end.After(ca.cert.NotAfter) {
		end = ca.cert.NotAfter
	}
	uri, err := url.Parse(name.String())
	if err != nil {
		return nil, fmt.Errorf("issue certificate: %w", err)
	}
	cert, err := sign(&x509.Certificate{
		Subject:               pkix.Name{Organization: []string{"darter"}, CommonName: commonName(r.Name)},
		URIs:                  []*url.URL{uri},
		DNSNames:              r.DNS,
		IPAddresses:           r.IPs,
		NotBefore:             now.Add(-backdate),
		NotAfter:              end,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true,
	}, ca.cert, key, ca.key)
	if err != nil {
		return nil, fmt.Errorf("issue certificate: %w", err)
	}
	return cert, nil
}

// Pin is the CA's fingerprint, by which one who joins knows it: hex SHA-256 of its
// certificate.
func (ca *CA) Pin() string { return PinOf(ca.cert) }

// PinOf is the fingerprint of a certificate.
func PinOf(cert *x509.Certificate) string {
	sum := sha256.Sum256(cert.Raw)
	return hex.EncodeToString(sum[:])
}

// Derive returns a key of 32 bytes for a purpose: the same for everybody who has this CA,
// and of no use to find out another purpose's or the CA's own.
func (ca *CA) Derive(purpose string) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(ca.key)
	if err != nil {
		return nil, fmt.Errorf("derive a key: %w", err)
	}
	return hkdf.Key(sha256.New, der, nil, "darter "+purpose, 32)
}
