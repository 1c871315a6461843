package exchange

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/darter-p2p/darter/p2p"
)

const (
	// grantMagic is the first byte of a data connection. TLS never begins with it.
	grantMagic = 0xD7
	// grantVersion is the version of everything on a data connection.
	grantVersion = 1
	// grantLabel names the key that a control channel gives to its data connections.
	grantLabel = "EXPORTER-darter-grant/1"
	// grantLife is how long a grant may be used.
	grantLife = 30 * time.Second
	// maxGrantLife is how far ahead an expiry is believed; what is beyond it would
	// have to be remembered for too long.
	maxGrantLife = 2 * grantLife
	// maxGrants is how many unexpired grants of one link are remembered.
	maxGrants = 4096

	nonceLen   = 16
	grantTail  = nonceLen + 8 + sha256.Size // what follows the host identity
	grantFront = 3                          // magic, version, length of the host identity
)

// grantKey returns the key that both ends of a control channel derive from it.
func grantKey(cs tls.ConnectionState) ([]byte, error) {
	key, err := cs.ExportKeyingMaterial(grantLabel, nil, 32)
	if err != nil {
		return nil, fmt.Errorf("derive the grant key: %w", err)
	}
	return key, nil
}

// grant is the opening frame of a data connection.
type grant struct {
	host   p2p.HostID // the opener
	nonce  [nonceLen]byte
	expiry uint64 // milliseconds since the link's hellos
	mac    [sha256.Size]byte
}

// appendGrant appends a grant of host for a data connection to the host to, that
// can be used until expiry after the link's hellos.
func appendGrant(b []byte, key []byte, host, to p2p.HostID, expiry time.Duration) []byte {
	g := grant{host: host, expiry: uint64(expiry.Milliseconds())}
	_, _ = rand.Read(g.nonce[:]) // it never fails
	b = g.appendSigned(b)
	mac := g.sum(key, to)
	return append(b, mac[:]...)
}

// appendSigned appends what the code covers.
func (g *grant) appendSigned(b []byte) []byte {
	b = append(b, grantMagic, grantVersion, byte(len(g.host)))
	b = append(b, g.host...)
	b = append(b, g.nonce[:]...)
	return binary.BigEndian.AppendUint64(b, g.expiry)
}

// sum computes the code of a grant to a host. The host it is for is covered, though
// not sent, so that a grant cannot be turned against its maker.
func (g *grant) sum(key []byte, to p2p.HostID) (sum [sha256.Size]byte) {
	h := hmac.New(sha256.New, key)
	h.Write(g.appendSigned(make([]byte, 0, grantFront+p2p.MaxHostIDLen+grantTail)))
	h.Write([]byte(to))
	h.Sum(sum[:0])
	return sum
}

// parseGrantFront reads the bytes after the magic and returns how many follow.
func parseGrantFront(version, hostLen byte) (int, error) {
	if version != grantVersion {
		return 0, protocolError("data version %d, want %d", version, grantVersion)
	}
	if hostLen == 0 || hostLen > p2p.MaxHostIDLen {
		return 0, protocolError("grant of a host of %d characters", hostLen)
	}
	return int(hostLen) + grantTail, nil
}

// parseGrant reads a whole opening frame.
func parseGrant(b []byte) (grant, error) {
	c := cursor{b: b}
	if c.u8() != grantMagic {
		c.fail("not a grant")
	}
	n, err := parseGrantFront(c.u8(), c.u8())
	if c.err == nil {
		c.err = err
	}
	var g grant
	if c.err == nil {
		g.host = p2p.HostID(c.take(n - grantTail))
	}
	copy(g.nonce[:], c.take(nonceLen))
	g.expiry = c.u64()
	copy(g.mac[:], c.take(sha256.Size))
	if err := c.end(); err != nil {
		return grant{}, err
	}
	if err := g.host.Validate(); err != nil {
		return grant{}, protocolError("grant: %v", err)
	}
	return g, nil
}

// gate checks the grants that come for one link.
type gate struct {
	key  []byte
	self p2p.HostID

	mu   sync.Mutex
	used map[[nonceLen]byte]uint64 // nonce → expiry
}

// admit accepts a grant once, at the time since the link's hellos.
func (g *gate) admit(in grant, since time.Duration) error {
	want := in.sum(g.key, g.self)
	if !hmac.Equal(want[:], in.mac[:]) {
		return protocolError("grant of %s: wrong code", in.host)
	}
	now := uint64(since.Milliseconds())
	if in.expiry < now {
		return protocolError("grant of %s: expired %d ms ago", in.host, now-in.expiry)
	}
	if in.expiry-now > uint64(maxGrantLife.Milliseconds()) {
		return protocolError("grant of %s: expires too late", in.host)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if _, ok := g.used[in.nonce]; ok {
		return protocolError("grant of %s: used before", in.host)
	}
	if len(g.used) >= maxGrants {
		maps.DeleteFunc(g.used, func(_ [nonceLen]byte, expiry uint64) bool { return expiry < now })
	}
	if len(g.used) >= maxGrants {
		return protocolError("grant of %s: more than %d data connections within their life", in.host, maxGrants)
	}
	if g.used == nil {
		g.used = map[[nonceLen]byte]uint64{}
	}
	g.used[in.nonce] = in.expiry
	return nil
}
