package exchange

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/darter-p2p/darter/p2p"
)

// Identity is who this host is, and whom it takes for a host of its cluster.
// Methods may be called concurrently; a renewed certificate is used by the links
// made after it.
type Identity interface {
	// Host is this host's name, the one in its certificate.
	Host() p2p.HostID
	// ServerTLS and ClientTLS are mutual TLS: both sides show a certificate, and the
	// configuration verifies the other's. Exchange sets the protocol names itself.
	ServerTLS() *tls.Config
	ClientTLS() *tls.Config
	// PeerHost returns the host of a finished handshake, or an error where the other
	// side may not exchange pieces: a wrong role, a malformed name. It is asked again while
	// a link is up, for certificates that have ended or were revoked since: an error ends it.
	PeerHost(cs tls.ConnectionState) (p2p.HostID, error)
	// PeerSeed reports whether the other side of a finished handshake has the role seed.
	PeerSeed(cs tls.ConnectionState) bool
}

// Config is what an Exchange can be told. Start from Default.
type Config struct {
	// Listen is the host:port of the piece network. An empty host is every address.
	Listen string `toml:"listen"`
	// TLSData encrypts the data connections too, at about twice the CPU. Peers are
	// told and follow; data connections in clear are refused.
	TLSData bool `toml:"tls_data"`
	// HandshakeTimeout is from a connection's first byte to its use. 100ms to 1m.
	HandshakeTimeout time.Duration `toml:"handshake_timeout"`
	// IdleTimeout is how long nothing may come on a link before it is closed; a quiet
	// link is pinged several times within. 100ms to 10m.
	IdleTimeout time.Duration `toml:"idle_timeout"`
	// StallTimeout is how long a data connection may stand still while bytes are due.
	// 100ms to 10m.
	StallTimeout time.Duration `toml:"stall_timeout"`
	// QueueLimit is how many bytes of messages may wait for a peer that does not read
	// before its link is closed. 4 MiB (two whole digest maps) to 1 GiB.
	QueueLimit int `toml:"queue_limit"`

	// Identity is this host's certificate. Required.
	Identity Identity `toml:"-"`
	// OnRefused is told of every connection that came and was not let in, if set. It
	// must not block and may be called concurrently.
	OnRefused func(from net.Addr, err error) `toml:"-"`
}

// Default returns the settings of a node, without an Identity.
func Default() Config {
	return Config{
		Listen:           ":65002",
		HandshakeTimeout: 5 * time.Second,
		IdleTimeout:      12 * time.Second,
		StallTimeout:     10 * time.Second,
		QueueLimit:       16 << 20,
	}
}

// Validate reports the first field that is out of range.
func (c Config) Validate() error {
	if _, _, err := net.SplitHostPort(c.Listen); err != nil {
		return fmt.Errorf("exchange listen: %w", err)
	}
	for _, d := range []struct {
		name     string
		is, most time.Duration
	}{
		{"handshake_timeout", c.HandshakeTimeout, time.Minute},
		{"idle_timeout", c.IdleTimeout, 10 * time.Minute},
		{"stall_timeout", c.StallTimeout, 10 * time.Minute},
	} {
		if d.is < 100*time.Millisecond || d.is > d.most {
			return fmt.Errorf("exchange %s: %v, want 100ms to %v", d.name, d.is, d.most)
		}
	}
	if c.QueueLimit < 4<<20 || c.QueueLimit > 1<<30 {
		return fmt.Errorf("exchange queue_limit: %d bytes, want %d to %d", c.QueueLimit, 4<<20, 1<<30)
	}
	if c.Identity == nil {
		return errors.New("exchange: no identity")
	}
	return nil
}
