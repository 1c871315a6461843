package trust

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/darter-p2p/darter/p2p"
)

// ErrMalformed is wrapped by every error about bytes that are not the one encoding
// of a possible statement.
var ErrMalformed = errors.New("malformed statement")

// DecodeToken reads a Token from all of p. It checks the form, not the signature.
func DecodeToken(p []byte) (Token, error) {
	r := reader{p: p}
	r.header(kindToken)
	t := Token{
		Task:    r.task(),
		Host:    p2p.HostID(r.bytes16("host", p2p.MaxHostIDLen)),
		Expires: r.time(),
		Cert:    r.bytes16("certificate", MaxCertLen),
		Sig:     r.bytes16("signature", MaxSigLen),
	}
	if err := r.end(t.check); err != nil {
		return Token{}, fmt.Errorf("decode token: %w", err)
	}
	return t, nil
}

// DecodeBatch reads a Batch from all of p. It checks the form, not the signature.
func DecodeBatch(p []byte) (Batch, error) {
	r := reader{p: p}
	r.header(kindBatch)
	b := Batch{
		Task:     r.task(),
		Geometry: p2p.Geometry{Size: int64(r.uint64()), PieceLength: int64(r.uint64())},
		First:    p2p.Piece(r.uint32()),
		Final:    r.final(),
		Signed:   r.time(),
		Digests:  r.digests(),
		Cert:     r.bytes16("certificate", MaxCertLen),
		Token:    r.bytes16("token", MaxTokenLen),
		Sig:      r.bytes16("signature", MaxSigLen),
	}
	if err := r.end(b.check); err != nil {
		return Batch{}, fmt.Errorf("decode batch: %w", err)
	}
	return b, nil
}

// DecodeRevocation reads a Revocation from all of p. It checks the form, not the signature.
func DecodeRevocation(p []byte) (Revocation, error) {
	r := reader{p: p}
	r.header(kindRevocation)
	v := Revocation{
		Task:   r.task(),
		Origin: p2p.Origin(r.bytes16("origin", MaxOriginLen)),
		Signer: p2p.HostID(r.bytes16("signer", p2p.MaxHostIDLen)),
		Reason: string(r.bytes16("reason", MaxReasonLen)),
		Signed: r.time(),
		Cert:   r.bytes16("certificate", MaxCertLen),
		Token:  r.bytes16("token", MaxTokenLen),
		Sig:    r.bytes16("signature", MaxSigLen),
	}
	if err := r.end(v.check); err != nil {
		return Revocation{}, fmt.Errorf("decode revocation: %w", err)
	}
	return v, nil
}

// reader takes fields off the front of p. After the first error it gives zeroes.
type reader struct {
	p   []byte
	err error
}

func (r *reader) fail(format string, args ...any) {
	if r.err == nil {
		r.err = fmt.Errorf("%w: %w", ErrMalformed, fmt.Errorf(format, args...))
	}
}

// take returns the next n bytes, nil after an error. They are part of p.
func (r *reader) take(n int) []byte {
	if r.err == nil && n > len(r.p) {
		r.fail("%d bytes left, want %d", len(r.p), n)
	}
	if r.err != nil {
		return nil
	}
	b := r.p[:n]
	r.p = r.p[n:]
	return b
}

func (r *reader) uint16() uint16 {
	if b := r.take(2); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

func (r *reader) uint32() uint32 {
	if b := r.take(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

func (r *reader) uint64() uint64 {
	if b := r.take(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

func (r *reader) header(kind byte) {
	b := r.take(2)
	switch {
	case b == nil:
	case b[0] != kind:
		r.fail("a statement of kind %q, want %q", b[0], kind)
	case b[1] != formVersion:
		r.fail("version %d, want %d", b[1], formVersion)
	}
}

func (r *reader) task() p2p.TaskID {
	b := r.take(p2p.TaskIDLen)
	if b == nil {
		return p2p.TaskID{}
	}
	id, err := p2p.TaskIDFromBinary(b)
	if err != nil {
		r.fail("%w", err)
	}
	return id
}

// time reads seconds of Unix time; check bounds them.
func (r *reader) time() time.Time { return time.Unix(int64(r.uint64()), 0).UTC() }

func (r *reader) final() bool {
	b := r.take(1)
	if b == nil {
		return false
	}
	if b[0]&^flagFinal != 0 {
		r.fail("unknown flags %#x", b[0])
	}
	return b[0]&flagFinal != 0
}

func (r *reader) digests() []p2p.PieceDigest {
	const length = len(p2p.PieceDigest{})
	n := r.uint32()
	if n >= p2p.MaxPieces {
		r.fail("%d digests, want fewer than %d", n, p2p.MaxPieces)
	}
	// The bytes are there before room for them is made.
	b := r.take(int(n%p2p.MaxPieces) * length)
	if len(b) == 0 {
		return nil
	}
	d := make([]p2p.PieceDigest, n)
	for i := range d {
		copy(d[i][:], b[i*length:])
	}
	return d
}

// bytes16 reads a copy of a field behind its length; nil if it is empty.
func (r *reader) bytes16(what string, limit int) []byte {
	n := int(r.uint16())
	if n > limit {
		r.fail("%s of %d bytes, want at most %d", what, n, limit)
	}
	b := r.take(n)
	if len(b) == 0 {
		return nil
	}
	return append([]byte(nil), b...)
}

// end returns the first error, of the reading or of check.
func (r *reader) end(check func() error) error {
	if r.err == nil && len(r.p) > 0 {
		r.fail("%d bytes behind the end", len(r.p))
	}
	if r.err == nil {
		return check()
	}
	return r.err
}
