// Package join makes this host a member of a cluster whose manager is the certificate
// authority, and keeps it one: it exchanges a token for a certificate, renews it in its
// files, which package pki reads again, and tells pki what was revoked.
package join

import (
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"github.com/containerd/log"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	joinv1 "github.com/darter-p2p/darter/api/join/v1"
	"github.com/darter-p2p/darter/internal/pki"
)

// Config says where the manager is and how this host begins.
type Config struct {
	Address   string // host:port of the manager's service for joining
	TokenFile string // holds a join token; it is needed once
	Name      string // of this host in the cluster
	Files     pki.Files
	// Poll is how often what was revoked is asked for; 0 = 20 s.
	Poll time.Duration
}

// Enroll makes this host a member, unless its files already say so: it gets a certificate
// for the token, from the manager whose CA the token names, and writes the files.
func Enroll(ctx context.Context, c Config) error {
	if _, err := pki.Load(c.Files); err == nil {
		return nil
	}
	text, err := os.ReadFile(c.TokenFile)
	if err != nil {
		return fmt.Errorf("join: %w", err)
	}
	token := strings.TrimSpace(string(text))
	pin := token[strings.LastIndexByte(token, '.')+1:]
	var shown []*x509.Certificate
	conn, err := dial(c.Address, &tls.Config{
		MinVersion:         tls.VersionTLS13,
		InsecureSkipVerify: true, // VerifyConnection checks the CA by the token's fingerprint
		VerifyConnection: func(s tls.ConnectionState) error {
			_, who, err := pki.VerifyPinned(s.PeerCertificates, pin, time.Now())
			if err == nil && who.Role != pki.Manager {
				err = fmt.Errorf("%s is no manager: %w", who, errdefs.ErrPermissionDenied)
			}
			shown = s.PeerCertificates
			return err
		},
	})
	if err != nil {
		return fmt.Errorf("join: %w", err)
	}
	defer conn.Close()
	key, csr, err := pki.NewRequest()
	if err != nil {
		return fmt.Errorf("join: %w", err)
	}
	answer, err := joinv1.NewJoinServiceClient(conn).Join(ctx, &joinv1.JoinRequest{Token: token, Name: c.Name, Csr: csr})
	if err != nil {
		return fmt.Errorf("join at %s: %w", c.Address, errgrpc.ToNative(err))
	}
	ca, _, err := pki.VerifyPinned(shown, pin, time.Now())
	if err != nil {
		return fmt.Errorf("join: %w", err)
	}
	return c.write(answer.GetCertificate(), ca.Raw, key)
}

func dial(addr string, c *tls.Config) (*grpc.ClientConn, error) {
	return grpc.NewClient("passthrough:///"+addr, grpc.WithTransportCredentials(credentials.NewTLS(c)))
}

// write replaces the files, the key before its certificate. A reader in between keeps
// what it had.
func (c Config) write(cert, ca []byte, key crypto.Signer) error {
	parsed, err := x509.ParseCertificate(cert)
	if err != nil {
		return fmt.Errorf("the manager's certificate: %w: %w", err, errdefs.ErrDataLoss)
	}
	certText, keyText, err := pki.Pair{Cert: parsed, Key: key}.PEM()
	if err != nil {
		return err
	}
	for _, f := range []struct {
		path string
		data []byte
		mode os.FileMode
	}{
		{c.Files.CA, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca}), 0o644},
		{c.Files.Key, keyText, 0o600},
		{c.Files.Cert, certText, 0o644},
	} {
		if err := replace(f.path, f.data, f.mode); err != nil {
			return fmt.Errorf("write %s: %w", f.path, err)
		}
	}
	return nil
}

// replace writes a file beside path and renames it.
func replace(path string, data []byte, mode os.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
	}
	return err
}

// Run keeps the membership until ctx ends: it renews the certificate when half of its life
// is over, and has id refuse what was revoked. While the manager is away it goes on trying.
func Run(ctx context.Context, c Config, id *pki.Identity) error {
	if c.Poll == 0 {
		c.Poll = 20 * time.Second
	}
	tick := time.NewTicker(c.Poll)
	defer tick.Stop()
	was := ""
	for {
		err := c.once(ctx, id)
		switch {
		case ctx.Err() != nil:
			return nil
		case err == nil:
			was = ""
		case err.Error() != was:
			was = err.Error()
			log.G(ctx).WithError(err).Warn("the manager cannot be asked for certificates")
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// once asks for what was revoked, and for a new certificate where it is time.
func (c Config) once(ctx context.Context, id *pki.Identity) error {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	conn, err := dial(c.Address, id.ClientTLS(pki.Manager))
	if err != nil {
		return err
	}
	defer conn.Close()
	client := joinv1.NewJoinServiceClient(conn)
	revoked, err := client.Revoked(ctx, &joinv1.RevokedRequest{})
	if err != nil {
		return fmt.Errorf("what was revoked: %w", errgrpc.ToNative(err))
	}
	id.SetRevoked(revoked.GetSerials())
	_, cert := id.Signer()
	if time.Until(cert.NotAfter) > cert.NotAfter.Sub(cert.NotBefore)/2 {
		return nil
	}
	key, csr, err := pki.NewRequest()
	if err != nil {
		return err
	}
	next, err := client.Renew(ctx, &joinv1.RenewRequest{Csr: csr})
	if err != nil {
		return fmt.Errorf("renew the certificate: %w", errgrpc.ToNative(err))
	}
	return c.write(next.GetCertificate(), next.GetCa(), key)
}
