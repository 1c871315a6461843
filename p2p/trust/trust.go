// Package trust signs and checks what peers say about content: the digests that a
// seed computed, in batches; the statement that a whole map is final; revocations;
// and the scheduler's token that lets an ordinary node act as a seed for a task.
//
// Statements carry the signer's certificate, so that they can be relayed by anyone
// and checked by everyone against the cluster's CA.
package trust

import (
	"errors"
	"time"

	"github.com/darter-p2p/darter/p2p"
)

// ErrUntrusted is wrapped by every error about a statement that does not verify:
// a certificate of another CA or of a wrong role, a bad signature, a token for
// another task or host, or one that expired.
var ErrUntrusted = errors.New("untrusted statement")

// Token is a scheduler's word that a host may read a task from the origin and sign
// its digests. A host whose certificate has the role seed needs none.
type Token struct {
	Task    p2p.TaskID
	Host    p2p.HostID
	Expires time.Time // seconds precision; bounds the signing, not the checking of what was signed before
	Cert    []byte    // the scheduler's certificate, DER
	Sig     []byte
}

// Batch is a run of piece digests as the signer read them from the origin.
type Batch struct {
	Task     p2p.TaskID
	Geometry p2p.Geometry
	First    p2p.Piece
	Digests  []p2p.PieceDigest
	// Final says that this is the whole map and that the content's own digest matched.
	Final  bool
	Signed time.Time
	Cert   []byte // the signer's certificate, DER
	Token  []byte // an encoded Token where the certificate's role is not seed
	Sig    []byte
}

// Revocation takes a task's provisional map back: the content was not what its
// digest says.
type Revocation struct {
	Task   p2p.TaskID
	Origin p2p.Origin // who served the wrong bytes
	Signer p2p.HostID // whose map is revoked
	Reason string
	Signed time.Time
	Cert   []byte
	Token  []byte
	Sig    []byte
}
