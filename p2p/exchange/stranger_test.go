package exchange

import (
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"testing"
	"time"

	"github.com/containerd/errdefs"

	"github.com/darter-p2p/darter/internal/pki"
	"github.com/darter-p2p/darter/p2p"
)

// dialRaw connects to a host as somebody who has no Exchange.
func (c *cluster) dialRaw(h *host) net.Conn {
	c.t.Helper()
	tr, _ := c.transport("stranger")
	conn, err := tr.Dial(c.t.Context(), h.Host.Addr)
	if err != nil {
		c.t.Fatal(err)
	}
	return conn
}

// drain returns what can be read of a connection until it is closed.
func drain(conn net.Conn) (int, error) {
	_ = conn.SetReadDeadline(time.Now().Add(time.Minute))
	n, err := io.Copy(io.Discard, conn)
	if e, ok := err.(net.Error); ok && e.Timeout() { //nolint:errorlint // only its time-out counts
		return int(n), err
	}
	return int(n), nil
}

// Whoever has no grant of a live link reads nothing from a data connection.
func TestStrangersReadNoByte(t *testing.T) {
	ask := appendRequest(nil, Request{Task: task("a"), Count: 1})
	cases := []struct {
		name string
		open func(a, b *host) []byte
		ok   bool
	}{
		{"a good grant", func(a, b *host) []byte { return grantOf(a, b, grantLife) }, true},
		{"a replayed grant", func(a, b *host) []byte {
			frame := grantOf(a, b, grantLife)
			g, err := parseGrant(frame)
			if err != nil {
				panic(err)
			}
			_ = b.live("a").grants.admit(g, 0)
			return frame
		}, false},
		{"an expired grant", func(a, b *host) []byte { return grantOf(a, b, -15*time.Millisecond) }, false},
		{"a grant that lasts too long", func(a, b *host) []byte { return grantOf(a, b, time.Hour) }, false},
		{"a wrong code", func(a, b *host) []byte {
			frame := grantOf(a, b, grantLife)
			frame[len(frame)-1] ^= 1
			return frame
		}, false},
		{"a host without a link", func(a, b *host) []byte {
			return appendGrant(nil, a.live("b").grants.key, "c", "b", grantLife)
		}, false},
		{"the key of another link", func(a, b *host) []byte {
			return appendGrant(nil, bytes.Repeat([]byte{1}, 32), "a", "b", grantLife)
		}, false},
		{"no grant", func(a, b *host) []byte { return nil }, false},
		{"a cut grant", func(a, b *host) []byte { return grantOf(a, b, grantLife)[:40] }, false},
		{"http", func(a, b *host) []byte { return []byte("GET / HTTP/1.1\r\n\r\n") }, false},
	}
	overTransports(t, func(t *testing.T, c *cluster) {
		short := func(cfg *Config) { cfg.HandshakeTimeout = 500 * time.Millisecond }
		a, b := c.host("a"), c.host("b", short)
		defer a.stop()
		defer b.stop()
		b.serve = func(_ p2p.HostID, q Request) Answer {
			return Answer{Piece: q.First, Reader: endless{}, Length: 10}
		}
		a.connect(t, b)
		time.Sleep(20 * time.Millisecond) // an expiry is counted from the hellos
		for _, tc := range cases {
			conn := c.dialRaw(b)
			frame := tc.open(a, b)
			if len(frame) > 0 && frame[0] == grantMagic && len(frame) > 40 {
				frame = append(frame, ask...)
			}
			_, _ = conn.Write(frame)
			if tc.ok {
				if _, err := io.ReadFull(conn, make([]byte, replyLen+10)); err != nil {
					t.Errorf("%s: %v", tc.name, err)
				}
				conn.Close()
				continue
			}
			if n, err := drain(conn); n != 0 || err != nil {
				t.Errorf("%s: read %d bytes, %v", tc.name, n, err)
			}
			conn.Close()
		}
		b.await(t, "the refusals", func() bool { return len(b.refusals) == len(cases)-1 })
	})
}

// grantOf makes a grant of a for b that ends a time from now.
func grantOf(a, b *host, life time.Duration) []byte {
	l := a.live(b.Host.ID)
	return appendGrant(nil, l.grants.key, a.Host.ID, b.Host.ID, time.Since(l.born)+life)
}

func TestALinksGrantsEndWithIt(t *testing.T) {
	overTransports(t, func(t *testing.T, c *cluster) {
		a, b := c.host("a"), c.host("b")
		defer a.stop()
		defer b.stop()
		l := a.connect(t, b)
		frame := grantOf(a, b, grantLife)
		l.Close()
		_ = b.awaitDown(t)
		_ = a.awaitDown(t)
		a.connect(t, b)
		conn := c.dialRaw(b)
		defer conn.Close()
		_, _ = conn.Write(frame)
		if n, err := drain(conn); n != 0 || err != nil {
			t.Errorf("read %d bytes, %v", n, err)
		}
	})
}

// A control channel needs a certificate of the cluster with the right role.
func TestStrangersGetNoLink(t *testing.T) {
	overTransports(t, func(t *testing.T, c *cluster) {
		other := newCA(t)
		b := c.host("b")
		defer b.stop()
		bare := c.host("x").cfg.Identity.ClientTLS()
		bare.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return &tls.Certificate{}, nil
		}
		clients := map[string]*tls.Config{
			"no certificate":   bare,
			"another CA":       trusting(identity(t, other, pki.Node, "a").ClientTLS()),
			"a scheduler":      trusting(identity(t, c.ca, pki.Scheduler, "a").ClientTLS()),
			"a client":         trusting(identity(t, c.ca, pki.Client, "a").ClientTLS()),
			"this host's name": trusting(identity(t, c.ca, pki.Node, "b").ClientTLS()),
		}
		for name, cfg := range clients {
			before := b.seen().refusals
			raw := c.dialRaw(b)
			conn := tls.Client(raw, secure(cfg, protoControl))
			_, _ = conn.Write(appendHello(nil, hello{version: protocolVersion, epoch: 1}))
			if n, err := drain(conn); n != 0 || err != nil {
				t.Errorf("%s: read %d bytes, %v", name, n, err)
			}
			raw.Close()
			b.await(t, "the refusal of "+name, func() bool { return len(b.refusals) > before })
		}
		// The right certificate and another protocol.
		raw := c.dialRaw(b)
		defer raw.Close()
		conn := tls.Client(raw, secure(trusting(identity(t, c.ca, pki.Node, "a").ClientTLS()), "h2"))
		if err := conn.HandshakeContext(t.Context()); err == nil {
			t.Error("another protocol was accepted")
		}
		if n := b.seen().ups; n != 0 {
			t.Errorf("%d links", n)
		}
	})
}

// trusting takes any server, as a stranger would.
func trusting(c *tls.Config) *tls.Config {
	c.VerifyConnection = nil
	c.InsecureSkipVerify = true
	return c
}

func TestAServerOfAnotherClusterIsRefused(t *testing.T) {
	overTransports(t, func(t *testing.T, c *cluster) {
		a := c.host("a")
		evil := (&cluster{t: t, ca: newCA(t), net: c.net}).host("b")
		defer a.stop()
		defer evil.stop()
		if _, err := a.Connect(t.Context(), evil.Host); !errdefs.IsUnauthorized(err) {
			t.Errorf("connect: %v", err)
		}
		if evil.seen().ups != 0 {
			t.Error("the other side has a link")
		}
	})
}

func TestDataInTLSIsRequired(t *testing.T) {
	overTransports(t, func(t *testing.T, c *cluster) {
		a, b := c.host("a"), c.host("b", func(cfg *Config) { cfg.TLSData = true })
		d := c.host("d")
		defer a.stop()
		defer b.stop()
		defer d.stop()
		answer := func(_ p2p.HostID, q Request) Answer {
			return Answer{Piece: q.First, Reader: bytes.NewReader([]byte("secret")), Length: 6}
		}
		b.serve, a.serve = answer, answer
		for _, s := range []Stream{a.stream(t, b), b.stream(t, a)} {
			mustSend(t, s, Request{Task: task("a"), Count: 1})
			if got := readAll(t, s, 1); string(got) != "secret" {
				t.Errorf("read %q", got)
			}
			if _, ok := s.(*stream).conn.(*tls.Conn); !ok {
				t.Error("the stream is in clear")
			}
		}
		conn := c.dialRaw(b) // a good grant, in clear
		defer conn.Close()
		_, _ = conn.Write(grantOf(a, b, grantLife))
		if n, err := drain(conn); n != 0 || err != nil {
			t.Errorf("in clear: read %d bytes, %v", n, err)
		}
		// d shows a's grant behind its own certificate.
		d.connect(t, b)
		raw := c.dialRaw(b)
		defer raw.Close()
		sec, err := d.dialTLSData(t.Context(), raw, "b")
		if err != nil {
			t.Fatal(err)
		}
		_, _ = sec.Write(append(grantOf(a, b, grantLife), appendRequest(nil, Request{Task: task("a"), Count: 1})...))
		if n, err := drain(sec); n != 0 || err != nil {
			t.Errorf("another's grant: read %d bytes, %v", n, err)
		}
	})
}

func TestNewRefusesWhatIsUnsafe(t *testing.T) {
	c := newCluster(t, nil)
	good := Default()
	good.Listen = "127.0.0.1:0"
	good.Identity = Member(identity(t, c.ca, pki.Node, "a"))
	for name, spoil := range map[string]func(*Config){
		"no identity":       func(c *Config) { c.Identity = nil },
		"no certificates":   func(c *Config) { c.Identity = oneSided{c.Identity} },
		"no address":        func(c *Config) { c.Listen = "65002" },
		"no stall time":     func(c *Config) { c.StallTimeout = 0 },
		"too small a queue": func(c *Config) { c.QueueLimit = 1 },
		"an odd name":       func(c *Config) { c.Identity = named{c.Identity, "a/b"} },
	} {
		cfg := good
		spoil(&cfg)
		if _, err := New(cfg, TCP{}, newRecorder()); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
}

// oneSided asks callers for no certificate.
type oneSided struct{ Identity }

func (oneSided) ServerTLS() *tls.Config { return &tls.Config{MinVersion: tls.VersionTLS13} }

type named struct {
	Identity
	name p2p.HostID
}

func (n named) Host() p2p.HostID { return n.name }
