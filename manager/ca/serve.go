package ca

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"

	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"github.com/containerd/log"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"

	joinv1 "github.com/darter-p2p/darter/api/join/v1"
	"github.com/darter-p2p/darter/internal/pki"
)

// service is an Authority on the wire.
type service struct {
	joinv1.UnimplementedJoinServiceServer
	*Authority
}

// Register adds the service for hosts that join or renew to a gRPC server, whose TLS must
// be that of ServerTLS.
func (a *Authority) Register(r grpc.ServiceRegistrar) {
	joinv1.RegisterJoinServiceServer(r, service{Authority: a})
}

// ServerTLS is an identity's for a server that hosts join at: it shows the CA too, and asks
// for a certificate without insisting on one, for a host that joins has none. Every other
// service of the server must look at the caller's certificate itself.
func (a *Authority) ServerTLS(id *pki.Identity, roles ...pki.Role) *tls.Config {
	c := id.ServerTLS(roles...)
	show, verify := c.GetCertificate, c.VerifyConnection
	c.GetCertificate = func(h *tls.ClientHelloInfo) (*tls.Certificate, error) {
		own, err := show(h)
		if err != nil {
			return nil, err
		}
		both := *own
		both.Certificate = [][]byte{own.Leaf.Raw, a.ca.Certificate().Raw}
		return &both, nil
	}
	c.ClientAuth = tls.RequestClientCert
	c.VerifyConnection = func(s tls.ConnectionState) error {
		if len(s.PeerCertificates) == 0 {
			return nil
		}
		return verify(s)
	}
	return c
}

// Join implements joinv1.JoinServiceServer.
func (s service) Join(ctx context.Context, r *joinv1.JoinRequest) (*joinv1.JoinResponse, error) {
	l := log.G(ctx).WithField("name", r.GetName()).WithField("role", r.GetRole())
	if p, ok := peer.FromContext(ctx); ok {
		l = l.WithField("from", p.Addr)
	}
	cert, err := s.Authority.Join(ctx, Application{Token: r.GetToken(), Name: r.GetName(), Role: pki.Role(r.GetRole()), CSR: r.GetCsr()})
	if err != nil {
		l.WithError(err).Warn("A host may not join")
		return nil, errgrpc.ToGRPC(err)
	}
	l.WithField("serial", pki.Serial(cert)).Info("A host joined")
	return &joinv1.JoinResponse{Certificate: cert.Raw, Ca: s.ca.Certificate().Raw}, nil
}

// Renew implements joinv1.JoinServiceServer.
func (s service) Renew(ctx context.Context, r *joinv1.RenewRequest) (*joinv1.RenewResponse, error) {
	present, err := callerOf(ctx)
	if err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	cert, err := s.Authority.Renew(ctx, present, r.GetCsr())
	if err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	return &joinv1.RenewResponse{Certificate: cert.Raw, Ca: s.ca.Certificate().Raw}, nil
}

// callerOf returns the certificate that the caller showed and the handshake checked.
func callerOf(ctx context.Context) (*x509.Certificate, error) {
	if p, ok := peer.FromContext(ctx); ok {
		if info, ok := p.AuthInfo.(credentials.TLSInfo); ok && len(info.State.PeerCertificates) > 0 {
			return info.State.PeerCertificates[0], nil
		}
	}
	return nil, fmt.Errorf("a member's certificate is needed: %w", errdefs.ErrUnauthenticated)
}
