package exchange

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/containerd/errdefs"

	"github.com/darter-p2p/darter/p2p"
)

const (
	tlsHandshake = 0x16 // the first byte of a TLS connection

	// Protocol names in TLS (ALPN).
	protoControl = "darter-control/1"
	protoData    = "darter-data/1"
)

// requireMutual refuses an identity whose configuration would let strangers in.
func requireMutual(id Identity) error {
	if c := id.ServerTLS(); c == nil || c.GetConfigForClient == nil && c.ClientAuth < tls.RequireAnyClientCert {
		return fmt.Errorf("exchange identity: the server side asks for no certificate: %w", errdefs.ErrInvalidArgument)
	}
	return nil
}

// secure adapts an identity's configuration: TLS 1.3, our protocols, no tickets.
func secure(c *tls.Config, protos ...string) *tls.Config {
	c = c.Clone()
	c.MinVersion = tls.VersionTLS13
	c.NextProtos = protos
	c.SessionTicketsDisabled = true // links are long; each has a certificate checked of its own
	if inner := c.GetConfigForClient; inner != nil {
		c.GetConfigForClient = func(hi *tls.ClientHelloInfo) (*tls.Config, error) {
			got, err := inner(hi)
			if got == nil || err != nil {
				return nil, err
			}
			got = got.Clone()
			got.GetConfigForClient = nil
			return secure(got, protos...), nil
		}
	}
	return c
}

// peerOf returns the host at the other end of a finished handshake for proto.
func (x *Exchange) peerOf(cs tls.ConnectionState, proto string) (p2p.HostID, error) {
	if cs.NegotiatedProtocol != proto {
		return "", protocolError("the peer speaks %q, want %q", cs.NegotiatedProtocol, proto)
	}
	if len(cs.PeerCertificates) == 0 {
		return "", fmt.Errorf("the peer has no certificate: %w", errdefs.ErrUnauthenticated)
	}
	host, err := x.cfg.Identity.PeerHost(cs)
	if err != nil {
		return "", err
	}
	if err := host.Validate(); err != nil {
		return "", err
	}
	if host == x.self {
		return "", fmt.Errorf("the peer has this host's own name %s: %w", host, errdefs.ErrPermissionDenied)
	}
	return host, nil
}

// arrive lets one connection in: its first byte says what it is. When it returns
// nil the connection has been used and closed, or belongs to a link. It calls
// arrived when the handshake is over.
func (x *Exchange) arrive(conn net.Conn, arrived func()) error {
	defer context.AfterFunc(x.ctx, func() { conn.Close() })()
	if err := conn.SetDeadline(time.Now().Add(x.cfg.HandshakeTimeout)); err != nil {
		return err
	}
	var first [1]byte
	if _, err := io.ReadFull(conn, first[:]); err != nil {
		return fmt.Errorf("read the first byte: %w", err)
	}
	switch {
	case first[0] == tlsHandshake:
		return x.arriveTLS(conn, first[0], arrived)
	case first[0] == grantMagic && x.cfg.TLSData:
		return protocolError("data connection in clear")
	case first[0] == grantMagic:
		return x.arriveData(conn, "", arrived)
	}
	return protocolError("first byte %#02x", first[0])
}

func (x *Exchange) arriveTLS(raw net.Conn, first byte, arrived func()) error {
	conn := tls.Server(&unread{Conn: raw, first: first, pending: true},
		secure(x.cfg.Identity.ServerTLS(), protoControl, protoData))
	if err := conn.HandshakeContext(x.ctx); err != nil {
		return fmt.Errorf("TLS: %w", err)
	}
	cs := conn.ConnectionState()
	if cs.NegotiatedProtocol == protoData {
		host, err := x.peerOf(cs, protoData)
		if err != nil {
			return err
		}
		var magic [1]byte
		if _, err := io.ReadFull(conn, magic[:]); err != nil || magic[0] != grantMagic {
			return protocolError("no grant after the data handshake")
		}
		return x.arriveData(conn, host, arrived)
	}
	return x.arriveControl(conn, raw, cs)
}

// arriveControl answers a dialler's hello.
func (x *Exchange) arriveControl(conn *tls.Conn, raw net.Conn, cs tls.ConnectionState) error {
	l, err := x.newLink(conn, raw, cs)
	if err != nil {
		return err
	}
	kind, payload, err := l.frames.next()
	if err != nil {
		return fmt.Errorf("read the hello of %s: %w", l.host, err)
	}
	if kind != kindHello {
		return protocolError("frame of kind %d for a hello", kind)
	}
	h, err := parseHello(payload)
	if err != nil {
		return err
	}
	l.heed(h)
	if x.self < l.host {
		x.awaitOwnDial(l.host)
	}
	if err := x.install(l); err != nil {
		why := rejectStopping
		if errors.Is(err, errDuplicate) {
			why = rejectDuplicate
		}
		_, _ = conn.Write(appendReject(nil, why))
		raw.Close()
		if why == rejectDuplicate {
			return nil // both sides have dialled; not worth a report
		}
		return err
	}
	return nil
}

// newLink makes a link of a finished TLS handshake, not installed yet.
func (x *Exchange) newLink(conn *tls.Conn, raw net.Conn, cs tls.ConnectionState) (*link, error) {
	host, err := x.peerOf(cs, protoControl)
	if err != nil {
		return nil, err
	}
	key, err := grantKey(cs)
	if err != nil {
		return nil, err
	}
	l := &link{
		x: x, host: host, seed: x.cfg.Identity.PeerSeed(cs), conn: conn, raw: raw,
		out:     newOutbox(x.cfg.QueueLimit),
		grants:  gate{key: key, self: x.self},
		up:      make(chan struct{}),
		closing: make(chan struct{}),
		done:    make(chan struct{}),
	}
	l.ear.conn, l.ear.start = conn, time.Now()
	l.frames.r = bufio.NewReaderSize(&l.ear, 4<<10)
	return l, nil
}

// unread gives back the first byte that was read of a connection.
type unread struct {
	net.Conn
	first   byte
	pending bool
}

func (u *unread) Read(b []byte) (int, error) {
	if u.pending && len(b) > 0 {
		b[0], u.pending = u.first, false
		return 1, nil
	}
	return u.Conn.Read(b)
}
