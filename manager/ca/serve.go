package ca

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"github.com/containerd/log"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/peer"

	joinv1 "github.com/darter-p2p/darter/api/join/v1"
	"github.com/darter-p2p/darter/internal/pki"
)

// service is an Authority on the wire.
type service struct {
	joinv1.UnimplementedJoinServiceServer
	*Authority
}

// Serve serves hosts that join or are members on l until ctx ends or the listener fails.
// Its TLS shows the CA too, and asks for a certificate without insisting on one: a host
// that joins has none. It closes l.
func (a *Authority) Serve(ctx context.Context, l net.Listener, id *pki.Identity) error {
	server := grpc.NewServer(
		grpc.Creds(credentials.NewTLS(a.tls(id))),
		grpc.MaxRecvMsgSize(64<<10),
		grpc.ConnectionTimeout(10*time.Second),
		grpc.KeepaliveParams(keepalive.ServerParameters{MaxConnectionIdle: 2 * time.Minute}),
	)
	joinv1.RegisterJoinServiceServer(server, service{Authority: a})
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		err := server.Serve(l)
		if err == nil || errors.Is(err, grpc.ErrServerStopped) {
			return nil
		}
		return fmt.Errorf("serve hosts that join: %w", err)
	})
	group.Go(func() error {
		<-ctx.Done()
		force := time.AfterFunc(2*time.Second, server.Stop)
		defer force.Stop()
		server.GracefulStop()
		return nil
	})
	return group.Wait()
}

func (a *Authority) tls(id *pki.Identity) *tls.Config {
	c := id.ServerTLS()
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
	cert, err := s.Authority.Join(ctx, r.GetToken(), r.GetName(), r.GetCsr())
	if err != nil {
		log.G(ctx).WithField("name", r.GetName()).WithError(err).Warn("a host may not join")
		return nil, errgrpc.ToGRPC(err)
	}
	log.G(ctx).WithField("name", r.GetName()).WithField("serial", pki.Serial(cert)).Info("a host joined")
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

// Revoked implements joinv1.JoinServiceServer.
func (s service) Revoked(ctx context.Context, _ *joinv1.RevokedRequest) (*joinv1.RevokedResponse, error) {
	if _, err := callerOf(ctx); err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	serials, err := s.Authority.Revoked(ctx)
	return &joinv1.RevokedResponse{Serials: serials}, errgrpc.ToGRPC(err)
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
