package trust

import (
	"encoding/binary"
	"slices"
	"time"

	"github.com/darter-p2p/darter/p2p"
)

// Limits of the encoding, in bytes. A decoder refuses what is longer.
const (
	// MaxCertLen is the longest certificate.
	MaxCertLen = 8 << 10
	// MaxSigLen is the longest signature.
	MaxSigLen = 128
	// MaxTokenLen is the longest encoded Token.
	MaxTokenLen = 9 << 10
	// MaxOriginLen is the longest Revocation.Origin.
	MaxOriginLen = 4 << 10
	// MaxReasonLen is the longest Revocation.Reason.
	MaxReasonLen = 1 << 10
)

// The first two bytes of an encoded statement: what it is, and the version of its form.
const (
	kindBatch      = 'B'
	kindRevocation = 'R'
	kindToken      = 'T'
	formVersion    = 1
)

const flagFinal = 1

// Encode returns the one binary form of t.
func (t *Token) Encode() []byte { return appendBytes16(t.appendBody(nil), t.Sig) }

// Encode returns the one binary form of b.
func (b *Batch) Encode() []byte { return appendBytes16(b.appendBody(nil), b.Sig) }

// Encode returns the one binary form of r.
func (r *Revocation) Encode() []byte { return appendBytes16(r.appendBody(nil), r.Sig) }

// The bodies are the encodings without the signature: what is signed.

func (t *Token) appendBody(p []byte) []byte {
	p = append(p, kindToken, formVersion)
	p = t.Task.AppendBinary(p)
	p = appendBytes16(p, []byte(t.Host))
	p = appendTime(p, t.Expires)
	return appendBytes16(p, t.Cert)
}

func (b *Batch) appendBody(p []byte) []byte {
	p = slices.Grow(p, 256+len(b.Digests)*len(p2p.PieceDigest{})+len(b.Cert)+len(b.Token))
	p = append(p, kindBatch, formVersion)
	p = b.Task.AppendBinary(p)
	p = binary.BigEndian.AppendUint64(p, uint64(b.Geometry.Size))
	p = binary.BigEndian.AppendUint64(p, uint64(b.Geometry.PieceLength))
	p = binary.BigEndian.AppendUint32(p, uint32(b.First))
	var flags byte
	if b.Final {
		flags |= flagFinal
	}
	p = append(p, flags)
	p = appendTime(p, b.Signed)
	p = binary.BigEndian.AppendUint32(p, uint32(len(b.Digests)))
	for i := range b.Digests {
		p = append(p, b.Digests[i][:]...)
	}
	p = appendBytes16(p, b.Cert)
	return appendBytes16(p, b.Token)
}

func (r *Revocation) appendBody(p []byte) []byte {
	p = append(p, kindRevocation, formVersion)
	p = r.Task.AppendBinary(p)
	p = appendBytes16(p, []byte(r.Origin))
	p = appendBytes16(p, []byte(r.Signer))
	p = appendBytes16(p, []byte(r.Reason))
	p = appendTime(p, r.Signed)
	p = appendBytes16(p, r.Cert)
	return appendBytes16(p, r.Token)
}

// appendBytes16 writes b behind its length in two bytes. What is longer cannot be
// written: check refuses it before anything is signed, verified or sent.
func appendBytes16(p, b []byte) []byte {
	p = binary.BigEndian.AppendUint16(p, uint16(len(b)))
	return append(p, b...)
}

func appendTime(p []byte, t time.Time) []byte {
	return binary.BigEndian.AppendUint64(p, uint64(t.Unix()))
}
