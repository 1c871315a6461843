package pki

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"github.com/containerd/errdefs"
)

// guarded makes a connection of a client to a server that is guarded, and returns the
// server's end. The client's is read until it ends.
func guarded(t *testing.T, server *Identity, how *tls.Config, client *tls.Config) (net.Conn, error) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		raw, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Error(err)
			return
		}
		defer raw.Close()
		client := client.Clone()
		client.NextProtos = []string{"h2"} // gRPC insists
		_, _ = io.Copy(io.Discard, tls.Client(raw, client))
	}()
	raw, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	conn, _, err := server.Guard(how).ServerHandshake(raw)
	if err != nil {
		raw.Close()
	}
	t.Cleanup(func() {
		if err == nil {
			_ = conn.Close()
		}
		<-done
	})
	return conn, err
}

// ends waits for the end of a connection.
func ends(t *testing.T, conn net.Conn) {
	t.Helper()
	_ = conn.SetReadDeadline(time.Now().Add(30 * time.Second))
	if _, err := conn.Read(make([]byte, 1)); err == nil || isTimeout(err) {
		t.Errorf("the connection goes on: %v", err)
	}
}

func isTimeout(err error) bool {
	return errors.Is(err, os.ErrDeadlineExceeded)
}

// TestGuardRevoked closes what a revoked member has open, lets it in no more, and leaves
// others alone.
func TestGuardRevoked(t *testing.T) {
	ca := newTestCA(t, "c1")
	server, out, in := identity(t, ca, Scheduler, "s"), identity(t, ca, Node, "out"), identity(t, ca, Node, "in")
	victim, err := guarded(t, server, server.ServerTLS(), out.ClientTLS())
	if err != nil {
		t.Fatal(err)
	}
	witness, err := guarded(t, server, server.ServerTLS(), in.ClientTLS())
	if err != nil {
		t.Fatal(err)
	}
	_, cert := out.Signer()
	server.SetRevoked([]string{Serial(cert)})
	ends(t, victim)
	_ = witness.SetReadDeadline(time.Now().Add(time.Millisecond))
	if _, err := witness.Read(make([]byte, 1)); !isTimeout(err) {
		t.Errorf("another member's connection: %v", err)
	}
	if _, err := guarded(t, server, server.ServerTLS(), out.ClientTLS()); !errdefs.IsUnauthorized(err) {
		t.Errorf("a revoked member comes back: %v", err)
	}
	server.SetRevoked(nil)
	if _, err := guarded(t, server, server.ServerTLS(), out.ClientTLS()); err != nil {
		t.Errorf("no longer revoked: %v", err)
	}
	_ = victim.Close()
	_ = witness.Close()
	server.mu.Lock()
	defer server.mu.Unlock()
	if len(server.open) != 1 {
		t.Errorf("%d connections are remembered, want one", len(server.open))
	}
}

// TestGuardExpires closes a connection when the member's certificate ends.
func TestGuardExpires(t *testing.T) {
	ca := newTestCA(t, "c1")
	server := identity(t, ca, Scheduler, "s")
	pair, err := ca.Issue(Request{Role: Node, Name: "n", ValidFor: time.Hour}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	short, err := NewIdentity(pair, ca.Roots())
	if err != nil {
		t.Fatal(err)
	}
	// By the server's clock it ends in a moment.
	server.now = func() time.Time { return pair.Cert.NotAfter.Add(-10 * time.Millisecond) }
	conn, err := guarded(t, server, server.ServerTLS(), short.ClientTLS())
	if err != nil {
		t.Fatal(err)
	}
	ends(t, conn)
	server.now = func() time.Time { return pair.Cert.NotAfter.Add(time.Second) }
	if err := server.CheckPeer(tls.ConnectionState{PeerCertificates: []*x509.Certificate{pair.Cert}}); !errdefs.IsUnauthorized(err) {
		t.Errorf("a certificate that has ended: %v", err)
	}
}
