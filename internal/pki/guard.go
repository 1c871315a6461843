package pki

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc/credentials"
)

// strangerLife bounds the connection of one who shows no certificate, where the
// configuration lets it in at all.
const strangerLife = time.Minute

// Guard makes gRPC credentials of one of this identity's configurations. A connection
// made with them is closed when the peer's certificate is revoked or ends, and a minute
// after its beginning if the peer showed none.
func (i *Identity) Guard(c *tls.Config) credentials.TransportCredentials {
	return &guard{credentials.NewTLS(c), i}
}

// guard is TLS whose connections are known to an identity.
type guard struct {
	credentials.TransportCredentials
	id *Identity
}

// ClientHandshake implements credentials.TransportCredentials.
func (g *guard) ClientHandshake(ctx context.Context, authority string, raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn, info, err := g.TransportCredentials.ClientHandshake(ctx, authority, raw)
	return g.keep(raw, conn, info, err)
}

// ServerHandshake implements credentials.TransportCredentials.
func (g *guard) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn, info, err := g.TransportCredentials.ServerHandshake(raw)
	return g.keep(raw, conn, info, err)
}

// Clone implements credentials.TransportCredentials.
func (g *guard) Clone() credentials.TransportCredentials {
	return &guard{g.TransportCredentials.Clone(), g.id}
}

func (g *guard) keep(raw, conn net.Conn, info credentials.AuthInfo, err error) (net.Conn, credentials.AuthInfo, error) {
	if err != nil {
		return nil, nil, err
	}
	k := &kept{Conn: conn, raw: raw, id: g.id}
	life := strangerLife
	if shown := info.(credentials.TLSInfo).State.PeerCertificates; len(shown) > 0 {
		k.cert = shown[0]
		life = k.cert.NotAfter.Sub(g.id.now())
	}
	// By raw: closing TLS may wait to say goodbye.
	k.end = time.AfterFunc(life, func() { raw.Close() })
	if err := g.id.enter(k); err != nil {
		conn.Close()
		return nil, nil, err
	}
	return k, info, nil
}

// kept is a connection that is open.
type kept struct {
	net.Conn
	raw   net.Conn
	id    *Identity
	cert  *x509.Certificate // nil = a stranger's
	end   *time.Timer
	leave sync.Once
}

// Close closes the connection and forgets it.
func (k *kept) Close() error {
	k.leave.Do(func() {
		k.end.Stop()
		k.id.mu.Lock()
		defer k.id.mu.Unlock()
		delete(k.id.open, k)
	})
	return k.Conn.Close()
}

// enter remembers a connection, unless its certificate was revoked since the handshake.
func (i *Identity) enter(k *kept) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if k.cert != nil {
		if err := i.checkRevokedLocked(k.cert); err != nil {
			k.end.Stop()
			return err
		}
	}
	if i.open == nil {
		i.open = map[*kept]struct{}{}
	}
	i.open[k] = struct{}{}
	return nil
}
