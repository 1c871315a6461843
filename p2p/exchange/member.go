package exchange

import (
	"crypto/tls"

	"github.com/darter-p2p/darter/internal/pki"
	"github.com/darter-p2p/darter/p2p"
)

// Member returns the Identity of a node or a seed of a cluster, which exchanges
// pieces with the nodes and the seeds of the same cluster.
func Member(id *pki.Identity) Identity { return member{id} }

type member struct{ id *pki.Identity }

func (m member) Host() p2p.HostID { return p2p.HostID(m.id.Name().Name) }

func (m member) ServerTLS() *tls.Config { return m.id.ServerTLS(pki.Node, pki.Seed) }

func (m member) ClientTLS() *tls.Config { return m.id.ClientTLS(pki.Node, pki.Seed) }

// PeerHost returns the name in the certificate, if it is good still; the role was checked
// in the handshake.
func (m member) PeerHost(cs tls.ConnectionState) (p2p.HostID, error) {
	if err := m.id.CheckPeer(cs); err != nil {
		return "", err
	}
	_, name, err := pki.PeerName(cs)
	return p2p.HostID(name), err
}

// PeerSeed reports whether the certificate, which was checked in the handshake, is a seed's.
func (m member) PeerSeed(cs tls.ConnectionState) bool {
	role, _, err := pki.PeerName(cs)
	return err == nil && role == pki.Seed
}
