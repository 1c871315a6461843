// Package join makes this host a member of a cluster whose manager is the certificate
// authority, and keeps it one: it exchanges a token for a certificate, renews it in its
// files, which package pki reads again, and remembers what was revoked.
package join

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
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

// Config says how this host becomes a member.
type Config struct {
	Token     string `toml:"token" doc:"Join token (darter join-token create). With one, the host joins at manager.address when it first starts: the files of [tls] are made, and renewed. Without, they are those of darter ca."`
	TokenFile string `toml:"token_file" doc:"File that holds the join token, instead of token."`
	Name      string `toml:"name" doc:"This host's name in the cluster. Empty = its host name."`
}

// Enabled reports whether the host joins by token.
func (c Config) Enabled() bool { return c.Token != "" || c.TokenFile != "" }

// Validate returns the first value that cannot work, with the manager's address.
func (c Config) Validate(manager string) error {
	if c.Enabled() && manager == "" {
		return errors.New("token: manager.address is empty, want the manager to join at")
	}
	if c.Token != "" && c.TokenFile != "" {
		return errors.New("token and token_file: one of them is enough")
	}
	if c.Token != "" {
		if _, err := pinOf(c.Token); err != nil {
			return err
		}
	}
	return nil
}

// Host is a host that joins.
type Host struct {
	Config
	Address string   // host:port of the manager's gRPC
	Role    pki.Role // that it has use for; the token must be of the same
	Files   pki.Files
}

// Bounds of the pause before the next try.
const (
	firstPause = time.Second
	lastPause  = time.Minute
	tryTimeout = 20 * time.Second
)

// Enroll makes this host a member, unless its files already say so or no token is set: it
// gets a certificate for the token, from the manager whose CA the token names, and writes
// the files. While the manager is away it goes on trying until ctx ends; a refusal is
// returned in the manager's words.
func Enroll(ctx context.Context, h Host) error {
	if !h.Enabled() {
		return nil
	}
	_, err := pki.Load(h.Files)
	if err == nil {
		return nil
	}
	if !errdefs.IsNotFound(err) && !errdefs.IsUnauthorized(err) { // neither missing nor ended
		return err
	}
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		err := h.enroll(ctx)
		if err == nil || !temporary(err) || ctx.Err() != nil {
			return err
		}
		log.G(ctx).WithError(err).WithField("again", pause).Warn("This host cannot join yet")
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return fmt.Errorf("join: %w", context.Cause(ctx))
		}
	}
}

// temporary reports whether a manager may say otherwise in a moment.
func temporary(err error) bool {
	return errdefs.IsUnavailable(err) || errdefs.IsDeadlineExceeded(err) || errors.Is(err, context.DeadlineExceeded)
}

// enroll tries once.
func (h Host) enroll(ctx context.Context) error {
	token, err := h.token()
	if err != nil {
		return fmt.Errorf("join: %w", err)
	}
	pin, err := pinOf(token)
	if err != nil {
		return fmt.Errorf("join: %w", err)
	}
	name := h.Name
	if name == "" {
		if name, err = os.Hostname(); err != nil {
			return fmt.Errorf("join: %w", err)
		}
	}
	key, err := h.Files.PrepareKey()
	if err != nil {
		return fmt.Errorf("join: %w", err)
	}
	csr, err := pki.NewRequest(key)
	if err != nil {
		return fmt.Errorf("join: %w", err)
	}
	seen := &sight{pin: pin}
	ask := &joinv1.JoinRequest{Token: token, Name: name, Csr: csr, Role: string(h.Role)}
	var answer *joinv1.JoinResponse
	err = h.call(ctx, seen.tls(), func(ctx context.Context, c joinv1.JoinServiceClient) (err error) {
		answer, err = c.Join(ctx, ask)
		return err
	})
	ca, refused := seen.result()
	switch {
	case refused != nil:
		return fmt.Errorf("join at %s: %w", h.Address, refused)
	case err != nil:
		return fmt.Errorf("join at %s: %w", h.Address, err)
	}
	cert, err := parse(answer.GetCertificate())
	if err != nil {
		return fmt.Errorf("join at %s: %w", h.Address, err)
	}
	if err := h.Files.Install(cert, ca); err != nil {
		return fmt.Errorf("join: %w", err)
	}
	log.G(ctx).WithField("name", name).WithField("role", h.Role).WithField("until", cert.NotAfter).Info("This host has joined")
	return nil
}

// token returns the token of the settings.
func (h Host) token() (string, error) {
	if h.Token != "" {
		return h.Token, nil
	}
	text, err := os.ReadFile(h.TokenFile)
	if err != nil {
		return "", err
	}
	return strings.TrimSpace(string(text)), nil
}

// pinOf returns the fingerprint of the CA in a token.
func pinOf(token string) (string, error) {
	pin := token[strings.LastIndexByte(token, '.')+1:]
	if raw, err := hex.DecodeString(pin); err != nil || len(raw) != 32 {
		return "", fmt.Errorf("token: that is no join token (darter join-token create makes one): %w", errdefs.ErrInvalidArgument)
	}
	return pin, nil
}

// call asks the manager once.
func (h Host) call(ctx context.Context, c *tls.Config, ask func(context.Context, joinv1.JoinServiceClient) error) error {
	ctx, cancel := context.WithTimeout(ctx, tryTimeout)
	defer cancel()
	conn, err := grpc.NewClient("passthrough:///"+h.Address, grpc.WithTransportCredentials(credentials.NewTLS(c)), grpc.WithNoProxy())
	if err != nil {
		return err
	}
	defer conn.Close()
	return errgrpc.ToNative(ask(ctx, joinv1.NewJoinServiceClient(conn)))
}

func parse(der []byte) (*x509.Certificate, error) {
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("the manager's certificate: %w: %w", err, errdefs.ErrDataLoss)
	}
	return cert, nil
}
