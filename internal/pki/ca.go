package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"net"
	"net/url"
	"time"

	"github.com/containerd/errdefs"
)

const (
	// DefaultCADays is how long a CA is valid, in days.
	DefaultCADays = 3650
	// DefaultDays is how long an issued certificate is valid, in days.
	DefaultDays = 365
	// backdate is how far a certificate begins in the past, for clocks that differ, or
	// jump by an hour.
	backdate = 70 * time.Minute
)

// CA signs the certificates of one cluster. Its methods may be called concurrently.
type CA struct {
	cluster string
	cert    *x509.Certificate
	key     crypto.Signer
	pool    *x509.CertPool
}

// CreateCA makes a CA for a cluster, valid from a little before now for validFor.
// A bad cluster name or a validity that is not positive is ErrInvalidArgument.
func CreateCA(cluster string, now time.Time, validFor time.Duration) (*CA, error) {
	if err := validateCluster(cluster); err != nil {
		return nil, fmt.Errorf("create CA: %w", err)
	}
	if validFor <= 0 {
		return nil, fmt.Errorf("create CA: validity of %s: %w", validFor, errdefs.ErrInvalidArgument)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("create CA: %w", err)
	}
	cert, err := sign(&x509.Certificate{
		Subject:               pkix.Name{Organization: []string{"darter"}, CommonName: "darter CA " + cluster},
		URIs:                  []*url.URL{{Scheme: "spiffe", Host: cluster}},
		NotBefore:             now.Add(-backdate),
		NotAfter:              now.Add(validFor),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true,
	}, nil, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("create CA: %w", err)
	}
	return newCA(cert, key)
}

func newCA(cert *x509.Certificate, key crypto.Signer) (*CA, error) {
	if !cert.IsCA || len(cert.URIs) != 1 || cert.URIs[0].Scheme != "spiffe" || cert.URIs[0].Path != "" {
		return nil, fmt.Errorf("certificate %q is not a CA of \"darter ca init\": %w", cert.Subject.CommonName, errdefs.ErrInvalidArgument)
	}
	if err := validateCluster(cert.URIs[0].Host); err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return &CA{cluster: cert.URIs[0].Host, cert: cert, key: key, pool: pool}, nil
}

// Cluster returns the name of the cluster.
func (ca *CA) Cluster() string { return ca.cluster }

// Roots returns the pool that holds the CA's certificate.
func (ca *CA) Roots() *x509.CertPool { return ca.pool }

// Certificate returns the CA's own certificate.
func (ca *CA) Certificate() *x509.Certificate { return ca.cert }

// Request is what a certificate is to say.
type Request struct {
	Role Role
	Name string
	DNS  []string // further names, for clients that check host names (a browser, curl)
	IPs  []net.IP // further addresses, likewise
	// ValidFor is counted from now and cut at the CA's own end; 0 means DefaultDays.
	ValidFor time.Duration
}

// Pair is a certificate with its key.
type Pair struct {
	Cert *x509.Certificate
	Key  crypto.Signer
}

// Issue makes a key and a certificate for it, good for both ends of a connection
// and for signing statements. A request that cannot be an identity, or a CA that has
// ended, is ErrInvalidArgument or ErrFailedPrecondition.
func (ca *CA) Issue(r Request, now time.Time) (Pair, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Pair{}, fmt.Errorf("issue certificate: %w", err)
	}
	cert, err := ca.certify(key.Public(), r, now)
	if err != nil {
		return Pair{}, err
	}
	return Pair{Cert: cert, Key: key}, nil
}

// commonName cuts a name to the 64 characters that X.509 allows there. It is for
// people to read; the identity is the URI.
func commonName(s string) string { return s[:min(len(s), 64)] }

// sign makes a certificate; a nil parent means that it signs itself.
func sign(template, parent *x509.Certificate, pub crypto.PublicKey, key crypto.Signer) (*x509.Certificate, error) {
	if parent == nil {
		parent = template
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, pub, key)
	if err != nil {
		return nil, fmt.Errorf("sign certificate: %w", err)
	}
	return x509.ParseCertificate(der)
}

// PEM returns the certificate and the key (PKCS #8) as files hold them.
func (p Pair) PEM() (cert, key []byte, err error) {
	der, err := x509.MarshalPKCS8PrivateKey(p.Key)
	if err != nil {
		return nil, nil, fmt.Errorf("encode key: %w", err)
	}
	cert = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.Cert.Raw})
	return cert, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}
