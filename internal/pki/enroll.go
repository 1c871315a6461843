package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/darter-p2p/darter/internal/durable"
)

// PrepareKey returns the key of the identity's files, which is made where there is none,
// or one that members do not use (want ECDSA P-256). It is on disk before it is in use, so
// that a host that asks for a certificate again asks for the same key.
func (f Files) PrepareKey() (crypto.Signer, error) {
	if key, err := readKey(f.Key); err == nil {
		if k, ok := key.(*ecdsa.PrivateKey); ok && k.Curve == elliptic.P256() {
			return k, nil
		}
	}
	// A certificate of another key must not be beside it.
	if err := os.Remove(f.Cert); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("prepare a key: %w", err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make a key: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("make a key: %w", err)
	}
	return key, install(f.Key, "PRIVATE KEY", der, 0o600)
}

// Install puts the certificate of PrepareKey's key in its place, and the CA's if one is
// given. Who follows the files takes it up at the next handshake.
func (f Files) Install(cert, ca *x509.Certificate) error {
	if ca != nil {
		if err := install(f.CA, "CERTIFICATE", ca.Raw, 0o644); err != nil {
			return err
		}
	}
	return install(f.Cert, "CERTIFICATE", cert.Raw, 0o644)
}

func install(path, kind string, der []byte, mode fs.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return durable.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), mode)
}
