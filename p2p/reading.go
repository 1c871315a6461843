package p2p

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/opencontainers/go-digest"
)

// MaxOriginLen is the longest origin that hosts tell each other, in bytes.
const MaxOriginLen = 4 << 10

// Reading says that a member of the cluster read a content, or a part of it, from an
// origin, and whether the origin asked for a credential. It travels with the content
// and is kept with it, so that a door knows whose word on the content counts: what was
// read without a credential is for all, anything else for those whom the same registry
// lets in. The zero Reading is of an origin that is not known.
type Reading struct {
	Origin Origin
	Public bool      // it was given without a credential
	Seen   time.Time // by the clock of the host that read; seconds
}

// sumScheme begins the origin of a Reading that says what the content's sha256 is, as who
// read it computed it: of a task that is not named by it (URLs).
const sumScheme = "content:"

// SumReading returns the Reading that tells the sha256 of a content.
func SumReading(d digest.Digest, seen time.Time) Reading {
	return Reading{Origin: Origin(sumScheme + d.String()), Public: true, Seen: seen}
}

// Sum returns the digest that the Reading tells, and whether it tells one.
func (r Reading) Sum() (digest.Digest, bool) {
	s, ok := strings.CutPrefix(string(r.Origin), sumScheme)
	d := digest.Digest(s)
	return d, ok && d.Validate() == nil && d.Algorithm() == digest.SHA256
}

// readingMagic begins the binary form of a Reading, so that it is told from a signed
// batch of digests beside which it is kept.
const readingMagic = 'O'

const (
	readingVersion = 1
	readingHead    = 1 + 1 + 1 + 8 // magic, version, public, seen
)

// ErrBadReading is wrapped by every error about a malformed Reading.
var ErrBadReading = errors.New("bad reading of an origin")

// AppendBinary appends magic, version, public, seen (Unix seconds, 8 bytes) and the origin.
func (r Reading) AppendBinary(b []byte) []byte {
	public := byte(0)
	if r.Public {
		public = 1
	}
	b = append(b, readingMagic, readingVersion, public)
	b = binary.BigEndian.AppendUint64(b, uint64(r.Seen.Unix()))
	return append(b, r.Origin...)
}

// IsReading reports whether b begins as the binary form of a Reading does.
func IsReading(b []byte) bool { return len(b) > 0 && b[0] == readingMagic }

// ReadingFromBinary reads what AppendBinary wrote, to the end of b.
func ReadingFromBinary(b []byte) (Reading, error) {
	if len(b) < readingHead || b[0] != readingMagic || b[1] != readingVersion || b[2] > 1 {
		return Reading{}, fmt.Errorf("%w: its head", ErrBadReading)
	}
	at := binary.BigEndian.Uint64(b[3:])
	if at > 1<<40 { // seconds; some 30,000 years
		return Reading{}, fmt.Errorf("%w: its time", ErrBadReading)
	}
	origin := b[readingHead:]
	if len(origin) > MaxOriginLen || !utf8.Valid(origin) {
		return Reading{}, fmt.Errorf("%w: an origin of %d bytes", ErrBadReading, len(origin))
	}
	return Reading{Origin: Origin(origin), Public: b[2] == 1, Seen: time.Unix(int64(at), 0).UTC()}, nil
}

// credentialMark ends an origin that is read with the credential of a reader.
const credentialMark = "#credential"

// WithCredential returns the origin as one that is read with a reader's credential
// where it does not open without. Schedulers take the two for different origins of one
// task, so that the refusal of one says nothing of the other.
func (o Origin) WithCredential() Origin {
	if bare, marked := o.Bare(); marked || bare == "" {
		return o
	}
	return o + credentialMark
}

// Bare returns the origin as a source reads it, and whether it was marked by WithCredential.
func (o Origin) Bare() (bare Origin, withCredential bool) {
	s, ok := strings.CutSuffix(string(o), credentialMark)
	return Origin(s), ok
}

// Secret is the value of an Authorization header, or a token. It does not print.
type Secret string

// String hides the secret from logs and error texts.
func (Secret) String() string { return "(secret)" }

// GoString hides the secret, too.
func (Secret) GoString() string { return "(secret)" }
