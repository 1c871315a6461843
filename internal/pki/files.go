package pki

import (
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/containerd/errdefs"

	"github.com/darter-p2p/darter/internal/durable"
)

// caName is the file name, without its ending, of a CA; no member may use it.
const caName = "ca"

// Write puts ca.crt and ca.key into dir, which is made if it is not there. It never
// replaces a CA: where there is one, the error is ErrAlreadyExists.
func (ca *CA) Write(dir string) error {
	if _, err := os.Lstat(filepath.Join(dir, caName+".key")); !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("write CA: %s exists already; every certificate of the cluster hangs on it, so remove it yourself if you mean it: %w",
			filepath.Join(dir, caName+".key"), errdefs.ErrAlreadyExists)
	}
	_, err := Pair{Cert: ca.cert, Key: ca.key}.write(dir, caName)
	return err
}

// LoadCA reads ca.crt and ca.key from dir. A missing file is ErrNotFound.
func LoadCA(dir string) (*CA, error) {
	p, err := readPair(filepath.Join(dir, caName+".crt"), filepath.Join(dir, caName+".key"))
	if err != nil {
		return nil, fmt.Errorf("load CA: %w", err)
	}
	ca, err := newCA(p.Cert, p.Key)
	if err != nil {
		return nil, fmt.Errorf("load CA from %s: %w", dir, err)
	}
	return ca, nil
}

// Files are the paths of an identity.
type Files struct {
	CA   string // certificates of the cluster's CAs, PEM; several while one replaces another
	Cert string // the member's certificate, PEM
	Key  string // its key, PEM
}

// Write puts <name>.crt and <name>.key into dir, for the name in the certificate, and
// returns their paths; the CA's path is that of ca.crt in the same directory. It
// replaces an earlier certificate of the same identity, so that certificates are
// renewed in place; where the name belongs to another role the error is ErrAlreadyExists.
func (p Pair) Write(dir string) (Files, error) {
	name, err := NameOf(p.Cert)
	if err != nil {
		return Files{}, fmt.Errorf("write certificate: %w", err)
	}
	if name.Name == caName {
		return Files{}, fmt.Errorf("write certificate: the name %q is taken by the CA's files: %w", caName, errdefs.ErrInvalidArgument)
	}
	certs, err := readCerts(filepath.Join(dir, name.Name+".crt"))
	switch {
	case errors.Is(err, errdefs.ErrNotFound):
	case err != nil:
		return Files{}, fmt.Errorf("write certificate: %w", err)
	default:
		if held, err := NameOf(certs[0]); err != nil || held != name {
			return Files{}, fmt.Errorf("write certificate: %s is of another identity (%s, not %s); choose another name or directory: %w",
				filepath.Join(dir, name.Name+".crt"), held, name, errdefs.ErrAlreadyExists)
		}
	}
	return p.write(dir, name.Name)
}

func (p Pair) write(dir, name string) (Files, error) {
	cert, key, err := p.PEM()
	if err != nil {
		return Files{}, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return Files{}, fmt.Errorf("write certificate: %w", err)
	}
	f := Files{
		CA:   filepath.Join(dir, caName+".crt"),
		Cert: filepath.Join(dir, name+".crt"),
		Key:  filepath.Join(dir, name+".key"),
	}
	// The certificate comes last: one that is there has its key beside it.
	if err := durable.WriteFile(f.Key, key, 0o600); err != nil {
		return Files{}, err
	}
	if err := durable.WriteFile(f.Cert, cert, 0o644); err != nil {
		return Files{}, err
	}
	return f, nil
}

func readPair(certPath, keyPath string) (Pair, error) {
	certs, err := readCerts(certPath)
	if err != nil {
		return Pair{}, err
	}
	key, err := readKey(keyPath)
	if err != nil {
		return Pair{}, err
	}
	pub, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool })
	if !ok || !pub.Equal(certs[0].PublicKey) {
		return Pair{}, fmt.Errorf("%s is not the key of %s: copy both files of one \"darter ca issue\": %w", keyPath, certPath, errdefs.ErrInvalidArgument)
	}
	return Pair{Cert: certs[0], Key: key}, nil
}

// readCerts returns the certificates of a PEM file, at least one.
func readCerts(path string) ([]*x509.Certificate, error) {
	data, err := readFile(path)
	if err != nil {
		return nil, err
	}
	var certs []*x509.Certificate
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("%s: %w: %w", path, err, errdefs.ErrInvalidArgument)
		}
		certs = append(certs, c)
	}
	if len(certs) == 0 {
		return nil, fmt.Errorf("%s holds no certificate (want PEM, \"BEGIN CERTIFICATE\"): %w", path, errdefs.ErrInvalidArgument)
	}
	return certs, nil
}

// readKey returns the private key of a PEM file: PKCS #8, SEC 1 or PKCS #1.
func readKey(path string) (crypto.Signer, error) {
	data, err := readFile(path)
	if err != nil {
		return nil, err
	}
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		var key any
		switch block.Type {
		case "PRIVATE KEY":
			key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
		case "EC PRIVATE KEY":
			key, err = x509.ParseECPrivateKey(block.Bytes)
		case "RSA PRIVATE KEY":
			key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
		default:
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w: %w", path, err, errdefs.ErrInvalidArgument)
		}
		signer, ok := key.(crypto.Signer)
		if !ok {
			return nil, fmt.Errorf("%s: a %T cannot sign: %w", path, key, errdefs.ErrInvalidArgument)
		}
		return signer, nil
	}
	return nil, fmt.Errorf("%s holds no private key (want PEM, \"BEGIN PRIVATE KEY\"): %w", path, errdefs.ErrInvalidArgument)
}

func readFile(path string) ([]byte, error) {
	data, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%w: make it with \"darter ca init\" and \"darter ca issue\": %w", err, errdefs.ErrNotFound)
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("%w: %w", err, errdefs.ErrPermissionDenied)
	}
	return data, err
}

// certificate is the pair in the form that crypto/tls takes.
func (p Pair) certificate() *tls.Certificate {
	return &tls.Certificate{Certificate: [][]byte{p.Cert.Raw}, PrivateKey: p.Key, Leaf: p.Cert}
}
